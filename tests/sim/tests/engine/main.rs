//! What the engine promises, seen from outside: people, relays and whoever is between them, on virtual time.
//!
//! A test that stands for a rule of the protocol begins with the rule's name.

mod begin;
mod contacts;
mod first_contact;
mod kills;
mod meeting;
mod prekeys;
mod refusals;
mod rest;
mod restored;
mod seals;
mod sessions;
mod tampering;
mod trust;
