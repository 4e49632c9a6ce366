//! What the engine promises, seen from outside: people, relays and whoever is between them, on virtual time.
//!
//! A test that stands for a rule of the protocol begins with the rule's name.

mod asked_again;
mod backups;
mod begin;
mod bounds;
mod contacts;
mod copies;
mod counters;
mod devices;
mod diverted;
mod failover;
mod first_contact;
mod first_messages;
mod gaps;
mod heard_out;
mod kem_keys;
mod kills;
mod levers;
mod lists;
mod lost_relays;
mod meeting;
mod moved;
mod one_list;
mod pairs;
mod poison;
mod prekeys;
mod rebirth;
mod refusals;
mod relays;
mod removal;
mod repeats;
mod replacing;
mod resends;
mod rest;
mod restored;
mod seals;
mod sessions;
mod syncing;
mod tampering;
mod trouble;
mod trust;
mod unopened;
mod versions;
mod wild_clocks;
mod witness;
