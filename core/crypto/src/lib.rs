//! Sotto's cryptography: keys, manifests, prekeys, Olm sessions, seals, letters, safety numbers.
//!
//! Sans-IO: no clock, no disk, no network. Time and randomness are arguments, so a test replays everything; only vodozemac draws its own
//! randomness, inside [`olm`]. Everything foreign is parsed once into a type that proves its checks ([`manifest::VerifiedManifest`],
//! [`prekey::Bundle`], [`letter::Letter`]); every refusal has a variant of its own. Secrets are types of their own: erased when dropped,
//! never printed, compared in constant time. `docs/protocol.md` is the contract for every byte.
//!
//! - [`keys`]: signing keys by role, relay call signatures; [`secret`]: symmetric secrets and what derives from them
//! - [`certificate`], [`manifest`]: who an account's devices are
//! - [`kem`], [`prekey`]: what a sender needs before the first letter
//! - [`olm`], [`seal`], [`letter`]: a letter from the inside out: content, binding, ratchet, seal
//! - [`state`]: all of it at rest
//! - [`safety`]: what people compare; [`self_test()`]: what a build proves before it is used
//!
//! Not here: storage and its transactions, when to send, renew or retire anything (`core/messenger`); what a relay may see
//! (`core/protocol`).

mod aead;
pub mod certificate;
mod contributory;
#[cfg(test)]
mod decoders;
mod fuzzing_guard;
pub mod kem;
pub mod keys;
#[cfg(test)]
mod known_answers;
pub mod letter;
pub mod manifest;
pub mod olm;
mod party;
pub mod prekey;
pub mod safety;
pub mod seal;
pub mod secret;
mod self_test;
pub mod state;
#[cfg(test)]
mod testing;

pub use party::{DeviceName, Party};
pub use self_test::{SelfTestFailed, self_test};
