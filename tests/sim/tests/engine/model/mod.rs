//! Random lives of a conversation, against a model that has no devices and no letters.
//!
//! Two people with one to three devices each say things, answer, edit, feel, pin, take back, hide and read, each on what the device at hand
//! shows just then. Letters wait in one bag, and come out in any order, some of them twice; devices are off for a while. Whenever all of it
//! has arrived every device shows what the model says: the timeline, how far everything is, what is unread, what was said before, what a
//! search finds. After every step the differences of each device's subscriptions make what a fresh query finds.
//!
//! `cargo xtask model` plays more than the few of every run (`SOTTO_MODEL_SEEDS=FROM..TO`).

mod simple;

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sotto_core::records::{Chats, Kind, Message, NewText};
use sotto_core::subscriptions::Start;
use sotto_protocol::AccountId;
use sotto_sim::{Envelope, HeldPost, Person, World};

use crate::rebirth::rest;
use crate::subscriptions::Screen;
use simple::{Line, Side, Simple};

/// Words that are said, and searched for; none begins with another.
const WORDS: [&str; 8] = ["harbour", "kettle", "Ωmega", "今日", "ลูกแมว", "naïve", "ship", "lamp"];
const REACTIONS: [&str; 3] = ["👍", "❤️", "hm"];
/// Steps between two moments in which everything has arrived.
const STEPS: u32 = 24;
const ROUNDS: u32 = 3;

const NAMES: [&str; 2] = ["alice", "bob"];

struct Device {
    side: Side,
    /// `None` only while it is opened again.
    person: Option<Person>,
    screen: Option<Screen>,
}

impl Device {
    fn person(&self) -> &Person {
        self.person.as_ref().expect("it is not being opened")
    }

    fn with(&self) -> &'static str {
        NAMES[1 - self.side]
    }
}

struct Life {
    rng: ChaCha20Rng,
    world: World,
    ids: [AccountId; 2],
    devices: Vec<Device>,
    post: Option<HeldPost>,
    /// What has left and not arrived.
    bag: Vec<Envelope>,
    model: Simple,
    count: u32,
}

impl Life {
    async fn begin(seed: u64) -> Self {
        let (world, _, alice, bob) = World::contacts(70_000 + seed).await;
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let ids = [alice.messenger.account().await.expect("hers").id, bob.messenger.account().await.expect("his").id];
        let mut devices = Vec::new();
        for (side, first) in [alice, bob].into_iter().enumerate() {
            let more = rng.next_u32() % 3;
            let mut own = vec![first];
            for _ in 0..more {
                let next = world.second_device(own.last().expect("one at least")).await.expect("it begins");
                own.push(next);
                rest(&world, &own.iter().collect::<Vec<_>>()).await;
            }
            devices.extend(own.into_iter().map(|person| Device { side, person: Some(person), screen: None }));
        }
        let mut life =
            Self { rng, world, ids, devices, post: None, bag: Vec::new(), model: Simple::default(), count: 0 };
        // Everybody knows all devices of the others.
        for _ in 0..2 {
            for at in 0..life.devices.len() {
                life.say(at, None).await;
            }
            life.rest().await;
        }
        life.check().await;
        life
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.rng.next_u32()).expect("a number") % end
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// All that was said arrives and is confirmed, which somebody who says nothing themselves does a day later.
    async fn rest(&self) {
        let people: Vec<_> = self.devices.iter().map(Device::person).collect();
        rest(&self.world, &people).await;
        self.world.wait(Duration::from_secs(26 * 3600)).await;
        rest(&self.world, &people).await;
    }

    /// Messages that a device shows.
    async fn shown(&self, at: usize) -> Vec<Message> {
        let device = &self.devices[at];
        let page = device.person().messenger.messages(self.ids[1 - device.side], None, u32::MAX).await;
        page.expect("all of them").into_iter().filter(|message| message.kind == Kind::Text).collect()
    }

    async fn one_shown(&mut self, at: usize, only: impl Fn(&Message) -> bool) -> Option<Message> {
        let mut shown = self.shown(at).await;
        shown.retain(|message| only(message));
        // Mostly of the last ones: what is done at once to one message on several devices is what may go wrong.
        let from = shown.len().saturating_sub(6);
        (!shown.is_empty()).then(|| shown.swap_remove(from + self.below(shown.len() - from)))
    }

    fn words(&mut self) -> String {
        self.count += 1;
        let (one, other) = (self.below(WORDS.len()), self.below(WORDS.len()));
        format!("{} {} {}", WORDS[one], self.count, WORDS[other])
    }

