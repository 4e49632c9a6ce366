//! Ten thousand waiting messages: from opening the profile until all are decrypted, stored and acknowledged, against bare decryption
//! and bare inserts.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::params;
use vodozemac::olm::{Account, OlmMessage, Session, SessionConfig};

use crate::floor::{self, Floor};
use crate::meter::{Meter, Spent, count, ms, us};
use crate::people::{Person, introduce};
use crate::relay_process::RelayProcess;
use crate::report::{Budget, Report};
use crate::{Outcome, Size};

/// Messages of one sender that stand together.
const RUN: usize = 20;
/// Deliveries in one transaction: the stream's window.
const BATCH: usize = 256;
/// Bytes of a letter around a short text, as Olm gets it.
const LETTER_BYTES: usize = 256;
const TEXT: &str = "The quick brown fox jumps over the lazy dog, and then it does so once more.";

pub(crate) async fn measure(size: Size, report: &mut Report) -> Outcome<()> {
    let (senders, rounds) = (size.pick(50, 4), size.pick(10, 2));
    let messages = senders * rounds * RUN;
    let engine = engine(senders, rounds).await?;
    let floor = bare(senders, rounds)?;
    report.table("receive(): 10,000 waiting messages of 50 senders in runs of 20, decrypted, stored, acknowledged");
    report.row("CPU, as a multiple of the floor's", engine.cpu.div_duration_f64(floor.cpu), "x", Budget::AtMost(2.0));
    report.row("wall, as a multiple of the floor's", engine.wall.div_duration_f64(floor.wall), "x", Budget::None);
    report.row("CPU per message", us(engine.cpu) / count(messages), "us", Budget::None);
    report.row("CPU per message of the floor", us(floor.cpu) / count(messages), "us", Budget::None);
    report.row("wall in all", ms(engine.wall), "ms", Budget::None);
    report.row("wall of the floor in all", ms(floor.wall), "ms", Budget::None);
    report.note(format!(
        "{messages} messages. The engine's number holds what the floor does not do: the WebSocket and its frames, seals (of a sender's \
         letters, the ones beyond the hundredth are openers), sealed ratchets, bindings, duplicates, counters, confirmations. The relay \
         is another process, without TLS. The floor: vodozemac's decrypt on sessions in memory; message, seen hash, session, counter, \
         conversation and cursor rows in the engine's schema with its indexes and settings, {BATCH} messages in a transaction."
    ));
    Ok(())
}

/// The engine: opening is counted too.
async fn engine(senders: usize, rounds: usize) -> Outcome<Spent> {
    let directory = tempfile::tempdir()?;
    // The senders are not measured: their files may be in memory.
    let memory = Path::new("/dev/shm");
    let quick = if memory.is_dir() { memory } else { directory.path() };
    let relay = RelayProcess::plain(&directory.path().join("relay"))?;
    let owner = Person::create("owner", relay.address(), directory.path()).await?;
    let mut people = Vec::new();
    for sender in 0..senders {
        people.push(Person::create(&format!("sender {sender}"), relay.address(), quick).await?);
    }
    introduce(&owner, &people).await?;
    let to = owner.account().await?;
    let newest_before = owner.messenger.newest().await?;
    let owner = owner.shut_down().await?;
    for round in 0..rounds {
        for person in &people {
            for number in 0..RUN {
                person.messenger.send_text(to, format!("{round}.{number}: {TEXT}")).await?;
            }
            person.catch_up().await?;
        }
    }
    for person in &people {
        person.messenger.shut_down();
    }

    let meter = Meter::start();
    let owner = owner.open().await?;
    let caught_up = owner.catch_up().await?;
    let spent = meter.stop();

    let expected = senders * rounds * RUN;
    let stored = owner.messenger.received_after(newest_before, u32::MAX).await?.len();
    owner.messenger.shut_down();
    if stored != expected || !caught_up.is_complete {
        return Err(format!("{stored} of {expected} messages arrived").into());
    }
    Ok(spent)
}

/// The floor.
fn bare(senders: usize, rounds: usize) -> Outcome<Spent> {
    let directory = tempfile::tempdir()?;
    let mut floor = Floor::create(directory.path(), senders)?;
    let mut pairs = (0..senders).map(|_| pair()).collect::<Outcome<Vec<_>>>()?;
    let mut waiting: Vec<(usize, OlmMessage)> = Vec::new();
    for _ in 0..rounds {
        for (sender, (theirs, _)) in pairs.iter_mut().enumerate() {
            for _ in 0..RUN {
                waiting.push((sender, theirs.encrypt([9_u8; LETTER_BYTES])?));
            }
        }
    }
    let meter = Meter::start();
    let mut cursor = 0;
    for batch in waiting.chunks(BATCH) {
        let tx = floor.database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut stepped: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for (sender, message) in batch {
            let session = &mut pairs.get_mut(*sender).ok_or("no such sender")?.1;
            let plaintext = session.decrypt(message)?;
            if plaintext.len() != LETTER_BYTES {
                return Err("not what was encrypted".into());
            }
            cursor += 1;
            let (peer, hash): (i64, [u8; 32]) = (i64::try_from(*sender)? + 1, rand::random());
            tx.prepare_cached("INSERT INTO seen_inner (hash, day) VALUES (?1, 20600)")?.execute([hash.as_slice()])?;
            floor::insert_message(&tx, peer, peer, &rand::random(), cursor, TEXT, 10)?;
            let (_, letters) = stepped.entry(peer).or_default();
            *letters += 1;
            let letters = *letters;
            stepped.insert(peer, (tx.last_insert_rowid(), letters));
        }
        for (peer, (last, letters)) in stepped {
            let state = [3_u8; floor::SESSION_BYTES];
            tx.prepare_cached("UPDATE session SET state_sealed = ?2 WHERE id = ?1")?
                .execute(params![peer, state.as_slice()])?;
            tx.prepare_cached("UPDATE peer_device SET received = received + ?2, confirm_due = 1 WHERE id = ?1")?
                .execute([peer, letters])?;
            tx.prepare_cached(
                "UPDATE conversation SET last_message = ?2, last_at = ?2, unread = unread + ?3 WHERE id = ?1",
            )?
            .execute([peer, last, letters])?;
        }
        tx.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('cursor', ?1)")?.execute([cursor])?;
        tx.commit()?;
    }
    Ok(meter.stop())
}

/// The two ends of a session on which both have spoken.
fn pair() -> Outcome<(Session, Session)> {
    let (theirs, mut ours) = (Account::new(), Account::new());
    ours.generate_one_time_keys(1);
    let key = *ours.one_time_keys().values().next().ok_or("no one-time key")?;
    ours.mark_keys_as_published();
    let config = SessionConfig::version_1();
    let mut outbound = theirs.create_outbound_session(config, ours.curve25519_key(), key)?;
    let OlmMessage::PreKey(first) = outbound.encrypt("first")? else { return Err("not a first message".into()) };
    let mut inbound = ours.create_inbound_session(config, theirs.curve25519_key(), &first)?.session;
    outbound.decrypt(&inbound.encrypt("answer")?)?;
    Ok((outbound, inbound))
}
