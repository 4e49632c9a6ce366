//! In which ciphertexts a letter has left.
//!
//! Whoever cannot open one knows nothing of it but its hash: by that the letter is asked for again, and whenever it leaves in another
//! ciphertext it names those before, so that it takes the place of what could not be opened (PROTOCOL E6). The last few are remembered:
//! who has one of them has not heard from us for months.

use sotto_protocol::limits::EARLIER_HASHES_MAX;

const BYTES: usize = 32;

/// What a row of the outbox remembers.
pub(super) struct InnerHashes {
    last: Option<[u8; BYTES]>,
    before: Vec<u8>,
}

impl InnerHashes {
    pub(super) fn read(last: Option<[u8; BYTES]>, before: Option<Vec<u8>>) -> Self {
        Self { last, before: before.unwrap_or_default() }
    }

    /// All of them, the last first: what the next ciphertext says.
    pub(super) fn named(&self) -> Vec<[u8; BYTES]> {
        let before = self.before.as_chunks().0.iter().copied();
        self.last.into_iter().chain(before).take(EARLIER_HASHES_MAX).collect()
    }

    /// What comes to stand behind the hash of the next ciphertext.
    pub(super) fn before_the_next(&self) -> Option<Vec<u8>> {
        self.last.map(|_| self.named().concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_leaves_for_the_first_time_names_none() {
        let never_left = InnerHashes::read(None, None);
        assert_eq!((never_left.named().len(), never_left.before_the_next()), (0, None));
    }

    #[test]
    fn the_last_four_are_named_and_remembered_the_last_first() {
        let mut left = InnerHashes::read(None, None);
        for number in 1..=6 {
            left = InnerHashes::read(Some([number; BYTES]), left.before_the_next());
        }
        assert_eq!(left.named(), [[6; BYTES], [5; BYTES], [4; BYTES], [3; BYTES]]);
    }
}
