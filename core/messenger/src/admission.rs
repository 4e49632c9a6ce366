//! What relays ask of those who make something there: a code of the operator's, work, or nothing.
//!
//! A relay says on its page what it asks for (`docs/protocol.md`, "Inboxes"); a device answers before it calls, so that a refusal means
//! that the code is wrong or the relay closed. The work is for one name: it buys one inbox or chain and nothing else.

use sotto_protocol::{Bytes, RelayAddress, work};

use crate::relay_client::{RelayClient, RelayError};
use crate::world::Isolation;

/// Half a minute of a phone for every inbox. A relay that asks for more only wants to keep a device busy.
const WORK_BITS_MAX: u32 = 24;
/// Tries between two looks at whether anybody still waits: a millisecond or so.
const TRIES: u64 = 2_048;

/// The proof of work that a relay wants to see for a new name, empty where it wants none; found out on the name's own connection. One that is `known` is used as long as it will do.
pub(crate) async fn prove(
    client: &RelayClient,
    relay: &RelayAddress,
    isolation: Isolation,
    name: &[u8],
    code: &str,
    known: &[u8],
) -> Result<Bytes, RelayError> {
    let terms = Terms::read(&client.features(relay, isolation).await?);
    if terms.asks_for_code && code.is_empty() {
        return Err(RelayError::AsksForCode);
    }
    match terms.work_bits {
        0 => Ok(Bytes::new()),
        bits if bits > WORK_BITS_MAX => Err(RelayError::AsksForWork { bits }),
        bits if known.try_into().is_ok_and(|proof| work::bits(name, proof) >= bits) => {
            Ok(Bytes::copy_from_slice(known))
        }
        bits => Ok(proof(name, bits).await),
    }
}

/// What a relay asks for.
#[derive(PartialEq, Eq, Debug)]
struct Terms {
    asks_for_code: bool,
    work_bits: u32,
}

impl Terms {
    /// Features that are not known here ask for nothing that could be given.
    fn read(features: &[String]) -> Self {
        let bits = features.iter().find_map(|feature| feature.strip_prefix("proof-of-work-"));
        Self {
            asks_for_code: features.iter().any(|feature| feature == "invite-code"),
            work_bits: bits.map_or(0, |bits| bits.parse().unwrap_or(u32::MAX)),
        }
    }
}

/// Looks for a proof, a stretch at a time: whoever waits for it may give up in between.
async fn proof(name: &[u8], bits: u32) -> Bytes {
    let mut nonce = 0_u64;
    loop {
        for _ in 0..TRIES {
            let proof = nonce.to_be_bytes();
            if work::bits(name, &proof) >= bits {
                return Bytes::copy_from_slice(&proof);
            }
            nonce = nonce.wrapping_add(1);
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_says_what_it_asks_for() {
        let terms = |features: &[&str]| Terms::read(&features.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(terms(&["blobs", "later"]), Terms { asks_for_code: false, work_bits: 0 });
        assert_eq!(terms(&["invite-code", "proof-of-work-20"]), Terms { asks_for_code: true, work_bits: 20 });
        assert_eq!(terms(&["proof-of-work-99999999999"]).work_bits, u32::MAX, "too much, and never nothing");
    }

    #[tokio::test]
    async fn work_is_done_for_one_name() {
        let proof = proof(b"one name", 12).await.as_ref().try_into().unwrap();
        assert!(work::bits(b"one name", &proof) >= 12);
        assert!(work::bits(b"another name", &proof) < 12);
    }
}
