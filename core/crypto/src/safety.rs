//! Safety numbers: sixty digits that two people compare to know that no one stands between them (`docs/protocol.md` section 8).
//!
//! They are over root keys alone, so they outlive phones and change only with the account itself.

use std::fmt;

use sha2::{Digest, Sha512};
use sotto_protocol::AccountId;
use sotto_protocol::label::{SAFETY_NUMBER, labelled};

/// What a search for an account with chosen digits costs per try: 2^100 tries for 30 digits are out of reach already, this makes partial
/// matches, which people overlook, dearer.
const ROUNDS: u32 = 5_200;
const GROUPS_PER_ACCOUNT: usize = 6;
const BYTES_PER_GROUP: usize = 5;

/// Sixty digits, the same on both sides. Displays as twelve groups of five.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SafetyNumber(String);

impl SafetyNumber {
    /// Of two accounts, whichever way round.
    #[must_use]
    pub fn between(one: &AccountId, other: &AccountId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        Self(digits(low) + &digits(high))
    }

    /// The digits alone.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SafetyNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for start in (0..self.0.len()).step_by(5) {
            if start > 0 {
                formatter.write_str(" ")?;
            }
            formatter.write_str(&self.0[start..start + 5])?;
        }
        Ok(())
    }
}

fn digits(account: &AccountId) -> String {
    let mut hash = labelled(SAFETY_NUMBER, &[account.as_ref()]);
    for _ in 0..ROUNDS {
        hash = Sha512::new().chain_update(&hash).chain_update(account).finalize().to_vec();
    }
    let group = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)) % 100_000;
    hash.chunks_exact(BYTES_PER_GROUP).take(GROUPS_PER_ACCOUNT).map(|bytes| format!("{:05}", group(bytes))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_safety_number_is_sixty_digits_and_the_same_on_both_sides() {
        let (alice, bob) = (AccountId::from_bytes([1; 32]), AccountId::from_bytes([2; 32]));
        let number = SafetyNumber::between(&alice, &bob);
        assert_eq!(number, SafetyNumber::between(&bob, &alice));
        assert!(number.digits().len() == 60 && number.digits().bytes().all(|byte| byte.is_ascii_digit()));
        let groups: Vec<_> = number.to_string().split(' ').map(str::len).collect();
        assert_eq!(groups, [5; 12]);
        assert_eq!(number.to_string().replace(' ', ""), number.digits());
    }

    #[test]
    fn each_account_has_its_half_and_the_lower_one_comes_first() {
        let (alice, bob, carol) =
            (AccountId::from_bytes([1; 32]), AccountId::from_bytes([2; 32]), AccountId::from_bytes([3; 32]));
        let (with_bob, with_carol) = (SafetyNumber::between(&bob, &alice), SafetyNumber::between(&alice, &carol));
        assert_eq!(with_bob.digits()[..30], with_carol.digits()[..30]);
        assert_ne!(with_bob.digits()[30..], with_carol.digits()[30..]);
        assert_ne!(with_bob.digits()[..30], with_bob.digits()[30..]);
    }
}
