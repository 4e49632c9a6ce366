//! First contact: invites, requests, answers (docs/protocol.md section 7).
//!
//! ```text
//! owner                                           scanner
//! invite: tokens put, chain written  --link-->    join: chain read, prekeys claimed
//!                                    <--request-- (under the invite's token, sealed; proves the scanner at once)
//! accept: pair tokens put            --answer-->  (under the request's reply token) pair tokens put
//!                                    <--ready---  (under the pair token) from here both use the pair's tokens
//! ```
//! - `tokens.rs`: what stands at our inboxes for them; `owner.rs`, `scanner.rs`: the two sides; `join.rs`: what a scanner reads first;
//!   `anew.rs`: meeting again; `rotation.rs`: another pair secret between contacts
//!
//! The three letters of a handshake begin anew: whatever else was still to leave to them is over before one of them is queued, and texts
//! that were not confirmed are sent again behind it, under new counters. So a letter of a handshake that comes behind a later one has a
//! counter that was given up, and says nothing any more (docs/protocol.md section 7).
//! Tokens always stand at the relays before the letter that lets the other side use them: letters wait for their batch of tasks.

mod anew;
pub(crate) mod join;
mod owner;
mod rotation;
mod scanner;
mod tokens;

pub(crate) use anew::{Before, take_pair};
pub use owner::InviteOptions;
pub(crate) use owner::{
    ProvenRequest, Requested, accept, can_be_answered, end_invites, forget_old_invites, invite, is_proven,
    take_request, was_asked_again,
};
pub(crate) use rotation::{
    came_under, change_pairs, change_what_is_due, hears_of, knows_pair, pair_is_changed, take_pair_change,
    tell_of_other_answer, tell_successors,
};
pub(crate) use scanner::{Answered, answered, ask_anew, ask_from_elsewhere, chain_of, end_requests, tell_all_of_chain};
pub(crate) use tokens::{
    Dropped, Purpose, UNDER_WAY, drop_tokens, forget_old_aliases, has_tokens_of, is_first_answer, is_unanswered,
    is_under_pair, purpose, put_all_tokens, put_sibling_tokens, put_tokens_again, restore_tokens,
};
