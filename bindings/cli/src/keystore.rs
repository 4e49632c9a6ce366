//! The profile's keys in one file, readable by its owner alone, in plain form or behind a passphrase.
//!
//! ```text
//! plain       "sotto-keys 1\n" | entries
//! passphrase  "sotto-keys 2\n" | salt 16 | nonce 24 | XChaCha20-Poly1305(Argon2id(passphrase, salt), nonce, aad = first line, entries)
//! entries     JSON: name -> hex
//! ```
//! Every change writes a new file, syncs it, and renames it over the old one, so that a crash leaves one or the other.
//! A terminal has no keystore of the platform's; on phones the apps bring theirs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::HEXLOWER;
use sotto_core::world::{SecretStore, SecretStoreError};
use zeroize::Zeroizing;

use crate::profile;

const FILE_NAME: &str = "keys";
const PLAIN: &[u8] = b"sotto-keys 1\n";
const SEALED: &[u8] = b"sotto-keys 2\n";
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
/// A few entries of 32 bytes: more is not this file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// RFC 9106's second recommendation: 64 MiB, three passes, four lanes; half a second for whoever knows the passphrase.
const ARGON2: (u32, u32, u32) = (64 * 1024, 3, 4);

/// A passphrase, or the choice of none.
#[derive(Clone)]
pub(crate) enum Protection {
    /// Whoever may read the file may read the keys.
    Plain,
    /// Argon2id.
    Passphrase(Zeroizing<String>),
}

/// The file.
pub(crate) struct FileSecrets {
    path: PathBuf,
    seal: Seal,
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Of a database that is being made: what stands in the file's place is another's.
    New,
    /// The file holds what was put here.
    Ours,
}

/// How entries are written.
enum Seal {
    Plain,
    Key { salt: [u8; SALT_BYTES], key: Zeroizing<[u8; 32]> },
}

type Entries = BTreeMap<String, Zeroizing<String>>;

impl FileSecrets {
    /// Whether the profile's keys need a passphrase; `None` when there are none yet.
    pub(crate) fn needs_passphrase(profile: &Path) -> Result<Option<bool>, SecretStoreError> {
        match read(&profile.join(FILE_NAME))? {
            None => Ok(None),
            Some(bytes) if bytes.starts_with(PLAIN) => Ok(Some(false)),
            Some(bytes) if bytes.starts_with(SEALED) => Ok(Some(true)),
            Some(_) => Err(SecretStoreError::Failed),
        }
    }

    /// Gets ready to make the file for a new database, and touches nothing before its first secret is put. Keys that are there then
    /// belong to a database that is not: they are kept under another name, because they may open a copy of it.
    pub(crate) fn create(profile: &Path, protection: &Protection) -> Result<Self, SecretStoreError> {
        let seal = match protection {
            Protection::Plain => Seal::Plain,
            Protection::Passphrase(passphrase) => Seal::derive(passphrase, rand::rng().random_bytes())?,
        };
        Ok(Self { path: profile.join(FILE_NAME), seal, state: Mutex::new(State::New) })
    }

