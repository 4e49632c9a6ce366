//! Who is attached, and telling them.
//!
//! One attachment per inbox: the newest one. Taking over revokes the older one's right to acknowledge before anything else. What is
//! passed here may be lost: hints that there is mail, copies of new mail that the store has, ephemeral deliveries. The store is the
//! truth.
//! Invariant: nothing here waits for a connection; what a slow one does not take is merged into a hint, or dropped if ephemeral.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sotto_protocol::InboxId;
use sotto_protocol::relay::{Delivery, EndReason};
use tokio::sync::Notify;

use crate::limits::{EPHEMERAL_COUNT_MAX, FRESH_COUNT_MAX, MAILBAG_BYTES_MAX};
use crate::store::{Arrival, MailObserver};

/// The right to acknowledge, held by one attachment and ended by the next one.
///
/// Acknowledging happens inside [`Self::exercise`]. Whoever takes an inbox over revokes first and asks for the position afterwards:
/// what it is told includes every acknowledgement that was still valid, and none comes after.
#[derive(Clone)]
pub(crate) struct AckRight(Arc<Mutex<bool>>);

impl AckRight {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(true)))
    }

    /// Does what only the holder may, unless the right has ended.
    pub(crate) fn exercise(&self, act: impl FnOnce()) {
        let holds = lock(&self.0);
        if *holds {
            act();
        }
    }

    /// Whether it has not ended yet.
    pub(crate) fn holds(&self) -> bool {
        *lock(&self.0)
    }

    fn revoke(&self) {
        *lock(&self.0) = false;
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What happened since a session last looked.
#[derive(Default)]
pub(crate) struct News {
    /// Inboxes with mail that is only in the store.
    pub(crate) mail: BTreeSet<InboxId>,
    /// New mail, in order; the store has it too.
    pub(crate) fresh: Vec<Arrival>,
    pub(crate) ended: Vec<(InboxId, EndReason)>,
    pub(crate) ephemeral: Vec<(InboxId, Delivery)>,
    fresh_bytes: usize,
    ephemeral_bytes: usize,
}

impl News {
    fn add_fresh(&mut self, arrival: Arrival) {
        let bytes = self.fresh_bytes + arrival.envelope.size();
        if self.fresh.len() < FRESH_COUNT_MAX && bytes <= MAILBAG_BYTES_MAX {
            self.fresh_bytes = bytes;
            self.fresh.push(arrival);
        } else {
            self.mail.insert(arrival.inbox);
        }
    }

    fn add_ephemeral(&mut self, inbox: InboxId, delivery: Delivery) {
        let bytes = self.ephemeral_bytes + delivery.header.len() + delivery.payload.len();
        if self.ephemeral.len() < EPHEMERAL_COUNT_MAX && bytes <= MAILBAG_BYTES_MAX {
            self.ephemeral_bytes = bytes;
            self.ephemeral.push((inbox, delivery));
        }
    }
}

/// Where a session's news gather.
#[derive(Default)]
pub(crate) struct Mailbag {
    news: Mutex<News>,
    notify: Notify,
}

impl Mailbag {
    /// Everything since the last time.
    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut *lock(&self.news))
    }

    /// Waits until there is something to take.
    pub(crate) async fn arrival(&self) {
        self.notify.notified().await;
    }

    fn put(&self, change: impl FnOnce(&mut News)) {
        change(&mut lock(&self.news));
        self.notify.notify_one();
    }
}

struct Attachment {
    mailbag: Arc<Mailbag>,
    right: AckRight,
}

/// See the file's story.
#[derive(Default)]
pub(crate) struct Hub {
    attached: Mutex<HashMap<InboxId, Attachment>>,
}

impl Hub {
    /// Takes the inbox over. Another session hears of it; the same one does not.
    pub(crate) fn attach(&self, inbox: InboxId, mailbag: &Arc<Mailbag>) -> AckRight {
        let right = AckRight::new();
        let attachment = Attachment { mailbag: Arc::clone(mailbag), right: right.clone() };
        let older = lock(&self.attached).insert(inbox, attachment);
        if let Some(older) = older {
            older.right.revoke();
            if !Arc::ptr_eq(&older.mailbag, mailbag) {
                older.mailbag.put(|news| news.ended.push((inbox, EndReason::TakenOver)));
            }
        }
        right
    }

    /// Ends the attachment that holds `right`, if it is still the newest.
    pub(crate) fn detach(&self, inbox: &InboxId, right: &AckRight) {
        right.revoke();
        let mut attached = lock(&self.attached);
        if attached.get(inbox).is_some_and(|attachment| attachment.right.is_same(right)) {
            attached.remove(inbox);
        }
    }

    /// Hands an ephemeral delivery to whoever is attached and has room.
    pub(crate) fn pass(&self, inbox: &InboxId, delivery: Delivery) {
        let Some(mailbag) = lock(&self.attached).get(inbox).map(|attachment| Arc::clone(&attachment.mailbag)) else {
            return;
        };
        mailbag.put(|news| news.add_ephemeral(*inbox, delivery));
    }

    /// How many inboxes are attached.
    pub(crate) fn count(&self) -> usize {
        lock(&self.attached).len()
    }
}

impl MailObserver for Hub {
    fn mail_arrived(&self, arrivals: Vec<Arrival>) {
        let attached = lock(&self.attached);
        for arrival in arrivals {
            if let Some(attachment) = attached.get(&arrival.inbox) {
                attachment.mailbag.put(|news| news.add_fresh(arrival));
            }
        }
    }

    fn inboxes_deleted(&self, inboxes: &[InboxId]) {
        let mut attached = lock(&self.attached);
        for inbox in inboxes {
            if let Some(attachment) = attached.remove(inbox) {
                attachment.right.revoke();
                attachment.mailbag.put(|news| news.ended.push((*inbox, EndReason::Deleted)));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
