//! The configurations of the CA and of the agent: what is accepted is within its bounds, and a key that nobody knows never is.

use std::time::Duration;

use ca::config::CaConfig;
use node_agent::config::AgentConfig;

pub(crate) fn run(data: &[u8]) {
    let Some((which, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    // In front, where it is in no table.
    let misspelt = format!("trust_domian = \"example.org\"\n{text}");
    if which % 2 == 0 {
        match CaConfig::parse("ca.toml", text) {
            Ok(config) => {
                assert!(config.state_dir.is_absolute() && config.admin_socket.is_absolute());
                assert!(config.agent_ttl <= config.leaf.max_ttl() && config.leaf.default_ttl() <= config.leaf.max_ttl());
                assert!(!config.jwt_ttl.is_zero() && config.jwt_ttl <= Duration::from_secs(3600));
                assert!(!config.token_ttl.is_zero() && config.token_ttl <= Duration::from_secs(24 * 3600));
                assert!(config.reattest_window <= Duration::from_secs(366 * 24 * 3600));
                assert!(CaConfig::parse("ca.toml", &misspelt).is_err(), "a key that nobody knows was accepted");
            }
            Err(faults) => told(&faults.0),
        }
    } else {
        match AgentConfig::parse("agent.toml", text) {
            Ok(config) => {
                assert!(config.state_dir.is_absolute() && config.api_socket.is_absolute());
                assert_ne!(config.api_socket, config.admin_socket, "operators and workloads share a door");
                assert!(AgentConfig::parse("agent.toml", &misspelt).is_err(), "a key that nobody knows was accepted");
            }
            Err(faults) => told(&faults.0),
        }
    }
}

/// A refusal says why.
fn told(faults: &[String]) {
    assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.trim().is_empty()));
}