    /// Opens the file.
    pub(crate) fn open(profile: &Path, protection: &Protection) -> Result<Self, SecretStoreError> {
        let path = profile.join(FILE_NAME);
        let bytes = read(&path)?.ok_or(SecretStoreError::Failed)?;
        let seal = match protection {
            _ if bytes.starts_with(PLAIN) => Seal::Plain,
            Protection::Plain => return Err(SecretStoreError::Locked),
            Protection::Passphrase(passphrase) => {
                let salt = bytes.get(SEALED.len()..SEALED.len() + SALT_BYTES).and_then(|salt| salt.try_into().ok());
                Seal::derive(passphrase, salt.ok_or(SecretStoreError::Failed)?)?
            }
        };
        let secrets = Self { path, seal, state: Mutex::new(State::Ours) };
        // A wrong passphrase shows now, not when the first key is needed.
        secrets.load()?;
        Ok(secrets)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there to be read by others than [`FileSecrets::change`].
    fn entries(&self) -> Result<Entries, SecretStoreError> {
        let state = self.state();
        if *state == State::New { Ok(Entries::new()) } else { self.load() }
    }

    fn load(&self) -> Result<Entries, SecretStoreError> {
        let Some(bytes) = read(&self.path)? else { return Ok(Entries::new()) };
        let plain = match &self.seal {
            Seal::Plain => Zeroizing::new(bytes.strip_prefix(PLAIN).ok_or(SecretStoreError::Failed)?.to_vec()),
            Seal::Key { key, .. } => {
                let body = bytes.get(SEALED.len() + SALT_BYTES..).ok_or(SecretStoreError::Failed)?;
                let (nonce, sealed) = body.split_first_chunk::<NONCE_BYTES>().ok_or(SecretStoreError::Failed)?;
                let payload = Payload { msg: sealed, aad: SEALED };
                let opened = cipher(key).decrypt(&XNonce::from(*nonce), payload);
                Zeroizing::new(opened.map_err(|_| SecretStoreError::WrongPassphrase)?)
            }
        };
        let entries: BTreeMap<String, String> = serde_json::from_slice(&plain).map_err(|_| SecretStoreError::Failed)?;
        Ok(entries.into_iter().map(|(name, hex)| (name, Zeroizing::new(hex))).collect())
    }

    fn store(&self, entries: &Entries) -> Result<(), SecretStoreError> {
        let plain: BTreeMap<&str, &str> = entries.iter().map(|(name, hex)| (name.as_str(), hex.as_str())).collect();
        let plain = Zeroizing::new(serde_json::to_vec(&plain).map_err(|_| SecretStoreError::Failed)?);
        let bytes = match &self.seal {
            Seal::Plain => Zeroizing::new([PLAIN, &plain].concat()),
            Seal::Key { salt, key } => {
                let nonce: [u8; NONCE_BYTES] = rand::rng().random_bytes();
                let payload = Payload { msg: &plain, aad: SEALED };
                let sealed =
                    cipher(key).encrypt(&XNonce::from(nonce), payload).map_err(|_| SecretStoreError::Failed)?;
                Zeroizing::new([SEALED, salt.as_slice(), &nonce, &sealed].concat())
            }
        };
        replace(&self.path, &bytes).map_err(|error| unwritten(&error))
    }

    fn change(&self, change: impl FnOnce(&mut Entries)) -> Result<(), SecretStoreError> {
        let mut state = self.state();
        let mut entries = if *state == State::New { Entries::new() } else { self.load()? };
        change(&mut entries);
        if *state == State::New {
            if entries.is_empty() {
                return Ok(());
            }
            self.set_aside()?;
            *state = State::Ours;
        }
        if entries.is_empty() {
            return fs::remove_file(&self.path).map_err(|error| unwritten(&error));
        }
        self.store(&entries)
    }

    /// Moves another database's keys out of the way.
    fn set_aside(&self) -> Result<(), SecretStoreError> {
        if !self.path.try_exists().map_err(|_| SecretStoreError::Failed)? {
            return Ok(());
        }
        let mut names = (1_u64..).map(|number| self.path.with_extension(format!("old-{number}")));
        let free = names.find(|name| !name.exists()).ok_or(SecretStoreError::Failed)?;
        fs::rename(&self.path, free).map_err(|error| unwritten(&error))
    }
}

impl Seal {
    fn derive(passphrase: &str, salt: [u8; SALT_BYTES]) -> Result<Self, SecretStoreError> {
        let (memory, passes, lanes) = ARGON2;
        let params = Params::new(memory, passes, lanes, Some(32)).map_err(|_| SecretStoreError::Failed)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, key.as_mut())
            .map_err(|_| SecretStoreError::Failed)?;
        Ok(Self::Key { salt, key })
    }
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

/// Random arrays, which rand's own traits give only through a distribution.
trait RandomBytes {
    fn random_bytes<const N: usize>(&mut self) -> [u8; N];
}

impl<R: rand::Rng> RandomBytes for R {
    fn random_bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill_bytes(&mut bytes);
        bytes
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, SecretStoreError> {
    let file = match profile::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(SecretStoreError::Failed),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|_| SecretStoreError::Failed)?;
    Ok(Some(bytes))
}

fn unwritten(error: &io::Error) -> SecretStoreError {
    if profile::is_short_of_room(error) { SecretStoreError::Full } else { SecretStoreError::Failed }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let new = path.with_extension("new");
    let mut file = profile::create_new(&new)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // Half of the keys is of no use to anybody; the file of before stands.
        let _ = fs::remove_file(&new);
    }
    written?;
    File::open(directory)?.sync_all()
}

