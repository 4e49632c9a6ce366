//! What must not be found in files: a secret in any form in which bytes get written down.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::{fs, io};

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// Shorter than this, something is found by accident.
const SECRET_BYTES_MIN: usize = 8;

/// Something that nobody may read, and its name in a complaint.
pub type Secret = (&'static str, Vec<u8>);

/// Every file below a directory with what is in it; sockets hold nothing.
///
/// # Errors
/// The operating system's.
pub fn files(directory: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            all.append(&mut files(&path)?);
        } else if path.is_file() {
            all.insert(path.display().to_string(), fs::read(&path)?);
        }
    }
    Ok(all)
}

/// Where a secret stands in files, in any spelling: `what stands in file`.
#[must_use]
pub fn find(files: &BTreeMap<String, Vec<u8>>, secrets: &[Secret]) -> Option<String> {
    // By the first bytes, so that all are looked for in one pass.
    let mut by_beginning: HashMap<[u8; 4], Vec<(&str, Vec<u8>)>> = HashMap::new();
    for (what, secret) in secrets {
        assert!(secret.len() >= SECRET_BYTES_MIN, "{what} is too short to be looked for");
        for spelling in spellings(secret) {
            if let Some(beginning) = spelling.first_chunk() {
                by_beginning.entry(*beginning).or_default().push((what, spelling));
            }
        }
    }
    for (name, bytes) in files {
        for (place, beginning) in bytes.windows(4).enumerate() {
            let candidates = beginning.first_chunk().and_then(|beginning| by_beginning.get(beginning));
            let mut candidates = candidates.into_iter().flatten();
            if let Some((what, _)) = candidates.find(|(_, spelling)| bytes[place..].starts_with(spelling)) {
                return Some(format!("{what} stands in {name}"));
            }
        }
    }
    None
}

/// Every form in which bytes may stand in a file.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut texts: Vec<String> =
        [HEXLOWER, HEXUPPER, BASE64, BASE64URL_NOPAD].iter().map(|encoding| encoding.encode(secret)).collect();
    // Inside a longer run of base64 the bytes may begin at any of three places; the outer characters are shared with their neighbours.
    for skipped in 0..3 {
        let inner = &secret[skipped..secret.len() - (secret.len() - skipped) % 3];
        texts.extend([BASE64_NOPAD.encode(inner), BASE64URL_NOPAD.encode(inner)]);
    }
    texts.extend(std::str::from_utf8(secret).map(str::to_owned));
    let wide = |text: &String, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
    let mut all: Vec<Vec<u8>> = texts.iter().map(|text| wide(text, u16::to_le_bytes)).collect();
    all.extend(texts.iter().map(|text| wide(text, u16::to_be_bytes)));
    all.extend(texts.into_iter().map(String::into_bytes));
    all.push(secret.to_vec());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_in_every_form_and_at_every_place() {
        let secret: Vec<u8> = (0xe0..=0xff).collect();
        let is_found =
            |bytes: Vec<u8>| find(&[("file".to_owned(), bytes)].into(), &[("a key", secret.clone())]).is_some();
        for before in 0..3 {
            let run = [vec![7; before], secret.clone(), vec![9; 5]].concat();
            for text in
                [BASE64.encode(&run), BASE64URL_NOPAD.encode(&run), HEXLOWER.encode(&run), HEXUPPER.encode(&run)]
            {
                assert!(is_found(text.clone().into_bytes()), "{before}: {text}");
                assert!(is_found(text.encode_utf16().flat_map(u16::to_be_bytes).collect()), "{before}: {text}, wide");
            }
            assert!(is_found(run));
        }
        assert!(!is_found(secret[1..].to_vec()));
    }
}
