//! Whose turn it is to be shaken hands with.
//!
//! A handshake costs half a millisecond of a core in one piece. A flood of them may fill some cores, never all, and one address may
//! hold up the others by its share only: turns are taken in the order of asking, and an address has only a few askers in the queue.
//! A turn is held for the piece of work and never while waiting for the peer: a silent peer holds nothing.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::{Semaphore, SemaphorePermit};

/// All turns there are at one time.
pub(crate) struct Turns(Semaphore);

/// One address's askers.
#[derive(Clone)]
pub(crate) struct Share(Arc<Semaphore>);

impl Share {
    pub(crate) fn new(askers_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(askers_max)))
    }
}

impl Turns {
    pub(crate) fn new(at_once_max: usize) -> Self {
        Self(Semaphore::new(at_once_max))
    }

    /// Waits for one. Neither semaphore is ever closed.
    async fn take<'a>(&'a self, share: &'a Share) -> [Option<SemaphorePermit<'a>>; 2] {
        let of_address = share.0.acquire().await.ok();
        let of_all = self.0.acquire().await.ok();
        [of_all, of_address]
    }

    /// Drives `begin`'s work to its end, each piece of it in a turn of its own.
    pub(crate) async fn work<W: Future>(&self, share: &Share, begin: impl FnOnce() -> W) -> W::Output {
        let turn = self.take(share).await;
        let mut work = pin!(begin());
        let mut turn = Some(turn);
        loop {
            let piece = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
            drop(turn.take());
            if let Poll::Ready(done) = piece {
                return done;
            }
            woken().await;
            turn = Some(self.take(share).await);
        }
    }
}

/// Ready when this task is woken next: by what it polled before, or by its timeout.
async fn woken() {
    let mut was_polled = false;
    poll_fn(|_| if std::mem::replace(&mut was_polled, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    async fn settle() {
        for _ in 0..100 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_address_with_many_handshakes_holds_up_another_by_its_share_only() {
        let turns = Arc::new(Turns::new(1));
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        let (flooder, other) = (Share::new(2), Share::new(2));
        let held = turns.take(&other).await;
        for (name, share) in std::iter::repeat_n(("flood", &flooder), 10).chain([("other", &other)]) {
            let (turns, share, order) = (Arc::clone(&turns), share.clone(), Arc::clone(&order));
            tokio::spawn(async move { turns.work(&share, || async { order.lock().unwrap().push(name) }).await });
            settle().await;
        }
        drop(held);
        settle().await;
        let order = order.lock().unwrap();
        assert_eq!(order.len(), 11);
        assert!(order.iter().position(|name| *name == "other").unwrap() <= 2, "{order:?}");
    }

    #[tokio::test]
    async fn who_waits_for_its_peer_holds_no_turn() {
        let turns = Arc::new(Turns::new(1));
        let share = Share::new(1);
        let (says, hears) = oneshot::channel::<()>();
        let (waiting, of_waiting) = (Arc::clone(&turns), share.clone());
        let waits = tokio::spawn(async move { waiting.work(&of_waiting, || hears).await });
        settle().await;
        assert_eq!(turns.work(&share, || async { 7 }).await, 7);
        says.send(()).unwrap();
        assert!(waits.await.unwrap().is_ok());
    }
}
