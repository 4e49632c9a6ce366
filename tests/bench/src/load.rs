//! One load for every server that keeps messages: senders and receivers at the same time, each message kept and acknowledged.
//!
//! The servers differ in what a client of theirs says; this is what they have in common, so that their numbers may stand side by side.

use std::future::Future;

use tokio::task::JoinSet;

use crate::Outcome;
use crate::meter::{Meter, count, cpu_at_rest, us};

/// Clients that receive, each its own queue.
pub(crate) const RECEIVERS: usize = 64;
/// Clients that send at the same time.
const SENDERS: usize = 8;

/// A server that runs as a process of its own.
pub(crate) trait Server {
    /// A client that puts messages into queues.
    type Sender: Sender;
    /// A client that takes them from one queue.
    type Receiver: Receiver;

    /// Its process, which is what is measured.
    fn process(&self) -> u32;

    /// Connects a sender.
    fn sender(&self, number: usize) -> impl Future<Output = Outcome<Self::Sender>>;

    /// Connects the receiver of a queue; `number` is below [`RECEIVERS`].
    fn receiver(&self, number: usize) -> impl Future<Output = Outcome<Self::Receiver>>;
}

/// See [`Server::Sender`].
pub(crate) trait Sender: Send + 'static {
    /// Sends one message of 1 KiB to each of these queues, as close together as the protocol has it, and returns once the server says
    /// that it has them all.
    fn send(&mut self, to: &[usize]) -> impl Future<Output = Outcome<()>> + Send;
}

/// See [`Server::Receiver`].
pub(crate) trait Receiver: Send + 'static {
    /// Takes so many messages and acknowledges them.
    fn take(&mut self, count: usize) -> impl Future<Output = Outcome<()>> + Send;
}

/// What a server needed.
pub(crate) struct Durable {
    /// CPU of its process for each message, in microseconds.
    pub(crate) cpu: f64,
    /// Messages a second, senders and receivers running on the same machine.
    pub(crate) rate: f64,
    /// How many there were.
    pub(crate) messages: usize,
}

/// About `messages` messages, `items` at a time.
pub(crate) async fn durable(server: &impl Server, messages: usize, items: usize) -> Outcome<Durable> {
    // Requests go round the queues, so that every one gets the same number.
    let requests = (messages / SENDERS / items / RECEIVERS).max(1) * RECEIVERS;
    let each = requests * SENDERS * items / RECEIVERS;
    let (mut receivers, mut senders) = (Vec::new(), Vec::new());
    for number in 0..RECEIVERS {
        receivers.push(server.receiver(number).await?);
    }
    for number in 0..SENDERS {
        senders.push(server.sender(number).await?);
    }
    let before = cpu_at_rest(server.process()).await?;
    let meter = Meter::start();
    let mut tasks = JoinSet::new();
    for mut receiver in receivers {
        tasks.spawn(async move { receiver.take(each).await });
    }
    for (number, mut sender) in senders.into_iter().enumerate() {
        tasks.spawn(async move {
            for request in 0..requests {
                let first = (number + request) * items;
                let to: Vec<usize> = (first..first + items).map(|place| place % RECEIVERS).collect();
                sender.send(&to).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let wall = meter.stop().wall;
    let cpu = cpu_at_rest(server.process()).await?.saturating_sub(before);
    let messages = requests * SENDERS * items;
    Ok(Durable { cpu: us(cpu) / count(messages), rate: count(messages) / wall.as_secs_f64(), messages })
}
