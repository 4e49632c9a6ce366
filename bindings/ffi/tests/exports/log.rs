//! What a sink hears while people talk and everything goes wrong that easily does: nothing of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use sotto_ffi::{
    Chats, LogLevel, LogRecord, LogSink, LogSinkError, SearchQuery, SottoError, TimelineStart, open_messenger,
    set_log_sink,
};

use crate::stage::{ALL, Person, Stage, close, until, words};

/// Of what has many forms its beginning is looked for, which is also what somebody would log to save room.
const BEGINNING: usize = 8;

#[derive(Default)]
struct Heard(Mutex<Vec<LogRecord>>);

impl LogSink for Heard {
    fn log(&self, record: LogRecord) -> Result<(), LogSinkError> {
        self.0.lock().unwrap().push(record);
        Ok(())
    }
}

impl Heard {
    fn has(&self, words: &str) -> bool {
        self.0.lock().unwrap().iter().any(|record| record.message.contains(words))
    }

    /// What the test itself has logged: others run beside it.
    fn of_the_test(&self) -> Vec<(LogLevel, String)> {
        let heard = self.0.lock().unwrap();
        let of_the_test = heard.iter().filter(|record| record.target == "sotto_test" || record.target == "hyper");
        of_the_test.map(|record| (record.level, record.message.clone())).collect()
    }
}

/// What must not be heard.
#[derive(Default)]
struct Canaries(BTreeSet<String>);

impl Canaries {
    fn text(&mut self, text: &str) {
        assert!(text.len() >= 4, "so short a word says nothing: {text}");
        self.0.insert(text.to_owned());
    }

    /// An id: in its own form, and in every one that bytes are written in.
    fn id(&mut self, id: &str) {
        self.text(&id[..BEGINNING]);
        self.bytes(&HEXLOWER.decode(id.as_bytes()).unwrap());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for encoded in [HEXLOWER, HEXUPPER, BASE64, BASE64URL_NOPAD, BASE32_NOPAD].map(|it| it.encode(bytes)) {
            self.text(&encoded[..BEGINNING]);
        }
        let numbers = format!("{:?}", &bytes[..4]);
        self.text(numbers.trim_matches(['[', ']']));
    }

    async fn person(&mut self, person: &Person) {
        self.id(&person.id.to_string());
        self.id(&person.account().await.unwrap().device.to_string());
        self.text(&person.place);
        for secret in person.keys.0.lock().unwrap().values().filter(|secret| secret.len() >= 16) {
            self.bytes(secret);
        }
    }

