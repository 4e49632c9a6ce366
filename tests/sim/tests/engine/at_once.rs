//! Two devices of one account accept somebody at once, each by a request of another device of theirs, or of the same one: all devices of both end
//! with one pair secret, and hear each other.

use std::time::Duration;

use sotto_core::records::ContactState;
use sotto_crypto::letter::Content;
use sotto_crypto::secret::PairSecret;
use sotto_sim::{Envelope, HeldPost, Person, World, hex};

use super::devices::two_devices;
use super::meeting::{id, link};
use super::pairs::hold_back_what_goes_to;
use super::removal::{rest, secret};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

/// Each accepts who has asked it, and has heard nothing of the other's word.
async fn accept_at_once(world: &World, devices: [&Person; 2], who: &Person) {
    let relay = who.messenger.account().await.expect("it reads").relays.swap_remove(0);
    world.network.set_down(&relay, true);
    let id = id(who).await;
    for device in devices {
        assert_eq!(device.contact("carol").await.expect("known").state, ContactState::Asking);
        device.messenger.accept(id).await.expect("it accepts");
    }
    world.network.set_down(&relay, false);
}

/// Whatever any device says, all others of both hear once.
async fn all_hear_all(world: &World, hers: &[&Person], carols: &[&Person], story: &str) {
    let everybody: Vec<&Person> = hers.iter().chain(carols).copied().collect();
    let with = |device: usize| if device < hers.len() { "carol" } else { "alice" };
    let mut said = Vec::new();
    for (number, device) in everybody.iter().enumerate() {
        said.push(format!("by {number}"));
        device.say(with(number), said.last().expect("one")).await.expect("it says that");
        rest(world, &everybody).await;
    }
    for (number, device) in everybody.iter().enumerate() {
        let mut heard = device.transcript(with(number)).await.expect("it reads");
        heard.retain(|text| text.starts_with("by "));
        heard.sort();
        assert_eq!(heard, said, "{story}: device {number} {:?}", device.refusals());
    }
    let pair = |device: &Person, of: &str| {
        let sql = format!(
            "SELECT pair_secret FROM contact WHERE name = '{of}' AND pair_usable AND pair_before IS NULL AND pair_changing IS NULL"
        );
        device.database().blobs(&sql)
    };
    let pairs: Vec<_> = everybody.iter().enumerate().map(|(number, device)| pair(device, with(number))).collect();
    assert!(pairs[0].len() == 1 && pairs.iter().all(|pair| *pair == pairs[0]), "{story}: one pair secret, {pairs:?}");
}

#[tokio::test(start_paused = true)]
async fn c1_two_requests_of_two_devices_that_are_accepted_at_once_on_two_make_one_pair() {
    for seed in 1458..1460 {
        let (world, alice, tablet, _bob) = two_devices(seed).await;
        let relay = alice.messenger.account().await.unwrap().relays.swap_remove(0);
        let carol = world.person("carol", &[relay]).await.unwrap();
        let laptop = world.second_device(&carol).await.unwrap();
        rest(&world, &[&laptop, &carol]).await;
        for (asked, asking) in [(&alice, &carol), (&tablet, &laptop)] {
            asking.messenger.join(&link(asked, false).await).await.unwrap();
            world.settle(&[asking, asked]).await.unwrap();
        }
        accept_at_once(&world, [&alice, &tablet], &carol).await;
        let mut everybody = [&alice, &tablet, &carol, &laptop];
        everybody.rotate_left(usize::try_from(seed % 4).unwrap());
        rest(&world, &everybody).await;
        world.wait(2 * DAY).await;
        all_hear_all(&world, &[&alice, &tablet], &[&carol, &laptop], &format!("seed {seed}")).await;
    }
}

/// Carol has asked two devices of alice's, the second one later, and both have accepted: that one comes first.
async fn both_accepted(seed: u64) -> (World, [Person; 2], Person) {
    let (world, alice, tablet, _bob) = two_devices(seed).await;
    let relay = alice.messenger.account().await.expect("it reads").relays.swap_remove(0);
    let carol = world.person("carol", &[relay]).await.expect("she begins");
    for asked in [&alice, &tablet] {
        carol.messenger.join(&link(asked, false).await).await.expect("she asks");
        world.settle(&[&carol, asked]).await.expect("they settle");
        world.wait(MINUTE).await;
    }
    accept_at_once(&world, [&alice, &tablet], &carol).await;
    (world, [tablet, alice], carol)
}

fn pair_with_carol(device: &Person) -> Vec<u8> {
    secret(device, "pair_secret", "contact WHERE name = 'carol'")
}

