//! Who is attached, and telling them.
//!
//! One attachment per inbox: the newest one. Taking over revokes the older one's right to acknowledge before anything else. What is
//! passed here are hints (there is mail) and what may be lost (ephemeral deliveries); the store is the truth.
//! Invariant: nothing here waits for a connection; what a slow one does not take is merged (hints) or dropped (ephemeral).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sotto_protocol::InboxId;
use sotto_protocol::relay::{Delivery, EndReason};
use tokio::sync::Notify;

use crate::limits::{EPHEMERAL_BYTES_MAX, EPHEMERAL_COUNT_MAX};
use crate::store::{AckRight, MailObserver};

/// What happened since a session last looked.
#[derive(Default)]
pub(crate) struct News {
    pub(crate) mail: BTreeSet<InboxId>,
    pub(crate) ended: Vec<(InboxId, EndReason)>,
    pub(crate) ephemeral: VecDeque<(InboxId, Delivery)>,
    ephemeral_bytes: usize,
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
        let right = AckRight::default();
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
        mailbag.put(|news| {
            let bytes = news.ephemeral_bytes + delivery.header.len() + delivery.payload.len();
            if news.ephemeral.len() < EPHEMERAL_COUNT_MAX && bytes <= EPHEMERAL_BYTES_MAX {
                news.ephemeral_bytes = bytes;
                news.ephemeral.push_back((*inbox, delivery));
            }
        });
    }

    /// How many inboxes are attached.
    pub(crate) fn count(&self) -> usize {
        lock(&self.attached).len()
    }
}

impl MailObserver for Hub {
    fn mail_arrived(&self, inboxes: &[InboxId]) {
        let attached = lock(&self.attached);
        for inbox in inboxes {
            if let Some(attachment) = attached.get(inbox) {
                attachment.mailbag.put(|news| news.mail.extend([*inbox]));
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