    fn none_in(&self, heard: &Heard) {
        for record in &*heard.0.lock().unwrap() {
            let said = format!("{} {}", record.target, record.message);
            let found = self.0.iter().find(|canary| said.contains(*canary));
            assert!(found.is_none(), "{found:?} was logged: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_hears_what_is_logged_and_nothing_of_anybody() {
    listen_in_turns().await;
    let heard = Arc::<Heard>::default();
    set_log_sink(Some(heard.clone()), LogLevel::Trace).unwrap();
    let mut canaries = Canaries::default();
    let stage = Stage::new().await;
    talk(&stage, &mut canaries).await;
    for person in [&stage.alice, &stage.bob] {
        canaries.person(person).await;
    }
    for relay in &stage.relays {
        let address = relay.to_string();
        canaries.text(&address);
        canaries.text(address.trim_start_matches("http://"));
        canaries.text("127.0.0.1");
    }

    restore_an_older_copy(&stage, &mut canaries, &heard).await;
    stage.stop_relays();
    let said = stage.alice.says(&stage.bob, "canary said to nobody").await;
    assert!(!stage.alice.catch_up(1_000).await.unwrap().is_complete);
    stage.bob.mark_all_read(stage.alice.id).await.unwrap();
    canaries.text(&said.text);
    canaries.none_in(&heard);
    set_log_sink(None, LogLevel::Trace).unwrap();
}

/// Whoever listens hears what is bad enough and ours; whoever listened before hears nothing more.
async fn listen_in_turns() {
    let (first, second) = (Arc::<Heard>::default(), Arc::<Heard>::default());
    set_log_sink(Some(first.clone()), LogLevel::Warn).unwrap();
    let say = |number: u32| {
        tracing::info!(target: "sotto_test", "not as bad");
        tracing::warn!(target: "hyper", "somebody else's");
        tracing::warn!(target: "sotto_test", number, code = "full", "as bad");
    };
    say(1);
    until(async || first.has("as bad")).await;
    set_log_sink(Some(second.clone()), LogLevel::Info).unwrap();
    say(2);
    until(async || second.has("as bad number=2")).await;
    assert_eq!(first.of_the_test(), [(LogLevel::Warn, "as bad number=1 code=\"full\"".to_owned())]);
    let info = (LogLevel::Info, "not as bad".to_owned());
    assert_eq!(second.of_the_test(), [info, (LogLevel::Warn, "as bad number=2 code=\"full\"".to_owned())]);
}

/// Every line that our crates log, as it is written: what it names is a code, or an error, and those hold nothing of anybody.
#[test]
fn what_is_logged_names_codes_and_errors_alone() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core");
    let mut lines = 0;
    for source in sources(&core) {
        let text = fs::read_to_string(&source).unwrap();
        for call in text.split("tracing::").skip(1) {
            let Some((level, rest)) = call.split_once("!(") else { continue };
            if !["error", "warn", "info", "debug", "trace"].contains(&level) {
                continue;
            }
            let (named, sentence) = rest.split_once('"').expect("a line says something");
            let sentence = sentence.split('"').next().unwrap();
            assert!(!sentence.contains('{'), "{}: {sentence}", source.display());
            let names = named.split(", ").filter(|name| !name.trim().is_empty());
            for name in names.map(|name| name.split('=').next().unwrap().trim().trim_start_matches(['%', '?'])) {
                let is_known = ["code", "error", "kind", "table"].contains(&name);
                assert!(is_known, "{}: who says that {name} is nothing of anybody?", source.display());
            }
            lines += 1;
        }
    }
    assert!(lines > 20, "there are more lines than {lines}");
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = directories.iter().flat_map(|path| sources(path));
    files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).chain(below).collect()
}

/// Two people do what people do.
async fn talk(stage: &Stage, canaries: &mut Canaries) {
    let (alice, bob) = (&stage.alice, &stage.bob);
    let heard = stage.heard_by_bob("canary said aloud").await;
    bob.react(heard.number, Some("canary-felt".to_owned())).await.unwrap();
    bob.mark_read(vec![heard.number]).await.unwrap();
    let said = alice.says(bob, "canary to be edited").await;
    alice.edit(said.number, words("canary edited")).await.unwrap();
    alice.pin(said.number, true).await.unwrap();
    alice.delete_for_everyone(vec![said.number]).await.unwrap();
    alice.rename(bob.id, Some("Canary Robert".to_owned())).await.unwrap();
    alice.set_note(bob.id, Some("canary noted".to_owned())).await.unwrap();
    alice.set_draft(bob.id, Some(words("canary drafted"))).await.unwrap();
    let query = SearchQuery {
        words: "canary searched".to_owned(),
        conversation: None,
        sender: None,
        since_ms: None,
        until_ms: None,
    };
    alice.search(query, None, 10).await.unwrap();
    alice.timeline(bob.id, TimelineStart::Newest, 10).unwrap().next().await.unwrap();
    alice.chat_list(Chats::Main, 10).unwrap().next().await.unwrap();
    let code = bob.verification_code(alice.id).await.unwrap();
    alice.verify_by_code(bob.id, code).await.unwrap();
    let link = alice.link(false).await;
    let (_, secret) = link.split_once('#').unwrap();
    alice.block(bob.id).await.unwrap();
    alice.unblock(bob.id).await.unwrap();
    stage.until(&[alice, bob], async || bob.message(heard.number).await.is_ok()).await;
    // What was asked for in vain.
    for refused in [alice.join("canary-link".to_owned()).await.err(), alice.join(link.clone()).await.err()] {
        assert!(matches!(refused, Some(SottoError::Invite { .. })), "{refused:?}");
    }

    canaries.text("canary");
    canaries.text("Canary");
    canaries.text(&secret[..BEGINNING]);
    canaries.id(&heard.id.to_string());
    canaries.id(&heard.conversation.to_string());
    for message in bob.messages(alice.id, None, ALL).await.unwrap() {
        canaries.id(&message.id.to_string());
    }
}

/// A profile comes back from a backup, while the one that it was made of goes on.
async fn restore_an_older_copy(stage: &Stage, canaries: &mut Canaries, heard: &Heard) {
    let carol = stage.person("canary carol").await;
    carol.join(stage.alice.link(true).await).await.unwrap();
    stage.are_contacts(&carol, &stage.alice).await;
    canaries.person(&carol).await;
    let (place, keys) = close(carol).await;
    let backup = stage.place("canary backup");
    fs::create_dir(&backup).unwrap();
    for file in fs::read_dir(&place).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), Path::new(&backup).join(file.file_name())).unwrap();
    }

    let goes_on = open_messenger(place, keys.clone()).await.unwrap();
    assert!(goes_on.catch_up(60_000).await.unwrap().is_complete);
    goes_on.shutdown().await.unwrap();
    let restored = open_messenger(backup, keys).await.unwrap();
    until(async || heard.has("a device of its own now")).await;
    canaries.id(&restored.account().await.unwrap().device.to_string());
}
