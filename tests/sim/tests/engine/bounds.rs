//! What a person may have much of, and what they are told where it ends.

use sotto_core::InviteOptions;
use sotto_sim::World;

/// As many invites as there may be.
const INVITES_MAX: usize = 256;

#[tokio::test(start_paused = true)]
async fn an_account_has_so_many_invites_until_some_have_ended() {
    let world = World::seeded(95);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let options = InviteOptions::default();
    for _ in 0..INVITES_MAX {
        alice.messenger.invite(options).await.unwrap();
    }
    let error = alice.messenger.invite(options).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("too_many", false));
    // As if the oldest had ended.
    alice.database().change("DELETE FROM alias WHERE invite = 1; DELETE FROM invite WHERE id = 1");
    alice.messenger.invite(options).await.unwrap();
}
