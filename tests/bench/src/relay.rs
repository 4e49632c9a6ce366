//! The relay's rows: what a message, a waiting device, a queue and a connection cost its process, over TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::inbox::{Attached, Client, Inbox};
use crate::load::{Durable, RECEIVERS, Receiver, Sender, Server, durable};
use crate::meter::{count, cpu_at_rest, resident_kib, us};
use crate::old_ids::{self, DAYS};
use crate::relay_process::RelayProcess;
use crate::report::{Budget, Report};
use crate::{Outcome, Size};

/// Items of a request where the number of requests is not what is measured.
const MANY_ITEMS: usize = 64;
/// Requests of each kind before it is the other's turn.
const RUN: usize = 25;

pub(crate) async fn measure(size: Size, report: &mut Report) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    report.table("The relay, over TLS, CPU of its process alone");
    let messages = size.pick(40_960, 4_096);
    for (items, budget) in [(8, Budget::AtMost(30.0)), (1, Budget::None)] {
        let relay = Relay::create(&directory.path().join(format!("durable-{items}")), size.old_ids()).await?;
        let Durable { cpu, rate, .. } = durable(&relay, messages, items).await?;
        report.row(format!("durable message of 1 KiB with its ack, {items} a request"), cpu, "us", budget);
        report.row("the same: messages a second, senders and receivers on the same machine", rate, "/s", Budget::None);
    }
    let (shallow, deep, drain) = backlog(&directory.path().join("backlog"), size).await?;
    report.row("a message into an inbox with about 100 waiting", shallow, "us", Budget::None);
    report.row("a message into an inbox with about 100,000 waiting", deep, "us", Budget::None);
    report.row("deep against shallow", deep / shallow, "x", Budget::AtMost(1.25));
    report.row("a message drained and acknowledged from 100,000 waiting", drain, "us", Budget::AtMost(10.0));
    let (connect, resident) = idle(&directory.path().join("idle"), size.pick(1_500, 50)).await?;
    report.row("full connect: TCP, TLS, WebSocket, challenge, attach", connect, "us", Budget::AtMost(500.0));
    report.row("memory of an idle device over TLS", resident, "KiB", Budget::AtMost(16.0));
    report.note(format!(
        "Self-signed certificate (ECDSA P-256), the production client with TLS 1.3 and HTTP/2. Durable messages: 8 senders, {RECEIVERS} \
         attached receivers that acknowledge every frame, and {} ids of envelopes accepted before, evenly over {DAYS} days.",
        size.old_ids()
    ));
    Ok(())
}

/// A relay with an inbox for each receiver of the common load.
pub(crate) struct Relay {
    process: RelayProcess,
    inboxes: Arc<Vec<Inbox>>,
}

impl Relay {
    /// One that remembers `old_ids` envelopes of the days before, as one that has run for long does.
    pub(crate) async fn create(data: &Path, old_ids: usize) -> Outcome<Self> {
        let process = RelayProcess::tls(data)?;
        let client = Client::new(process.address());
        let mut inboxes = Vec::new();
        for _ in 0..RECEIVERS {
            inboxes.push(client.create_inbox(4).await?);
        }
        drop(process);
        old_ids::remember(&data.join("queue"), old_ids)?;
        Ok(Self { process: RelayProcess::tls_again(data)?, inboxes: Arc::new(inboxes) })
    }
}

impl Server for Relay {
    type Sender = Writer;
    type Receiver = Reader;

    fn process(&self) -> u32 {
        self.process.id()
    }

    async fn sender(&self, _: usize) -> Outcome<Writer> {
        Ok(Writer { client: Client::new(self.process.address()), inboxes: Arc::clone(&self.inboxes), turn: 0 })
    }

    async fn receiver(&self, number: usize) -> Outcome<Reader> {
        let client = Client::new(self.process.address());
        let mut attached = client.attach(&self.inboxes[number]).await?;
        attached.drained().await?;
        Ok(Reader(attached))
    }
}

/// A client that sends.
pub(crate) struct Writer {
    client: Client,
    inboxes: Arc<Vec<Inbox>>,
    turn: usize,
}