    async fn say(&mut self, at: usize, answers: Option<Message>) {
        let words = self.words();
        let device = &self.devices[at];
        let reply_to = answers.as_ref().map(|message| message.number);
        let text = NewText { reply_to, ..NewText::from(words.as_str()) };
        device.person().clock.tick();
        let said = device.person().messenger.send_text(self.ids[1 - device.side], text).await.expect("it is said");
        self.model.say(device.side, said.id, words, answers.map(|message| message.id));
    }

    /// Somebody does something on a device of theirs.
    async fn act(&mut self, at: usize) {
        let side = self.devices[at].side;
        let own = self.ids[side];
        let act = self.below(20);
        let target = match act {
            0..=4 => None,
            7..=8 | 15 => self.one_shown(at, |message| message.sender == own).await,
            _ => self.one_shown(at, |_| true).await,
        };
        let words = self.words();
        let reaction = REACTIONS[self.below(REACTIONS.len())].to_owned();
        let device = &self.devices[at];
        let messenger = &device.person().messenger;
        device.person().clock.tick();
        match (act, target) {
            (5..=6, Some(target)) => self.say(at, Some(target)).await,
            (7..=8, Some(target)) => {
                messenger.edit(target.number, words.as_str()).await.expect("an edit");
                self.model.edit(target.id, words);
            }
            (9..=10, Some(target)) => {
                messenger.react(target.number, Some(reaction.clone())).await.expect("a reaction");
                self.model.react(side, target.id, Some(reaction));
            }
            (11, Some(target)) => {
                messenger.react(target.number, None).await.expect("a reaction less");
                self.model.react(side, target.id, None);
            }
            (12..=13, Some(target)) => {
                messenger.pin(target.number, !target.is_pinned).await.expect("a pin");
                self.model.pin(target.id, !target.is_pinned);
            }
            (14, Some(target)) => {
                messenger.delete_for_me(vec![target.number]).await.expect("it is hidden");
                self.model.hide(side, target.id);
            }
            (15, Some(target)) => {
                messenger.delete_for_everyone(vec![target.number]).await.expect("it is taken back");
                self.model.take_back(target.id);
            }
            (16..=18, Some(_)) => self.read(at).await,
            (19, Some(target)) => {
                let forwarded = messenger.forward(target.number, self.ids[1 - side]).await.expect("it is said");
                self.model.say(side, forwarded.id, target.text, None);
            }
            _ => self.say(at, None).await,
        }
    }

    /// What is on a screen is read, or all of it at once without a look.
    async fn read(&mut self, at: usize) {
        let looks = !self.one_in(4);
        let mut unread = self.shown(at).await;
        unread.retain(|message| message.is_unread);
        if looks && !unread.is_empty() {
            unread.truncate(1 + self.below(unread.len()));
        }
        let device = &self.devices[at];
        if looks {
            let numbers = unread.iter().map(|message| message.number).collect();
            device.person().messenger.mark_read(numbers).await.expect("it is read");
        } else {
            device.person().messenger.mark_all_read(self.ids[1 - device.side]).await.expect("all of it is");
        }
        for message in unread {
            self.model.read(message.id, looks);
        }
    }

    /// What is set of a conversation: of two that are set at once one counts, which the model does not know.
    async fn set(&mut self, at: usize) {
        let what = self.below(5);
        let is_set = self.one_in(2);
        let words = self.words();
        let device = &self.devices[at];
        let (messenger, with) = (&device.person().messenger, self.ids[1 - device.side]);
        let set = match what {
            0 => messenger.mute(with, is_set.then(|| self.world.now().after(Duration::from_secs(1 << 30)))).await,
            1 => messenger.pin_conversation(with, is_set).await,
            2 => messenger.mark_unread(with).await,
            3 => messenger.archive(with, is_set).await,
            _ => messenger.set_draft(with, is_set.then(|| NewText::from(words.as_str()))).await,
        };
        set.expect("it is set");
    }

    fn hold(&mut self) {
        self.post = Some(HeldPost::begin(&self.world.network));
    }

    /// Some of what has left arrives, in any order; some of it twice.
    async fn deliver_some(&mut self) {
        let Some(post) = self.post.clone() else { return };
        self.bag.extend(post.take());
        for _ in 0..self.below(6) {
            if self.bag.is_empty() {
                return;
            }
            let at = self.below(self.bag.len());
            let letter = if self.one_in(8) { self.bag[at].clone() } else { self.bag.swap_remove(at) };
            post.deliver(&self.world.network, &letter).await;
        }
    }

    /// All of it does.
    async fn deliver_all(&mut self) {
        let Some(post) = self.post.take() else { return };
        self.bag.extend(post.take());
        post.end(&self.world.network);
        while !self.bag.is_empty() {
            let at = self.below(self.bag.len());
            self.world.network.put(&self.bag.swap_remove(at)).await;
        }
        self.rest().await;
    }