/// Whether carol would settle for the pair that her devices do not: that of the later request is the lower one.
fn is_in_doubt([later, earlier]: &[Person; 2]) -> bool {
    pair_with_carol(later) < pair_with_carol(earlier)
}

/// Whether a device tells carol of another pair than that of its answer.
fn tells(device: &Person) -> bool {
    device.database().number("SELECT count(*) FROM contact WHERE name = 'carol' AND pair_changing IS NOT NULL") == 1
}

#[tokio::test(start_paused = true)]
async fn c1_two_requests_of_one_device_that_are_accepted_at_once_on_two_make_one_pair() {
    let mut orders = Vec::new();
    for seed in 1450..1452 {
        let (world, hers, carol) = both_accepted(seed).await;
        orders.push(is_in_doubt(&hers));
        let [tablet, alice] = hers.each_ref();
        let mut everybody = [alice, tablet, &carol];
        everybody.rotate_left(usize::try_from(seed % 3).unwrap());
        rest(&world, &everybody).await;
        world.wait(2 * DAY).await;
        all_hear_all(&world, &[alice, tablet], &[&carol], &format!("seed {seed}")).await;
    }
    assert!(orders.contains(&true) && orders.contains(&false), "{orders:?}");
}

#[tokio::test(start_paused = true)]
async fn c1_whoever_was_away_while_two_devices_accepted_at_once_ends_with_the_pair_of_both() {
    let mut orders = Vec::new();
    for seed in 1450..1452 {
        let (world, hers, carol) = both_accepted(seed).await;
        orders.push(is_in_doubt(&hers));
        carol.messenger.shut_down();
        let [tablet, alice] = hers.each_ref();
        rest(&world, &[alice, tablet]).await;
        assert_eq!([alice, tablet].iter().filter(|device| tells(device)).count(), 1, "whoever has to give way");
        world.wait(5 * DAY).await;
        rest(&world, &[alice, tablet]).await;
        let carol = world.reopen(carol).await.unwrap();
        rest(&world, &[&carol, alice, tablet]).await;
        all_hear_all(&world, &[alice, tablet], &[&carol], &format!("seed {seed}")).await;
    }
    assert!(orders.contains(&true) && orders.contains(&false), "{orders:?}");
}

#[tokio::test(start_paused = true)]
async fn c1_a_device_that_accepted_and_was_away_hears_later_that_another_one_had_as_well() {
    let mut orders = Vec::new();
    for seed in 1450..1452 {
        let (world, [tablet, alice], carol) = both_accepted(seed).await;
        orders.push(pair_with_carol(&tablet) < pair_with_carol(&alice));
        alice.messenger.shut_down();
        rest(&world, &[&tablet, &carol]).await;
        assert_eq!(pair_with_carol(&tablet), secret(&carol, "pair_secret", "contact"), "she has settled for that");
        carol.say("alice", "meanwhile").await.unwrap();
        rest(&world, &[&carol, &tablet]).await;
        world.wait(3 * DAY).await;
        let alice = world.reopen(alice).await.unwrap();
        rest(&world, &[&alice, &tablet, &carol]).await;
        world.wait(2 * DAY).await;
        all_hear_all(&world, &[&alice, &tablet], &[&carol], &format!("seed {seed}")).await;
        for device in [&alice, &tablet] {
            let heard = device.transcript("carol").await.unwrap();
            assert!(heard.contains(&"meanwhile".to_owned()), "seed {seed}: {heard:?}");
        }
    }
    assert!(orders.contains(&true) && orders.contains(&false), "{orders:?}");
}

#[tokio::test(start_paused = true)]
async fn c1_a_device_that_has_to_give_way_and_is_killed_tells_so_when_it_is_back() {
    let mut tried = 0;
    for seed in 1450..1452 {
        let (world, hers, carol) = both_accepted(seed).await;
        if !is_in_doubt(&hers) {
            continue;
        }
        let [tablet, alice] = hers;
        hold_back_what_goes_to(&world, &carol);
        for device in [&alice, &tablet] {
            let _ = device.messenger.catch_up(MINUTE).await.unwrap();
        }
        assert!(tells(&tablet) && !tells(&alice));
        let tablet = world.reopen(tablet).await.unwrap();
        world.network.meddle(None);
        rest(&world, &[&tablet, &carol, &alice]).await;
        world.wait(2 * DAY).await;
        all_hear_all(&world, &[&alice, &tablet], &[&carol], &format!("seed {seed}")).await;
        tried += 1;
    }
    assert!(tried > 0);
}

/// Post that is held back, of two devices of which one has to give way.
struct Held {
    post: HeldPost,
    /// All of it, which arrives in the end whatever has arrived before.
    all: Vec<Envelope>,
}

