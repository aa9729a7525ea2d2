//! The CA as agents meet it: real TLS and gRPC on loopback, every refusal beside what passes.

#[cfg(test)]
mod attestation;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod clock_leap;
#[cfg(test)]
mod entries;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod issuer_end;
#[cfg(test)]
mod istio;
#[cfg(test)]
mod jwt;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod sync;
#[cfg(test)]
mod test_agent;
#[cfg(test)]
mod test_ca;
