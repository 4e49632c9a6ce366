//! Who may make something new at this relay: the operator's policy.

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// Who may create inboxes and chains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InboxPolicy {
    /// Everybody.
    #[default]
    Open,
    /// Whoever knows one of the operator's codes.
    Code(Vec<String>),
    /// Nobody.
    Closed,
}

impl InboxPolicy {
    pub(crate) fn admits(&self, code: &str) -> bool {
        match self {
            Self::Open => true,
            Self::Closed => false,
            // Hashes are compared, so that neither content nor length of a code shows in the time.
            Self::Code(codes) => codes
                .iter()
                .fold(Choice::from(0), |found, known| found | digest(known.as_bytes()).ct_eq(&digest(code.as_bytes())))
                .into(),
        }
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_asked_for_exactly_where_the_policy_says_so() {
        let codes = InboxPolicy::Code(vec!["north".to_owned(), "south".to_owned()]);
        assert!(codes.admits("south"));
        assert!(!codes.admits("") && !codes.admits("sout"));
        assert!(InboxPolicy::Open.admits(""));
        assert!(!InboxPolicy::Closed.admits("south"));
    }
}
