//! The timer shell under a kernel whose time since boot is another one: a time namespace with a boottime offset, which is what a
//! machine that slept looks like to a process (time_namespaces(7)). The wall clock has no namespace, and nobody here sets it.

use std::process::Command;
use std::time::Duration;

use runtime::clock::{SystemClock, Tick, Ticker};
use tests::{Requirement, needs};

/// What the machine slept: 48 hours.
const SLEPT: Duration = Duration::from_secs(48 * 3600);
/// Stands before what the child measured.
const MEASURED: &str = "boottime in nanoseconds: ";

#[test]
fn time_since_boot_counts_a_suspend_and_ticks_come_on_time_after_it() {
    if !needs("timer::time_since_boot_counts_a_suspend_and_ticks_come_on_time_after_it", Requirement::Root) {
        return;
    }
    let clock = SystemClock::shared();
    let before = clock.boottime();
    let child = Command::new("unshare")
        .args(["--time", "--fork", "--kill-child", "--boottime", &SLEPT.as_secs().to_string(), "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "timer::in_a_time_namespace", "--nocapture"])
        .output()
        .unwrap();
    let after = clock.boottime();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "{out}{err}");
    let measured = out.lines().find_map(|line| line.split_once(MEASURED)).expect("what the child measured").1;
    let measured = Duration::from_nanos(measured.trim().parse().unwrap());
    // Nothing but CLOCK_BOOTTIME has the offset: CLOCK_MONOTONIC, which stands still in a suspend, would be 48 hours short.
    assert!(before + SLEPT <= measured && measured <= after + SLEPT, "{before:?}, {measured:?}, {after:?}");
}

#[test]
#[ignore = "the other half of the test above, which runs it where the offset is"]
fn in_a_time_namespace() {
    let clock = SystemClock::shared();
    println!("\n{MEASURED}{}", clock.boottime().as_nanos());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let period = Duration::from_millis(100);
        let mut ticker = Ticker::new(period).unwrap();
        for _ in 0..3 {
            let waited = clock.boottime();
            let tick = tokio::time::timeout(Duration::from_secs(60), ticker.tick()).await.expect("a tick comes").unwrap();
            assert_eq!(tick, Tick::Elapsed);
            // An offset that got into the timer would make 48 hours of periods due at once, or the first of them never.
            assert!(clock.boottime() - waited > period / 4, "the tick came early");
        }
    });
}
