//! Peers that take nothing of what is sent to them, or little at a time.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::Bench;
use crate::stall::WRITE_STALL;

/// More than all buffers between the two ends.
const MUCH: usize = 1 << 20;

#[tokio::test(start_paused = true)]
async fn writing_to_a_peer_that_takes_nothing_fails_after_its_time() {
    let bench = Bench::new();
    let (client, server) = bench.handshake(bench.anyone()).await;
    let (_deaf, mut server) = (client.unwrap(), server.unwrap());
    let writing = async {
        server.write_all(&vec![7; MUCH]).await?;
        server.flush().await
    };
    let ended = tokio::time::timeout(WRITE_STALL + Duration::from_secs(1), writing).await;
    assert_eq!(ended.expect("it does not wait for ever").unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_a_little_at_a_time_is_waited_for() {
    let bench = Bench::new();
    let (client, server) = bench.handshake(bench.anyone()).await;
    let (mut slow, mut server) = (client.unwrap(), server.unwrap());
    let writing = async {
        server.write_all(&vec![7; MUCH]).await.expect("a slow peer is served");
        server.flush().await.expect("a slow peer is served");
    };
    let reading = async {
        let mut piece = vec![0; MUCH / 8];
        for _ in 0..8 {
            tokio::time::sleep(WRITE_STALL - Duration::from_secs(1)).await;
            slow.read_exact(&mut piece).await.unwrap();
        }
    };
    tokio::join!(writing, reading);
}