impl Sender for Writer {
    async fn send(&mut self, to: &[usize]) -> Outcome<()> {
        self.turn += 1;
        let to: Vec<&Inbox> = to.iter().map(|queue| &self.inboxes[*queue]).collect();
        self.client.send(&to, self.turn).await
    }
}

/// A client that receives.
pub(crate) struct Reader(Attached);

impl Receiver for Reader {
    async fn take(&mut self, count: usize) -> Outcome<()> {
        self.0.take(count).await
    }
}

/// CPU of the relay per message put into queues of about 100 and about 100,000, and per message drained from the latter.
async fn backlog(data: &Path, size: Size) -> Outcome<(f64, f64, f64)> {
    let relay = RelayProcess::tls(data)?;
    let client = Client::new(relay.address());
    let sample = size.pick(12_800, 640);
    let inbox = client.create_inbox(8).await?;
    let depth = size.pick(100_000, 2_000) / MANY_ITEMS;
    for turn in 0..depth {
        client.send(&[&inbox; MANY_ITEMS], turn).await?;
    }
    // Both samples are taken with the same number of envelopes and remembered ids in the database: only the queues differ.
    let mut shallow_inboxes = Vec::new();
    for _ in 0..sample / 100 {
        shallow_inboxes.push(client.create_inbox(8).await?);
    }
    // By turns, so that what the store does now and then for all of them (moving its log) meets both.
    let (mut shallow, mut deep) = (Duration::ZERO, Duration::ZERO);
    let requests: Vec<usize> = (0..sample / MANY_ITEMS).collect();
    for run in requests.chunks(RUN) {
        let before = cpu_at_rest(relay.id()).await?;
        for turn in run {
            let shallow_inbox = &shallow_inboxes[turn * MANY_ITEMS / 100 % shallow_inboxes.len()];
            client.send(&[shallow_inbox; MANY_ITEMS], *turn).await?;
        }
        let between = cpu_at_rest(relay.id()).await?;
        for turn in run {
            client.send(&[&inbox; MANY_ITEMS], *turn).await?;
        }
        shallow += between.saturating_sub(before);
        deep += cpu_at_rest(relay.id()).await?.saturating_sub(between);
    }

    let waiting = (depth + sample / MANY_ITEMS) * MANY_ITEMS;
    let before = cpu_at_rest(relay.id()).await?;
    client.attach(&inbox).await?.take(waiting).await?;
    let drain = cpu_at_rest(relay.id()).await?.saturating_sub(before);
    let sampled = count(sample / MANY_ITEMS * MANY_ITEMS);
    Ok((us(shallow) / sampled, us(deep) / sampled, us(drain) / count(waiting)))
}

/// CPU of the relay per connection made, and its memory per connection held.
async fn idle(data: &Path, devices: usize) -> Outcome<(f64, f64)> {
    let relay = RelayProcess::tls(data)?;
    let client = Client::new(relay.address());
    let mut inboxes = Vec::new();
    for _ in 0..devices {
        inboxes.push(client.create_inbox(1).await?);
    }
    // The first tenth fills pools and free lists that every relay has.
    let (first, rest) = inboxes.split_at(devices / 10);
    let mut held = attach_all(&client, first).await?;
    let (cpu, resident) = (cpu_at_rest(relay.id()).await?, resident_kib(relay.id())?);
    held.extend(attach_all(&client, rest).await?);
    let cpu = cpu_at_rest(relay.id()).await?.saturating_sub(cpu);
    let resident = resident_kib(relay.id())? - resident;
    drop(held);
    Ok((us(cpu) / count(rest.len()), resident / count(rest.len())))
}

async fn attach_all(client: &Client, inboxes: &[Inbox]) -> Outcome<Vec<Attached>> {
    let mut held = Vec::with_capacity(inboxes.len());
    for inbox in inboxes {
        let mut attached = client.attach(inbox).await?;
        attached.drained().await?;
        held.push(attached);
    }
    Ok(held)
}