impl Held {
    /// What of that is for a person arrives, but for what is under tokens that do not stand there.
    async fn arrives(&self, world: &World, letters: &[Envelope], at: &Person) {
        let inboxes = at.inboxes();
        for letter in letters.iter().filter(|letter| inboxes.iter().any(|inbox| letter.inbox == *inbox)) {
            self.post.deliver(&world.network, letter).await;
        }
    }

    async fn sends(&mut self, device: &Person) -> Vec<Envelope> {
        device.catch_up().await.expect("it catches up");
        let letters = self.post.take();
        self.all.extend(letters.iter().cloned());
        letters
    }

    async fn ends(self, world: &World) {
        self.post.end(&world.network);
        for letter in &self.all {
            world.network.put(letter).await;
        }
    }
}

/// One of two devices that have accepted carol at once has to give way, and says so: what that one has answered, what it says then, and what the
/// other one has answered.
async fn gives_way(world: &World, loser: &Person, winner: Person) -> (Held, [Vec<Envelope>; 3], Person) {
    let mut held = Held { post: HeldPost::begin(&world.network), all: Vec::new() };
    winner.messenger.shut_down();
    let of_loser = held.sends(loser).await;
    let winner = world.reopen(winner).await.expect("it is back");
    let of_winner = held.sends(&winner).await;
    held.arrives(world, &of_winner, loser).await;
    let word = held.sends(loser).await;
    assert!(tells(loser));
    (held, [of_loser, word, of_winner], winner)
}

/// All that was held back arrives as well; days later both of hers and carol hear each other.
async fn all_is_settled(world: &World, held: Held, [alice, tablet, carol]: [&Person; 3], seed: u64) {
    held.ends(world).await;
    rest(world, &[alice, tablet, carol]).await;
    world.wait(2 * DAY).await;
    all_hear_all(world, &[alice, tablet], &[carol], &format!("seed {seed}")).await;
}

#[tokio::test(start_paused = true)]
async fn c1_an_answer_with_the_pair_of_a_change_that_was_taken_before_does_not_silence_that_word() {
    let mut tried = 0;
    for seed in 1450..1452 {
        let (world, hers, carol) = both_accepted(seed).await;
        if is_in_doubt(&hers) {
            continue;
        }
        let [tablet, alice] = hers;
        let (mut held, [answer, word, later], tablet) = gives_way(&world, &alice, tablet).await;
        held.arrives(&world, &answer, &carol).await;
        held.arrives(&world, &word, &carol).await;
        let first = held.sends(&carol).await;
        assert_eq!(pair_with_carol(&tablet), secret(&carol, "pair_secret", "contact"), "she has taken it");
        held.arrives(&world, &later, &carol).await;
        let second = held.sends(&carol).await;
        for letters in [&second, &first] {
            for device in [&alice, &tablet] {
                held.arrives(&world, letters, device).await;
            }
        }
        all_is_settled(&world, held, [&alice, &tablet, &carol], seed).await;
        tried += 1;
    }
    assert!(tried > 0);
}

#[tokio::test(start_paused = true)]
async fn c1_a_change_that_overtakes_the_answer_which_it_takes_the_place_of_waits_for_it() {
    let mut tried = 0;
    for seed in 1450..1452 {
        let (world, hers, carol) = both_accepted(seed).await;
        if !is_in_doubt(&hers) {
            continue;
        }
        let [tablet, alice] = hers;
        let (mut held, [later, word, answer], alice) = gives_way(&world, &tablet, alice).await;
        for letters in [&answer, &word, &later] {
            held.arrives(&world, letters, &carol).await;
            let said = held.sends(&carol).await;
            for device in [&alice, &tablet] {
                held.arrives(&world, &said, device).await;
            }
        }
        all_is_settled(&world, held, [&alice, &tablet, &carol], seed).await;
        tried += 1;
    }
    assert!(tried > 0);
}

