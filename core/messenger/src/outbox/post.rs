//! One post office per relay: whatever the couriers bring while a request is under way leaves together in the next one.
//!
//! So a batch forms by itself under load and nothing waits when there is none. Each relay has a queue of its own: a slow one delays
//! nobody else's letters. An office closes with the life that it was opened in: what a copy has handed in before it was found out does not
//! leave after that (PROTOCOL H2).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sotto_protocol::limits::SEND_ITEMS_MAX;
use sotto_protocol::{Bytes, RelayAddress, relay};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::engine::Phase;
use crate::relay_client::{RelayClient, RelayError};
use crate::watched::{Watched, Watcher};
use crate::world::TransportError;

/// Parcels that may wait for one relay: more than couriers that run at once for it.
const QUEUE: usize = 256;
/// Bytes of payloads and headers in one request: below the limit of a body, with room for framing.
const BYTES_MAX: usize = 900 * 1024;

/// Relays with an office: more than most people's contacts have. One over that closes all of them, once what waits there has left; they
/// open again with the next letter.
const OFFICES_MAX: usize = 256;

/// Items with their payloads, of one courier.
pub(crate) struct Sealed {
    pub(crate) items: Vec<(relay::SendItem, Bytes)>,
}

struct Letters {
    sealed: Sealed,
    answer: oneshot::Sender<Result<Vec<relay::SendResult>, RelayError>>,
}

/// Post offices, opened when first needed.
pub(crate) struct Post {
    client: RelayClient,
    runtime: Handle,
    phase: Watcher<Phase>,
    life: Watched<u64>,
    offices: Mutex<HashMap<RelayAddress, mpsc::Sender<Letters>>>,
}

impl Post {
    pub(crate) fn new(client: RelayClient, runtime: Handle, phase: Watcher<Phase>, life: Watched<u64>) -> Arc<Self> {
        Arc::new(Self { client, runtime, phase, life, offices: Mutex::default() })
    }

    /// Hands letters in and waits for the relay's answer to each.
    pub(crate) async fn send(
        &self,
        relay: &RelayAddress,
        sealed: Sealed,
    ) -> Result<Vec<relay::SendResult>, RelayError> {
        let (answer, received) = oneshot::channel();
        let closed = RelayError::Transport(TransportError::Broken);
        self.office(relay).ok_or(closed.clone())?.send(Letters { sealed, answer }).await.map_err(|_| closed.clone())?;
        received.await.map_err(|_| closed)?
    }

    fn office(&self, relay: &RelayAddress) -> Option<mpsc::Sender<Letters>> {
        let mut offices = self.offices.lock().ok()?;
        if offices.len() >= OFFICES_MAX && !offices.contains_key(relay) {
            offices.clear();
        }
        if offices.get(relay).is_some_and(mpsc::Sender::is_closed) {
            offices.remove(relay);
        }
        let office = offices.entry(relay.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            let office = run(self.client.clone(), relay.clone(), receiver);
            let (mut phase, mut life) = (self.phase.clone(), self.life.watcher());
            self.runtime.spawn(async move {
                // Nothing leaves after the engine has ended: it may be open again by then.
                tokio::select! {
                    biased;
                    () = phase.until(|phase| *phase == Phase::Down) => {}
                    () = life.changed() => {}
                    () = office => {}
                }
            });
            sender
        });
        Some(office.clone())
    }
}

/// Ends when the post closes.
async fn run(client: RelayClient, relay: RelayAddress, mut counter: mpsc::Receiver<Letters>) {
    let mut held_over = None;
    loop {
        let Some(first) = (match held_over.take() {
            Some(letters) => Some(letters),
            None => counter.recv().await,
        }) else {
            return;
        };
        let mut batch = vec![first];
        let mut size = Size::of(&batch[0].sealed);
        while let Ok(next) = counter.try_recv() {
            let next_size = Size::of(&next.sealed);
            if !size.fits(&next_size) {
                held_over = Some(next);
                break;
            }
            size.add(&next_size);
            batch.push(next);
        }
        deliver(&client, &relay, batch).await;
    }
}

#[derive(Clone, Copy)]
struct Size {
    items: usize,
    bytes: usize,
}

impl Size {
    fn of(sealed: &Sealed) -> Self {
        let bytes = sealed.items.iter().map(|(item, payload)| item.header.len() + payload.len() + 128).sum();
        Self { items: sealed.items.len(), bytes }
    }

    const fn fits(&self, more: &Self) -> bool {
        self.items + more.items <= SEND_ITEMS_MAX && self.bytes + more.bytes <= BYTES_MAX
    }

    const fn add(&mut self, more: &Self) {
        self.items += more.items;
        self.bytes += more.bytes;
    }
}

async fn deliver(client: &RelayClient, relay: &RelayAddress, batch: Vec<Letters>) {
    let mut request = relay::Send::default();
    let mut answers = Vec::with_capacity(batch.len());
    for letters in batch {
        answers.push((letters.sealed.items.len(), letters.answer));
        for (mut item, payload) in letters.sealed.items {
            item.payload = u32::try_from(request.payloads.len()).unwrap_or(u32::MAX);
            request.payloads.push(payload);
            request.items.push(item);
        }
    }
    let mut result = client.send(relay, &request).await.map(Vec::into_iter);
    for (count, answer) in answers {
        let part = match &mut result {
            Ok(results) => Ok(results.by_ref().take(count).collect()),
            Err(error) => Err(error.clone()),
        };
        // A courier that was shut down asks again after the next start; the relay recognises the repeat.
        let _ = answer.send(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::HttpTransport;
    use crate::watched::Watched;
    use crate::world::{SystemClock, SystemRng};

    #[tokio::test]
    async fn an_office_closes_with_the_life_that_it_was_opened_in_and_the_next_life_has_one_of_its_own() {
        let client = RelayClient::new(Arc::new(HttpTransport::new()), Arc::new(SystemClock), Arc::new(SystemRng));
        let life = Watched::new(0);
        let post = Post::new(client, Handle::current(), Watched::new(Phase::Awake).watcher(), life.clone());
        let relay = "https://relay.example".parse().unwrap();
        let first = post.office(&relay).unwrap();
        life.change(|life| *life += 1);
        first.closed().await;
        let second = post.office(&relay).unwrap();
        tokio::task::yield_now().await;
        assert!(!second.is_closed());
    }

    #[tokio::test]
    async fn the_offices_of_many_relays_are_not_all_kept() {
        let client = RelayClient::new(Arc::new(HttpTransport::new()), Arc::new(SystemClock), Arc::new(SystemRng));
        let phase = Watched::new(Phase::Awake).watcher();
        let post = Post::new(client, Handle::current(), phase, Watched::new(0));
        let open = |number: usize| post.office(&format!("https://relay-{number}.example").parse().unwrap()).unwrap();
        let first = open(0);
        (1..OFFICES_MAX).for_each(|number| drop(open(number)));
        assert!(open(0).same_channel(&first), "it is kept while there is room");
        drop(open(OFFICES_MAX));
        assert!(post.offices.lock().unwrap().len() <= OFFICES_MAX);
        assert!(!first.is_closed(), "who still has something to hand in there is served");
    }
}
