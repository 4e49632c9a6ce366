//! The relay's rows: what a message, a waiting device, a queue and a connection cost its process, over TLS.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::inbox::{Attached, Client, Inbox};
use crate::meter::{Meter, count, cpu_at_rest, resident_kib, us};
use crate::relay_process::RelayProcess;
use crate::report::{Budget, Report};
use crate::{Outcome, Size};

/// Devices that receive.
const RECEIVERS: usize = 64;
/// Clients that send at the same time.
const SENDERS: usize = 8;
/// Items of a request where the number of requests is not what is measured.
const MANY_ITEMS: usize = 64;

pub(crate) async fn measure(size: Size, report: &mut Report) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    report.table("The relay, over TLS, CPU of its process alone");
    let messages = size.pick(40_960, 4_096);
    for (items, budget) in [(8, Budget::AtMost(30.0)), (1, Budget::None)] {
        let (cpu, rate) = durable(&directory.path().join(format!("durable-{items}")), messages, items).await?;
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
        "Self-signed certificate (ECDSA P-256), the production client with TLS 1.3 and HTTP/2; {SENDERS} senders and {RECEIVERS} \
         attached receivers that acknowledge every frame. The tables of remembered ids begin empty, where the budget asks for 30 \
         million: what these add is not measured here."
    ));
    Ok(())
}

/// CPU of the relay per message, and messages per second.
async fn durable(data: &Path, messages: usize, items: usize) -> Outcome<(f64, f64)> {
    let relay = RelayProcess::tls(data)?;
    let client = Client::new(relay.address());
    let mut inboxes = Vec::new();
    for _ in 0..RECEIVERS {
        inboxes.push(client.create_inbox(4).await?);
    }
    let inboxes = Arc::new(inboxes);
    // Requests go round the inboxes, so that every one gets the same number.
    let requests = messages / SENDERS / items / RECEIVERS * RECEIVERS;
    let each = requests * SENDERS * items / RECEIVERS;
    let mut receivers = JoinSet::new();
    for inbox in inboxes.iter() {
        let mut attached = client.attach(inbox).await?;
        attached.drained().await?;
        receivers.spawn(async move { attached.take(each).await });
    }
    let before = cpu_at_rest(relay.id()).await?;
    let meter = Meter::start();
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (client, inboxes) = (Client::new(relay.address()), Arc::clone(&inboxes));
        senders.spawn(async move {
            for request in 0..requests {
                let first = sender * items + request * items;
                let to: Vec<&Inbox> = (first..first + items).map(|place| &inboxes[place % RECEIVERS]).collect();
                client.send(&to, request).await?;
            }
            Outcome::Ok(())
        });
    }
    all(senders).await?;
    all(receivers).await?;
    let sent = count(requests * SENDERS * items);
    let wall = meter.stop().wall;
    let cpu = cpu_at_rest(relay.id()).await?.saturating_sub(before);
    Ok((us(cpu) / sent, sent / wall.as_secs_f64()))
}

async fn all(mut tasks: JoinSet<Outcome<()>>) -> Outcome<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
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
    let before = cpu_at_rest(relay.id()).await?;
    for turn in 0..sample / MANY_ITEMS {
        let shallow_inbox = &shallow_inboxes[turn * MANY_ITEMS / 100 % shallow_inboxes.len()];
        client.send(&[shallow_inbox; MANY_ITEMS], turn).await?;
    }
    let shallow = cpu_at_rest(relay.id()).await?.saturating_sub(before);
    let before = cpu_at_rest(relay.id()).await?;
    for turn in 0..sample / MANY_ITEMS {
        client.send(&[&inbox; MANY_ITEMS], turn).await?;
    }
    let deep = cpu_at_rest(relay.id()).await?.saturating_sub(before);

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
