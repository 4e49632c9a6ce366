//! What a device lacks of another's letters, and what that one no longer holds (PROTOCOL E6, `docs/protocol.md` section 6, "Resends").
//!
//! Letters are named by their counters where they never came, and by the hash of their inner ciphertext where they came and could not be
//! opened: whoever could not open one knows nothing else of it. Both lists are short: what does not fit is asked for later.

use sotto_protocol::decode::DecodeError;
use sotto_protocol::limits::{COUNTER_MAX, RESEND_HASHES_MAX, RESEND_RANGES_MAX};
use sotto_protocol::{Bytes, DeviceId, letter};

use crate::certificate::array;

/// Why a list of letters is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResendError {
    /// It names no letter.
    #[error("no letter is named")]
    Nothing,
    /// More ranges than such a letter may name.
    #[error("{count} ranges of counters")]
    TooManyRanges {
        /// How many.
        count: usize,
    },
    /// More hashes than such a letter may name.
    #[error("{count} hashes")]
    TooManyHashes {
        /// How many.
        count: usize,
    },
    /// A counter beyond what counters are, a range that is empty, or one that does not stand apart behind the one before it.
    #[error("a range of counters that is none, or out of order")]
    BadRange,
}

/// Letters by their counters, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counters {
    /// From this one on.
    pub first: u64,
    /// Up to this one.
    pub last: u64,
}

impl Counters {
    /// Whether a counter is among them.
    #[must_use]
    pub const fn contains(&self, counter: u64) -> bool {
        self.first <= counter && counter <= self.last
    }
}

/// What is to be sent again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResendRequest {
    /// Letters that never came, in order and apart. A range may go on beyond what was ever sent.
    pub counters: Vec<Counters>,
    /// Inner hashes of letters that could not be opened.
    pub inner_hashes: Vec<[u8; 32]>,
    /// Both are of letters for this device, in whose place the one that asks has come; `None`: of letters for itself.
    pub predecessor: Option<DeviceId>,
}

/// What will not be sent again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GivenUp {
    /// Letters that said something to be shown, or may have.
    pub missing: Vec<Counters>,
    /// Letters that did not.
    pub empty: Vec<Counters>,
    /// Those of the first kind that were asked for by their inner hashes.
    pub missing_ciphertexts: Vec<Ciphertext>,
    /// Those of the second; what its maker never made is among them.
    pub empty_ciphertexts: Vec<Ciphertext>,
}

/// A letter by the ciphertext in which it left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ciphertext {
    /// What it was asked for by.
    pub inner_hash: [u8; 32],
    /// The letter's counter, where it has one.
    pub counter: Option<u64>,
}

impl ResendRequest {
    pub(super) fn to_message(&self) -> Result<letter::ResendRequest, ResendError> {
        self.check()?;
        Ok(letter::ResendRequest {
            counters: ranges_to(&self.counters),
            inner_hashes: hashes_to(&self.inner_hashes),
            predecessor: self.predecessor.map_or_else(Bytes::new, Bytes::from),
        })
    }

    pub(super) fn from_message(message: &letter::ResendRequest) -> Result<Result<Self, ResendError>, DecodeError> {
        let is_named = !message.predecessor.is_empty();
        let request = Self {
            counters: ranges(&message.counters),
            inner_hashes: hashes(&message.inner_hashes)?,
            predecessor: is_named.then(|| DeviceId::try_from(&*message.predecessor)).transpose()?,
        };
        Ok(request.check().map(|()| request))
    }

    fn check(&self) -> Result<(), ResendError> {
        if self.counters.is_empty() && self.inner_hashes.is_empty() {
            return Err(ResendError::Nothing);
        }
        check_ranges(&self.counters)?;
        check_hashes(self.inner_hashes.len())
    }
}

