//! A small TCP proxy within the test, and its operator.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Operator, Phase, Pod};

/// What a proxy does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Behaviour {
    /// Only what it should.
    Correct,
    /// Sends new flows to endpoints that terminate.
    KeepsSending,
    /// Sends new flows to endpoints that are not ready yet.
    SendsEarly,
    /// Resets an endpoint's flows when it terminates.
    ResetsFlows,
    /// Closes new connections at once while an endpoint terminates.
    Refuses,
    /// Changes a byte of each reply.
    GarblesReplies,
    /// Does not hear its operator.
    Deaf,
}

/// A running proxy; it ends with the test's runtime.
pub(super) struct Small {
    behaviour: Behaviour,
    address: SocketAddr,
    pods: watch::Sender<Vec<Pod>>,
}

impl Small {
    pub(super) async fn start(behaviour: Behaviour, pods: &[Pod]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let pods = watch::Sender::new(pods.to_vec());
        tokio::spawn(accept(behaviour, listener, pods.clone()));
        Self { behaviour, address, pods }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Operator for Small {
    async fn apply(&mut self, pods: &[Pod], _: Pod) -> anyhow::Result<Instant> {
        if self.behaviour == Behaviour::Deaf {
            anyhow::bail!("it was not heard");
        }
        self.pods.send_replace(pods.to_vec());
        Ok(Instant::now())
    }
}

async fn accept(behaviour: Behaviour, listener: TcpListener, pods: watch::Sender<Vec<Pod>>) {
    let turn = Arc::new(Mutex::new(0));
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        let turn = turn.clone();
        let pods = pods.subscribe();
        tokio::spawn(async move {
            if behaviour == Behaviour::Refuses
                && pods.borrow().iter().any(|pod| pod.phase == Phase::Terminating)
            {
                return;
            }
            let pod = {
                let eligible: Vec<Pod> =
                    pods.borrow().iter().filter(|pod| takes(behaviour, pod.phase)).copied().collect();
                let mut turn = turn.lock().unwrap();
                *turn += 1;
                eligible[*turn % eligible.len()]
            };
            if let Ok(endpoint) = TcpStream::connect(pod.address).await {
                relay(behaviour, client, endpoint, pod.number, pods).await;
            }
        });
    }
}

fn takes(behaviour: Behaviour, phase: Phase) -> bool {
    match phase {
        Phase::Ready => true,
        Phase::Terminating => behaviour == Behaviour::KeepsSending,
        Phase::Starting => behaviour == Behaviour::SendsEarly,
        Phase::Unborn | Phase::Gone => false,
    }
}

async fn relay(
    behaviour: Behaviour,
    mut client: TcpStream,
    mut endpoint: TcpStream,
    number: u32,
    mut pods: watch::Receiver<Vec<Pod>>,
) {
    let _ = (client.set_nodelay(true), endpoint.set_nodelay(true));
    if behaviour == Behaviour::GarblesReplies {
        let mut bytes = [0; 64];
        while client.read_exact(&mut bytes).await.is_ok()
            && endpoint.write_all(&bytes).await.is_ok()
            && endpoint.read_exact(&mut bytes).await.is_ok()
        {
            bytes[40] ^= 1;
            let _ = client.write_all(&bytes).await;
        }
        return;
    }
    let terminates = |pods: &Vec<Pod>| {
        behaviour == Behaviour::ResetsFlows
            && pods.iter().any(|pod| pod.number == number && pod.phase == Phase::Terminating)
    };
    tokio::select! {
        ended = copy_bidirectional(&mut client, &mut endpoint) => {
            if ended.is_err() {
                let _ = client.set_zero_linger();
            }
        }
        _ = pods.wait_for(terminates) => {
            let _ = client.set_zero_linger();
        }
    }
}