#[tokio::test(start_paused = true)]
async fn c1_a_device_that_has_to_give_way_says_so_the_way_of_its_answer_whatever_carol_has_said_before() {
    let (world, hers, carol) = both_accepted(1450).await;
    assert!(is_in_doubt(&hers));
    let [tablet, alice] = hers;
    let mut held = Held { post: HeldPost::begin(&world.network), all: Vec::new() };
    alice.messenger.shut_down();
    let later = held.sends(&tablet).await;
    let alice = world.reopen(alice).await.unwrap();
    let first = held.sends(&alice).await;
    held.arrives(&world, &first, &carol).await;
    let ready = held.sends(&carol).await;
    held.arrives(&world, &ready, &alice).await;
    let usable = held.sends(&alice).await;
    // What the tablet has answered is under way, and what it says from now on does not leave.
    hold_back_what_goes_to(&world, &carol);
    for letters in [&first, &ready, &usable] {
        for letter in letters.iter().filter(|letter| tablet.inboxes().iter().any(|inbox| letter.inbox == *inbox)) {
            world.network.put(letter).await;
        }
        let _ = tablet.messenger.catch_up(MINUTE).await.unwrap();
    }
    assert!(tells(&tablet));
    world.network.meddle(None);
    tablet.messenger.shut_down();
    for letter in later.iter().filter(|letter| carol.inboxes().iter().any(|inbox| letter.inbox == *inbox)) {
        world.network.put(letter).await;
    }
    rest(&world, &[&carol]).await;
    let tablet = world.reopen(tablet).await.unwrap();
    rest(&world, &[&tablet, &carol, &alice]).await;
    world.wait(2 * DAY).await;
    all_hear_all(&world, &[&alice, &tablet], &[&carol], "with what was said before").await;
}

#[tokio::test(start_paused = true)]
async fn b3_a_change_within_an_epoch_is_heeded_only_the_way_of_an_answer() {
    let (world, _, alice, bob) = World::contacts(1456).await;
    let known = secret(&alice, "pair_secret", "contact");
    let before = PairSecret::try_from(&known[..]).unwrap().id();
    let change = Content::PairChange { pair_secret: PairSecret::from_bytes([7; 32]), epoch: 1, before };
    bob.database().change(&format!(
        "INSERT INTO outbox (peer_device, content, message_id, state, sent_at)
         SELECT id, x'{}', randomblob(16), 0, 1 FROM peer_device",
        hex(&change.encode().expect("legal"))
    ));
    rest(&world, &[&bob, &alice]).await;
    assert_eq!(bob.database().number("SELECT count(*) FROM outbox WHERE state < 2"), 0, "it has left");
    assert_eq!(secret(&alice, "pair_secret", "contact"), known);
}

#[tokio::test(start_paused = true)]
async fn c1_the_way_of_an_answer_is_kept_by_who_has_other_devices_alone_until_it_runs_out() {
    let kept =
        |device: &Person| device.database().number("SELECT count(*) FROM contact WHERE reply_secret IS NOT NULL");
    let (world, alice, tablet, bob) = two_devices(1465).await;
    let relay = bob.messenger.account().await.unwrap().relays.swap_remove(0);
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    for owner in [&bob, &alice] {
        world.introduce(owner, &carol).await.unwrap();
        rest(&world, &[owner, &carol]).await;
    }
    assert_eq!([&bob, &alice, &tablet].map(kept), [0, 1, 0]);
    // As if that was long ago.
    alice.database().change(&format!("UPDATE contact SET asked_at = asked_at - {}", (61 * DAY).as_millis()));
    world.wait(DAY + DAY / 12).await;
    alice.say("bob", "a day later").await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(DAY / 12).await;
    assert_eq!(kept(&alice), 0);
}

/// Alice with two devices, and carol with an invite for each of them.
async fn two_invites(seed: u64) -> (World, [Person; 2], Person, [String; 2]) {
    let (world, alice, tablet, _bob) = two_devices(seed).await;
    let relay = alice.messenger.account().await.expect("it reads").relays.swap_remove(0);
    let carol = world.person("carol", &[relay]).await.expect("she begins");
    let links = [link(&carol, true).await, link(&carol, true).await];
    (world, [alice, tablet], carol, links)
}

#[tokio::test(start_paused = true)]
async fn c1_two_devices_that_ask_somebody_at_once_share_one_pair_with_them() {
    for seed in 1470..1476 {
        let (world, [alice, tablet], carol, links) = two_invites(seed).await;
        for (device, link) in [&alice, &tablet].into_iter().zip(&links) {
            device.messenger.join(link).await.unwrap();
        }
        let mut everybody = [&carol, &alice, &tablet];
        everybody.rotate_left(usize::try_from(seed % 3).unwrap());
        rest(&world, &everybody).await;
        world.wait(2 * DAY).await;
        all_hear_all(&world, &[&alice, &tablet], &[&carol], &format!("seed {seed}")).await;
    }
}

/// Her tablet has asked by the second invite, and is off; her phone by the first. Returns what each of them has sent, in that order.
async fn tablet_asks_before(
    world: &World,
    [alice, tablet]: [&Person; 2],
    links: &[String; 2],
) -> (Held, Vec<Envelope>, Vec<Envelope>) {
    let mut held = Held { post: HeldPost::begin(&world.network), all: Vec::new() };
    tablet.messenger.join(&links[1]).await.expect("it asks");
    let late = held.sends(tablet).await;
    tablet.messenger.shut_down();
    alice.messenger.join(&links[0]).await.expect("it asks");
    let first = held.sends(alice).await;
    (held, late, first)
}

