//! The real CA server, the real agent server and a real SDS client in one process, each of the two on a clock that the test sets.
//!
//! What the binary does with the machine's clocks is the business of `runtime::clock` and its own tests; docs/clock.md says what of it
//! was exercised how.

#[cfg(test)]
mod absence;
#[cfg(test)]
mod house;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod suspend;
