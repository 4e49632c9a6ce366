//! Who is met, verified, renamed, blocked and removed.

use sotto_ffi::{ContactState, SottoError};

use super::Play;
use crate::stage::Person;

pub(crate) async fn verify(play: &Play) {
    let (alice, bob) = (&play.stage.alice, &play.stage.bob);
    let contact = async || alice.contact(bob).await.unwrap();
    let unverified = async |_| alice.set_verified(bob.id, false).await.unwrap();
    let is_verified = async |(): &()| usize::from(contact().await.is_verified);
    let code = bob.verification_code(alice.id).await.unwrap();

    play.change("set_verified", unverified, async |()| alice.set_verified(bob.id, true).await, is_verified).await;
    let scan = async |(): &()| alice.verify_by_code(bob.id, code.clone()).await;
    play.change("verify_by_code", unverified, scan, is_verified).await;
    play.change(
        "rename",
        async |polls| format!("Robert {polls}"),
        async |name| alice.rename(bob.id, Some(name.clone())).await,
        async |name| usize::from(contact().await.name == *name),
    )
    .await;

    let unblock = async |_| match alice.unblock(bob.id).await {
        // Nothing to take back.
        Ok(()) | Err(SottoError::Input { .. }) => {}
        Err(error) => panic!("{error}"),
    };
    let is_blocked = async || contact().await.is_blocked;
    let block = async |(): &()| alice.block(bob.id).await;
    play.change("block", unblock, block, async |()| usize::from(is_blocked().await)).await;
    let blocked = async |_| alice.block(bob.id).await.unwrap();
    let unblock = async |(): &()| alice.unblock(bob.id).await;
    play.change("unblock", blocked, unblock, async |()| usize::from(!is_blocked().await)).await;
}

pub(crate) async fn meet(play: &Play) {
    let (stage, alice) = (&play.stage, &play.stage.alice);
    let (open, asking) = (alice.link(true).await, alice.link(false).await);
    let knows = async |one: &Person, other: &Person, state| usize::from(one.has(other, state).await);

    play.change_apart(
        "join",
        async |polls| stage.person(&format!("joiner {polls}")).await,
        async |joiner| joiner.join(open.clone()).await,
        async |joiner| joiner.contacts().await.unwrap().iter().filter(|contact| contact.id == alice.id).count(),
    )
    .await;
    play.change_apart(
        "accept",
        async |polls| {
            let asker = stage.person(&format!("asker {polls}")).await;
            asker.join(asking.clone()).await.unwrap();
            stage.until(&[&asker, alice], async || alice.has(&asker, ContactState::Asking).await).await;
            asker
        },
        async |asker| alice.accept(asker.id).await,
        async |asker| knows(alice, asker, ContactState::Accepted).await,
    )
    .await;
    play.change_apart(
        "remove",
        async |polls| {
            let leaver = stage.person(&format!("leaver {polls}")).await;
            leaver.join(open.clone()).await.unwrap();
            stage.are_contacts(&leaver, alice).await;
            leaver
        },
        async |leaver| alice.remove(leaver.id).await,
        async |leaver| usize::from(alice.contact(leaver).await.is_none()),
    )
    .await;
}
