//! Futures that are polled k times and dropped, for every k until they complete: whoever begins a change and does not wait for its end, as
//! an app does whose screen goes, finds it made exactly once. Before the first poll (k = 0) nothing has begun, and nothing ever will.
//!
//! Every asynchronous export is in one of the lists here, or played: a new one that nobody thought of fails the test.

mod conversation;
mod life;
mod people;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use sotto_ffi::SottoError;

use crate::stage::{Stage, until};

/// What changes nothing, or nothing that lasts.
const QUERIES: &[&str] = &[
    "account",
    "catch_up",
    "contacts",
    "conversations",
    "deliveries",
    "diagnostics",
    "draft",
    "first_message_since",
    "first_unread",
    "history",
    "live",
    "live_settings",
    "message",
    "messages",
    "messages_after",
    "messages_around",
    "newest",
    "next",
    "open_messenger",
    "open_messenger_to_read",
    "pinned",
    "profile",
    "receipts",
    "received_after",
    "relays",
    "safety_number",
    "search",
    "verification_code",
    "wait_sent",
];

/// What changes something that nobody can see through the exports alone.
const UNSEEN: &[(&str, &str)] = &[
    ("accept_keys", "seen where a contact has another device; otherwise as set_verified, which is played"),
    ("invite", "what comes of it is the link that it returns"),
    ("retry", "seen where a message has failed, which takes a relay that is away; otherwise as edit, which is played"),
];

/// Plays changes on one stage, and remembers which.
struct Play {
    stage: Stage,
    played: RefCell<BTreeSet<&'static str>>,
}

impl Play {
    /// Begins a change as often as there are polls to give up at, each time for another occasion, and counts what came of it.
    async fn change<T, R>(
        &self,
        name: &'static str,
        occasion: impl AsyncFn(u32) -> T,
        change: impl AsyncFn(&T) -> Result<R, SottoError>,
        times: impl AsyncFn(&T) -> usize,
    ) {
        self.played.borrow_mut().insert(name);
        let mut occasions = Vec::new();
        for polls in 0.. {
            let occasion = occasion(polls).await;
            assert_eq!(times(&occasion).await, 0, "{name} is to be seen");
            let answer = polled(change(&occasion), polls).await;
            if polls > 0 {
                until(async || times(&occasion).await > 0).await;
            }
            occasions.push(occasion);
            if let Some(answer) = answer {
                assert!(answer.is_ok(), "{name}: {:?}", answer.err());
                break;
            }
        }
        // Two polls at least, one that begins it and one that finds it done: what is given up between them is what this is about.
        assert!(occasions.len() >= 3, "{name} was never given up");
        // Looked at again: each of them was made on top of the ones before.
        if let Some(last) = occasions.last() {
            assert_eq!(times(last).await, 1, "{name} was made exactly once");
        }
    }

    /// Likewise where the occasions do not touch each other: all of them are looked at again.
    async fn change_apart<T, R>(
        &self,
        name: &'static str,
        occasion: impl AsyncFn(u32) -> T,
        change: impl AsyncFn(&T) -> Result<R, SottoError>,
        times: impl AsyncFn(&T) -> usize,
    ) {
        let made = RefCell::new(Vec::new());
        let remember = async |polls| {
            let occasion = std::rc::Rc::new(occasion(polls).await);
            made.borrow_mut().push(std::rc::Rc::clone(&occasion));
            occasion
        };
        self.change(name, remember, async |it| change(it).await, async |it| times(it).await).await;
        for (polls, occasion) in made.take().into_iter().enumerate() {
            assert_eq!(times(&occasion).await, usize::from(polls > 0), "{name} after {polls} polls");
        }
    }
}

/// Polls a future so many times, whenever it asks for that, and drops it; or gives its answer.
async fn polled<T>(future: impl Future<Output = T>, polls: u32) -> Option<T> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The names of all asynchronous exports.
fn exported() -> BTreeSet<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = BTreeSet::new();
    for source in std::fs::read_dir(sources).unwrap() {
        let path = source.unwrap().path();
        if path.is_file() {
            let text = std::fs::read_to_string(path).unwrap();
            let after = text.split("pub async fn ").skip(1);
            names.extend(after.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_is_done_exactly_once_though_nobody_waits_for_it() {
    let play = Play { stage: Stage::new().await, played: RefCell::default() };
    conversation::say(&play).await;
    conversation::do_to_what_was_said(&play).await;
    conversation::set(&play).await;
    people::verify(&play).await;
    people::meet(&play).await;
    life::begin(&play).await;
    life::read_elsewhere(&play).await;
    life::end(&play).await;

    let played = play.played.take();
    let known = played.iter().chain(QUERIES).chain(UNSEEN.iter().map(|(name, _)| name));
    let known: BTreeSet<_> = known.map(|name| (*name).to_owned()).collect();
    assert_eq!(exported(), known, "each export is played, or said to change nothing");
}
