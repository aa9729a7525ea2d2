//! A real Envoy of one test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::requirement::envoy_binary;
use crate::{HttpResponse, Process, TestBed, eventually, eventually_within, http_get};

/// A running Envoy.
pub struct Envoy {
    /// The process.
    pub process: Process,
    admin: SocketAddr,
}

impl Envoy {
    /// Starts Envoy with a bootstrap in JSON and waits for its admin page; it need not become ready.
    ///
    /// # Panics
    /// When Envoy is not installed or does not come up.
    pub async fn start(bed: &TestBed, name: &str, bootstrap: &str) -> Self {
        Self::start_as(bed, name, name, bootstrap).await
    }

    /// The same for one of several Envoys under one program: `name` is that of its files.
    ///
    /// # Panics
    /// When Envoy is not installed or does not come up.
    pub async fn start_as(bed: &TestBed, program: &str, name: &str, bootstrap: &str) -> Self {
        let config = bed.write(&format!("{name}.json"), bootstrap);
        let admin_file = bed.path().join(format!("{name}.admin"));
        drop(std::fs::remove_file(&admin_file));
        let mut command = Command::new(Self::program(bed, program));
        command
            .args(["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "info", "-c"])
            .arg(config)
            .arg("--admin-address-path")
            .arg(&admin_file);
        let mut process = Process::start(name, &mut command, bed.path());
        let admin = eventually_within("Envoy's admin address", Duration::from_secs(60), async || {
            assert!(process.is_running(), "{name} ended: {}", process.stderr());
            read_address(&admin_file)
        })
        .await;
        Self { process, admin }
    }

    /// The path of the Envoy of this name, so that `unix:path` tells two of them apart. A second name of the one file is
    /// enough: the agent looks at the path that was executed and at the file behind it.
    ///
    /// # Panics
    /// When Envoy is not installed.
    #[must_use]
    pub fn program(bed: &TestBed, name: &str) -> PathBuf {
        let program = bed.path().join(format!("{name}-envoy"));
        if !program.exists() {
            let installed = envoy_binary().expect("the test asked for Envoy");
            if std::fs::hard_link(&installed, &program).is_err() {
                // By a process of its own: a fork of this one at the wrong moment would keep the copy open for writing.
                let copied = Command::new("install").arg(installed).arg(&program).status();
                assert!(copied.is_ok_and(|status| status.success()), "there is no room for Envoy in {}", bed.path().display());
            }
        }
        program
    }

    /// Waits until `/ready` says LIVE.
    pub async fn ready(&self) {
        eventually("Envoy to be live", async || (self.admin("/ready").await.status == 200).then_some(())).await;
    }

    /// An admin page.
    pub async fn admin(&self, path: &str) -> HttpResponse {
        http_get(self.admin, path).await
    }

    /// The address on which a listener listens.
    ///
    /// # Panics
    /// When there is none of that name.
    pub async fn listener(&self, name: &str) -> SocketAddr {
        eventually(&format!("listener {name}"), async || {
            let listeners: Value = serde_json::from_str(&self.admin("/listeners?format=json").await.body).ok()?;
            let listener = listeners["listener_statuses"].as_array()?.iter().find(|listener| listener["name"] == name)?;
            let socket = &listener["local_address"]["socket_address"];
            format!("{}:{}", socket["address"].as_str()?, socket["port_value"].as_u64()?).parse().ok()
        })
        .await
    }

    /// The sum of all counters or gauges whose name ends with `suffix`.
    pub async fn stat(&self, suffix: &str) -> u64 {
        let text = self.admin("/stats").await.body;
        let values = text.lines().filter_map(|line| line.split_once(": ")).filter(|(name, _)| name.ends_with(suffix));
        values.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).sum()
    }
}

fn read_address(file: &Path) -> Option<SocketAddr> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}