#[tokio::test(start_paused = true)]
async fn c1_a_request_of_another_device_that_comes_when_the_first_was_answered_makes_one_pair() {
    for (seed, is_heard) in [(1480, false), (1481, true), (1482, false), (1483, true)] {
        let (world, [alice, tablet], carol, links) = two_invites(seed).await;
        let (mut held, late, mut said) = tablet_asks_before(&world, [&alice, &tablet], &links).await;
        for _ in 0..3 {
            held.arrives(&world, &said, &carol).await;
            said = held.sends(&carol).await;
            held.arrives(&world, &said, &alice).await;
            said = held.sends(&alice).await;
        }
        assert_eq!(pair_with_carol(&alice), secret(&carol, "pair_secret", "contact"), "they have met");
        let tablet = world.reopen(tablet).await.unwrap();
        if is_heard {
            let heard = held.all.clone();
            held.arrives(&world, &heard, &tablet).await;
            held.sends(&tablet).await;
        }
        let knows_pair = "SELECT count(*) FROM contact WHERE name = 'carol' AND pair_secret IS NOT NULL";
        assert_eq!(tablet.database().number(knows_pair), i64::from(is_heard));
        held.arrives(&world, &late, &carol).await;
        let said = held.sends(&carol).await;
        held.arrives(&world, &said, &tablet).await;
        held.sends(&tablet).await;
        all_is_settled(&world, held, [&alice, &tablet, &carol], seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c1_a_request_that_comes_late_to_another_device_of_theirs_makes_one_pair() {
    let mut orders = Vec::new();
    for seed in [1490, 1491, 1492] {
        let (world, alice, tablet, _bob) = two_devices(seed).await;
        let relay = alice.messenger.account().await.unwrap().relays.swap_remove(0);
        let carol = world.person("carol", &[relay]).await.unwrap();
        let laptop = world.second_device(&carol).await.unwrap();
        rest(&world, &[&laptop, &carol]).await;
        let links = [link(&carol, true).await, link(&laptop, true).await];
        let (mut held, late, mut said) = tablet_asks_before(&world, [&alice, &tablet], &links).await;
        for _ in 0..3 {
            held.arrives(&world, &said, &carol).await;
            said = held.sends(&carol).await;
            held.arrives(&world, &said, &alice).await;
            held.arrives(&world, &said, &laptop).await;
            held.sends(&laptop).await;
            said = held.sends(&alice).await;
        }
        let tablet = world.reopen(tablet).await.unwrap();
        held.arrives(&world, &late, &laptop).await;
        let said = held.sends(&laptop).await;
        held.arrives(&world, &said, &tablet).await;
        held.sends(&tablet).await;
        orders.push(pair_with_carol(&tablet) == pair_with_carol(&alice));
        held.ends(&world).await;
        let everybody = [&alice, &tablet, &carol, &laptop];
        rest(&world, &everybody).await;
        world.wait(2 * DAY).await;
        all_hear_all(&world, &[&alice, &tablet], &[&carol, &laptop], &format!("seed {seed}")).await;
    }
    assert_eq!(orders, [true; 3], "all were told the same");
}

#[tokio::test(start_paused = true)]
async fn c1_a_device_that_asks_again_or_comes_from_a_copy_begins_anew() {
    let (world, relay, alice, _bob) = World::contacts(1477).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    let mut pairs = Vec::new();
    let mut copy = None;
    for _ in 0..2 {
        alice.messenger.join(&link(&carol, true).await).await.unwrap();
        copy = Some(world.back_up(&alice));
        rest(&world, &[&alice, &carol]).await;
        pairs.push(secret(&carol, "pair_secret", "contact"));
    }
    // What was answered to the device before is nothing that this one has heard: it asks in its own name.
    alice.messenger.shut_down();
    let restored = world.restore(copy.unwrap(), alice.secrets.clone()).await.unwrap();
    rest(&world, &[&restored, &carol]).await;
    world.wait(DAY).await;
    rest(&world, &[&restored, &carol]).await;
    pairs.push(secret(&carol, "pair_secret", "contact"));
    assert!(pairs[0] != pairs[1] && pairs[1] != pairs[2] && pairs[0] != pairs[2], "{pairs:?}");
    all_hear_all(&world, &[&restored], &[&carol], "restored").await;
}