    async fn off_for_a_while(&mut self, at: usize) {
        let person = self.devices[at].person.take().expect("it is there");
        self.devices[at].screen = None;
        person.messenger.shut_down();
        for _ in 0..self.below(4) {
            self.deliver_some().await;
            self.world.wait(Duration::from_secs(600)).await;
        }
        self.devices[at].person = Some(self.world.reopen(person).await.expect("it opens"));
    }

    /// Everybody's screens show what queries find.
    async fn draw(&mut self) {
        for device in &mut self.devices {
            let person = device.person.as_ref().expect("it is open");
            let with = NAMES[1 - device.side];
            let screen = match &mut device.screen {
                Some(screen) => screen,
                none => none.insert(Screen::of(person, with, Start::Newest, 12).await),
            };
            screen.becomes_right(person, with).await;
        }
    }

    async fn step(&mut self) {
        let at = self.below(self.devices.len());
        match self.below(12) {
            0 => self.set(at).await,
            1 => self.off_for_a_while(at).await,
            2 => self.world.wait(Duration::from_secs(7)).await,
            _ => self.act(at).await,
        }
        self.draw().await;
        self.deliver_some().await;
        if self.one_in(3) {
            self.world.wait(Duration::from_secs(1)).await;
        }
        self.draw().await;
    }

    /// Everything has arrived: everybody sees what the model says, and the devices of each agree on what was set.
    async fn check(&self) {
        let mut lists = [None, None];
        for device in &self.devices {
            let (side, messenger) = (device.side, &device.person().messenger);
            let with = self.ids[1 - side];
            let all = messenger.messages(with, None, u32::MAX).await.expect("all of them");
            let side_of = |message: &Message| usize::from(message.sender == self.ids[1]);
            let lines: Vec<_> =
                all.iter().filter_map(|message| Line::of(message, side, side_of, &self.model)).collect();
            let (lines, gone): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| !line.is_taken_back);
            let (expected, may_be_gone): (Vec<_>, Vec<_>) =
                self.model.seen_by(side).into_iter().partition(|line| !line.is_taken_back);
            // What was taken back before it left came nowhere.
            assert!(gone.iter().all(|line| may_be_gone.contains(line)));
            for (line, expected) in lines.iter().zip(&expected) {
                assert_eq!(line, expected, "{}", device.with());
            }
            assert_eq!(lines.len(), expected.len());
            for message in all.iter().filter(|message| message.edited_at.is_some()) {
                let said = messenger.history(message.number, 1_000).await.expect("its history");
                let said: Vec<_> = said.into_iter().map(|version| version.text).collect();
                assert_eq!(said, self.model.history(message.id));
            }
            for word in WORDS {
                let page = messenger.search(word, None, 100).await.expect("a search");
                let found: Vec<_> = page.hits.iter().map(|hit| hit.message.id).collect();
                assert_eq!(found, self.model.found(side, word).into_iter().take(100).collect::<Vec<_>>(), "{word}");
            }
            let mut chats = Vec::new();
            for part in [Chats::Main, Chats::Archived] {
                chats.extend(messenger.conversations(part, None, 10).await.expect("a list"));
            }
            let chat = chats.into_iter().find(|chat| chat.contact == Some(with)).expect("the conversation");
            let unread = expected.iter().filter(|line| line.is_unread).count();
            assert_eq!(usize::try_from(chat.unread).expect("a count"), unread);
            let set = (
                chat.is_marked_unread,
                chat.muted_until,
                chat.is_archived,
                chat.is_pinned,
                chat.draft,
                (chat.preview, chat.preview_kind, chat.preview_is_own),
            );
            match &lists[side] {
                None => lists[side] = Some(set),
                Some(other) => assert_eq!(&set, other, "devices of {}", NAMES[side]),
            }
        }
    }

    async fn live(seed: u64) {
        let mut life = Self::begin(seed).await;
        for _ in 0..ROUNDS {
            life.hold();
            for _ in 0..STEPS {
                life.step().await;
            }
            life.deliver_all().await;
            life.draw().await;
            life.check().await;
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("SOTTO_MODEL_SEEDS") else { return 0..2 };
    let number = |text: &str| text.parse().expect("SOTTO_MODEL_SEEDS is FROM..TO");
    let (from, to) = asked.split_once("..").expect("SOTTO_MODEL_SEEDS is FROM..TO");
    number(from)..number(to)
}

#[tokio::test(start_paused = true)]
async fn however_letters_travel_all_devices_end_with_what_a_simple_model_says() {
    for seed in seeds() {
        eprintln!("life {seed}");
        Life::live(seed).await;
    }
}
