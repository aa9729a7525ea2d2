//! A CA that ends itself by SIGKILL at one step of a rotation: what `kill -9` does there, without a race. Nothing of it is in `signet`.
//!
//! `ca-ends-at-step CONFIG before|after STEP`, with the name of a step such as `WriteKey`. Steps count from the first rotation that
//! begins on. It prints the line that `signet ca run -o json` prints.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ca::config::CaConfig;
use ca::{Moment, Step, StepSeam};
use futures_util::future::{BoxFuture, ready};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::clock::SystemClock;
use runtime::entropy::SystemEntropy;
use runtime::{shutdown, telemetry};

/// Ends the process.
struct EndAt {
    moment: Moment,
    has_begun: AtomicBool,
}

impl StepSeam for EndAt {
    fn reached(&self, moment: Moment) -> BoxFuture<'_, ()> {
        if moment == Moment::Before(Step::StoreRotation) {
            self.has_begun.store(true, Ordering::SeqCst);
        }
        if moment == self.moment && self.has_begun.load(Ordering::SeqCst) {
            kill(Pid::this(), Signal::SIGKILL).expect("a process may end itself");
        }
        Box::pin(ready(()))
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let config = PathBuf::from(arguments.next().expect("the first argument is the configuration"));
    let when = arguments.next().expect("the second argument is before or after");
    let step = arguments.next().expect("the third argument is a step");
    let step = Step::ALL
        .into_iter()
        .chain(Step::AMONG_REPLICAS)
        .find(|known| format!("{known:?}") == step)
        .expect("the step is in the list");
    let moment = match when.as_str() {
        "before" => Moment::Before(step),
        _ => Moment::After(step),
    };
    let config = CaConfig::load(&config).expect("the configuration is good");
    telemetry::init_logging(config.log_format, config.log_level);
    let shutdown = shutdown::on_signals().expect("signals can be listened for");
    // What is done among replicas is done for the rotation of another one, or for none.
    let seam = Arc::new(EndAt { moment, has_begun: AtomicBool::new(Step::AMONG_REPLICAS.contains(&step)) });
    let bound = ca::Server::bind_stepwise(config, SystemClock::shared(), Arc::new(SystemEntropy), seam).await;
    let bound = bound.expect("the CA starts");
    let addresses = bound.addresses();
    print_line(&serde_json::json!({
        "listening": addresses.listening.to_string(),
        "admin_socket": addresses.admin_socket,
        "telemetry": addresses.telemetry,
    }));
    bound.run(shutdown).await.expect("the CA runs to its end");
}

#[expect(clippy::print_stdout, reason = "the line is what the harness waits for")]
fn print_line(line: &serde_json::Value) {
    println!("{line}");
}