impl GivenUp {
    /// Whether it names no letter.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.empty.is_empty()
            && self.missing_ciphertexts.is_empty()
            && self.empty_ciphertexts.is_empty()
    }

    pub(super) fn to_message(&self) -> Result<letter::GivenUp, ResendError> {
        self.check()?;
        Ok(letter::GivenUp {
            missing: ranges_to(&self.missing),
            empty: ranges_to(&self.empty),
            missing_ciphertexts: ciphertexts_to(&self.missing_ciphertexts),
            empty_ciphertexts: ciphertexts_to(&self.empty_ciphertexts),
        })
    }

    pub(super) fn from_message(message: &letter::GivenUp) -> Result<Result<Self, ResendError>, DecodeError> {
        let given_up = Self {
            missing: ranges(&message.missing),
            empty: ranges(&message.empty),
            missing_ciphertexts: ciphertexts(&message.missing_ciphertexts)?,
            empty_ciphertexts: ciphertexts(&message.empty_ciphertexts)?,
        };
        Ok(given_up.check().map(|()| given_up))
    }

    fn check(&self) -> Result<(), ResendError> {
        if self.is_empty() {
            return Err(ResendError::Nothing);
        }
        check_ranges(&self.missing)?;
        check_ranges(&self.empty)?;
        let mut ciphertexts = self.missing_ciphertexts.iter().chain(&self.empty_ciphertexts);
        if ciphertexts.any(|ciphertext| ciphertext.counter.is_some_and(|counter| counter > COUNTER_MAX)) {
            return Err(ResendError::BadRange);
        }
        check_hashes(self.missing_ciphertexts.len() + self.empty_ciphertexts.len())
    }
}

fn check_ranges(ranges: &[Counters]) -> Result<(), ResendError> {
    if ranges.len() > RESEND_RANGES_MAX {
        return Err(ResendError::TooManyRanges { count: ranges.len() });
    }
    let is_range = |range: &Counters| range.first >= 1 && range.first <= range.last && range.last <= COUNTER_MAX;
    // Two that touch are one.
    let are_apart = |pair: &[Counters]| pair[1].first > pair[0].last + 1;
    if ranges.iter().all(is_range) && ranges.windows(2).all(are_apart) { Ok(()) } else { Err(ResendError::BadRange) }
}

const fn check_hashes(count: usize) -> Result<(), ResendError> {
    if count > RESEND_HASHES_MAX { Err(ResendError::TooManyHashes { count }) } else { Ok(()) }
}

fn ranges(ranges: &[letter::Counters]) -> Vec<Counters> {
    ranges.iter().map(|range| Counters { first: range.first, last: range.last }).collect()
}

fn ranges_to(ranges: &[Counters]) -> Vec<letter::Counters> {
    ranges.iter().map(|range| letter::Counters { first: range.first, last: range.last }).collect()
}

fn ciphertexts(ciphertexts: &[letter::Ciphertext]) -> Result<Vec<Ciphertext>, DecodeError> {
    let read = |ciphertext: &letter::Ciphertext| {
        let counter = Some(ciphertext.counter).filter(|counter| *counter != 0);
        Ok(Ciphertext { inner_hash: array("inner hash", &ciphertext.inner_hash)?, counter })
    };
    ciphertexts.iter().map(read).collect()
}

fn ciphertexts_to(ciphertexts: &[Ciphertext]) -> Vec<letter::Ciphertext> {
    let message = |ciphertext: &Ciphertext| letter::Ciphertext {
        inner_hash: Bytes::copy_from_slice(&ciphertext.inner_hash),
        counter: ciphertext.counter.unwrap_or(0),
    };
    ciphertexts.iter().map(message).collect()
}

pub(super) fn hashes(hashes: &[Bytes]) -> Result<Vec<[u8; 32]>, DecodeError> {
    hashes.iter().map(|hash| array("inner hash", hash)).collect()
}

pub(super) fn hashes_to(hashes: &[[u8; 32]]) -> Vec<Bytes> {
    hashes.iter().map(|hash| Bytes::copy_from_slice(hash)).collect()
}