impl SecretStore for FileSecrets {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SecretStoreError> {
        let entries = self.entries()?;
        let decode = |hex: &Zeroizing<String>| {
            HEXLOWER.decode(hex.as_bytes()).map(Zeroizing::new).map_err(|_| SecretStoreError::Failed)
        };
        entries.get(name).map(decode).transpose()
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), SecretStoreError> {
        let hex = Zeroizing::new(HEXLOWER.encode(secret));
        self.change(|entries| drop(entries.insert(name.to_owned(), hex)))
    }

    fn delete(&self, name: &str) -> Result<(), SecretStoreError> {
        if self.entries()?.contains_key(name) { self.change(|entries| drop(entries.remove(name))) } else { Ok(()) }
    }

    fn list(&self) -> Result<Vec<String>, SecretStoreError> {
        Ok(self.entries()?.into_keys().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Protection {
        Protection::Passphrase(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn keys_come_back_after_reopening() {
        for protection in [Protection::Plain, passphrase("correct horse")] {
            let directory = tempfile::tempdir().unwrap();
            FileSecrets::create(directory.path(), &protection).unwrap().put("database", b"secret").unwrap();
            let reopened = FileSecrets::open(directory.path(), &protection).unwrap();
            assert_eq!(reopened.get("database").unwrap().unwrap().as_slice(), b"secret");
            assert_eq!(reopened.list().unwrap(), ["database"]);
            reopened.put("root", b"other").unwrap();
            reopened.delete("database").unwrap();
            assert!(reopened.get("database").unwrap().is_none());
            reopened.delete("root").unwrap();
            assert_eq!(FileSecrets::needs_passphrase(directory.path()), Ok(None), "nothing is left to protect");
        }
    }

    #[test]
    fn keys_whose_database_is_gone_are_kept_and_never_taken_for_the_new_ones() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let secrets = FileSecrets::create(directory.path(), &passphrase("right")).unwrap();
            assert!(secrets.list().unwrap().is_empty());
            secrets.put("database", b"secret").unwrap();
        }
        assert!(directory.path().join("keys.old-1").exists());
        FileSecrets::create(directory.path(), &Protection::Plain).unwrap().put("database", b"secret").unwrap();
        assert!(directory.path().join("keys.old-2").exists());
        assert_eq!(FileSecrets::needs_passphrase(directory.path()), Ok(Some(false)));
    }

    #[test]
    fn nothing_is_touched_before_there_is_something_to_keep() {
        let directory = tempfile::tempdir().unwrap();
        FileSecrets::create(directory.path(), &Protection::Plain).unwrap().put("database", b"of another").unwrap();
        let before = fs::read(directory.path().join(FILE_NAME)).unwrap();
        let new = FileSecrets::create(directory.path(), &Protection::Plain).unwrap();
        new.delete("generation").unwrap();
        assert!(new.list().unwrap().is_empty() && new.get("database").unwrap().is_none());
        assert_eq!(fs::read(directory.path().join(FILE_NAME)).unwrap(), before);
    }

    #[test]
    fn a_wrong_passphrase_is_told_from_a_missing_one() {
        let directory = tempfile::tempdir().unwrap();
        FileSecrets::create(directory.path(), &passphrase("right")).unwrap().put("database", b"secret").unwrap();
        assert_eq!(
            FileSecrets::open(directory.path(), &passphrase("wrong")).err(),
            Some(SecretStoreError::WrongPassphrase)
        );
        assert_eq!(FileSecrets::open(directory.path(), &Protection::Plain).err(), Some(SecretStoreError::Locked));
        assert_eq!(FileSecrets::needs_passphrase(directory.path()), Ok(Some(true)));
    }

    #[test]
    fn the_file_is_its_owners_alone_and_holds_no_key_in_plain_form_behind_a_passphrase() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        FileSecrets::create(directory.path(), &passphrase("right")).unwrap().put("database", b"canary-canary").unwrap();
        let path = directory.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(&path).unwrap();
        let hex = HEXLOWER.encode(b"canary");
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
        assert!(!bytes.windows(hex.len()).any(|window| window == hex.as_bytes()));
    }

    #[test]
    fn a_damaged_file_is_a_failure_and_never_absence() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE_NAME), b"something else").unwrap();
        assert_eq!(FileSecrets::needs_passphrase(directory.path()), Err(SecretStoreError::Failed));
        assert!(FileSecrets::open(directory.path(), &Protection::Plain).is_err());
    }
}
