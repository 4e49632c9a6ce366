//! Padding: plaintexts of a seal come in a few sizes, so that an envelope's length says almost nothing.
//!
//! Layout: 4-byte length, the plaintext, zeros. Buckets of 256, 512, 1,024, 2,048 and 4,096 bytes, above that Padmé (Nikitin et al.,
//! "Reducing Metadata Leakage from Encrypted Files", 2019), which wastes at most 12 %. Reading is strict: another length or a
//! non-zero byte is refused, so that padding carries nothing.

use crate::decode::DecodeError;
use crate::limits::SEALED_BYTES_MAX;

const BUCKETS: [usize; 5] = [256, 512, 1024, 2048, 4096];
const LENGTH_BYTES: usize = 4;

/// Pads `plaintext`.
///
/// # Errors
/// [`DecodeError::TooLong`] over [`SEALED_BYTES_MAX`].
pub fn pad(plaintext: &[u8]) -> Result<Vec<u8>, DecodeError> {
    if plaintext.len() > SEALED_BYTES_MAX {
        return Err(DecodeError::TooLong { length: plaintext.len(), length_max: SEALED_BYTES_MAX });
    }
    let length = u32::try_from(plaintext.len()).expect("bounded by SEALED_BYTES_MAX");
    let mut padded = Vec::with_capacity(padded_length(plaintext.len() + LENGTH_BYTES));
    padded.extend_from_slice(&length.to_be_bytes());
    padded.extend_from_slice(plaintext);
    padded.resize(padded.capacity(), 0);
    Ok(padded)
}

/// Takes the padding off.
///
/// # Errors
/// [`DecodeError::BadPadding`] for anything that [`pad`] would not have made.
pub fn unpad(padded: &[u8]) -> Result<&[u8], DecodeError> {
    let (length, rest) = padded.split_first_chunk::<LENGTH_BYTES>().ok_or(DecodeError::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| DecodeError::BadPadding)?;
    let (plaintext, zeros) = rest.split_at_checked(length).ok_or(DecodeError::BadPadding)?;
    if length > SEALED_BYTES_MAX
        || padded.len() != padded_length(length + LENGTH_BYTES)
        || zeros.iter().any(|byte| *byte != 0)
    {
        return Err(DecodeError::BadPadding);
    }
    Ok(plaintext)
}

/// The size that `length` bytes are padded to.
#[must_use]
pub fn padded_length(length: usize) -> usize {
    BUCKETS.into_iter().find(|bucket| length <= *bucket).unwrap_or_else(|| padme(length))
}

/// Keeps as many leading bits of the length as its exponent has bits, and rounds the rest up.
fn padme(length: usize) -> usize {
    let exponent = length.ilog2();
    let significand_bits = exponent.ilog2() + 1;
    let mask = (1_usize << (exponent - significand_bits)) - 1;
    (length + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_comes_in_few_sizes() {
        assert_eq!(padded_length(0), 256);
        assert_eq!(padded_length(256), 256);
        assert_eq!(padded_length(257), 512);
        assert_eq!(padded_length(4096), 4096);
        assert_eq!(padded_length(4097), 4352);
        assert_eq!(padded_length(70_000), 71_680);
    }

    #[test]
    fn what_was_padded_comes_back() {
        for length in [0, 1, 252, 253, 4092, 4093, 100_000] {
            let plaintext = vec![7; length];
            assert_eq!(unpad(&pad(&plaintext).unwrap()).unwrap(), plaintext);
        }
    }

    #[test]
    fn padding_that_carries_something_is_refused() {
        let mut padded = pad(b"hello").unwrap();
        padded[200] = 1;
        assert_eq!(unpad(&padded), Err(DecodeError::BadPadding));
    }

    #[test]
    fn padding_of_another_length_is_refused() {
        let mut padded = pad(b"hello").unwrap();
        padded.push(0);
        assert_eq!(unpad(&padded), Err(DecodeError::BadPadding));
        assert_eq!(unpad(&padded[..255]), Err(DecodeError::BadPadding));
        assert_eq!(unpad(&[0; 3]), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let mut padded = pad(b"hello").unwrap();
        padded[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(unpad(&padded), Err(DecodeError::BadPadding));
    }
}
