//! SQLCipher's primitives from RustCrypto, so that an encrypted SQLite needs neither OpenSSL nor perl nor make.
//!
//! SQLCipher takes its primitives from a table of functions, the *provider*. `.cargo/config.toml` compiles SQLCipher with
//! - `SQLCIPHER_CRYPTO_CUSTOM=sotto_cipher_setup`: the function of this crate that fills the table;
//! - `SQLCIPHER_OMIT_LOG`, `SQLCIPHER_OMIT_LOG_DEVICE`: a wrong key is our error to report, not lines on stderr or in a phone's log;
//! - `OPENSSL_*_DIR`: a folder with an empty `libcrypto.a`, because SQLite's build script asks the linker for one in any case.
//!
//! A crate that opens databases depends on this one and names it once in its `lib.rs`; without a mention, Rust does not link it and
//! the linker misses `sotto_cipher_setup`. `rusqlite` does the rest; a connection without a key is plain SQLite.
//! ```
//! use sotto_cipher as _;
//! ```
//! Invariant: files are stock SQLCipher 4 files, readable and writable by any SQLCipher and by ours (`tests/stock.rs`).
//! **Close every connection before the process exits.** SQLCipher frees its keys in an `atexit` handler: a thread that still uses a
//! database then crashes, as if it had been killed.
//! **Call [`begin`] before the first of them is opened**, where two threads may open one at once.
//! Besides, because it is the one crate that may call C: what the operating system said when SQLite failed (`trouble.rs`).
//! Not here: keys and where they come from, pragmas, schemas (`core/messenger`, `server`).

mod begin;
mod primitives;
mod provider;
mod trouble;

pub use begin::begin;
pub use trouble::system_error;

/// What `PRAGMA cipher_provider` answers when SQLCipher runs on this crate.
pub const PROVIDER_NAME: &str = "rustcrypto";

const _: &str =
    env!("LIBSQLITE3_FLAGS", "run cargo inside the checkout: .cargo/config.toml says how SQLCipher is compiled");
