//! The border to C: SQLCipher's provider table, and the functions it points to.
//!
//! Each function turns C's pointers and lengths into slices, calls `primitives.rs` and answers with a result code. None keeps a
//! pointer, holds state or panics, so SQLCipher may call them from any thread; should one panic all the same, `extern "C"` aborts
//! instead of unwinding into C. C's output buffers may be uninitialized: they are written before they are looked at.
//! Invariant: `Provider` has the layout of `struct sqlcipher_provider` in the locked SQLCipher; a test holds on to its version.
#![expect(
    unsafe_code,
    reason = "SQLCipher is C: its buffers are pointers, and it finds this provider by its symbol's name"
)]

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::{ptr, slice};

use rusqlite::ffi::{SQLITE_ERROR, SQLITE_OK};
use zeroize::Zeroizing;

use crate::primitives::{BLOCK_SIZE, Hash, KEY_SIZE, Refused, aes_256_cbc};

#[cfg(test)]
mod tests;

/// SQLCipher's handle on a provider's state; there is none here.
type Context = *mut c_void;
type Input = *const u8;
type Output = *mut u8;

/// `struct sqlcipher_provider`, in its order. Every field but `init`, `shutdown` and `next` is called without a null check.
#[repr(C)]
struct Provider {
    init: Option<extern "C" fn() -> c_int>,
    shutdown: Option<extern "C" fn()>,
    get_provider_name: extern "C" fn(Context) -> *const c_char,
    add_random: extern "C" fn(Context, Input, c_int) -> c_int,
    random: unsafe extern "C" fn(Context, Output, c_int) -> c_int,
    hmac: unsafe extern "C" fn(Context, c_int, Input, c_int, Input, c_int, Input, c_int, Output) -> c_int,
    kdf: unsafe extern "C" fn(Context, c_int, Input, c_int, Input, c_int, c_int, c_int, Output) -> c_int,
    cipher: unsafe extern "C" fn(Context, c_int, Input, c_int, Input, Input, c_int, Output) -> c_int,
    get_cipher: extern "C" fn(Context) -> *const c_char,
    get_key_sz: extern "C" fn(Context) -> c_int,
    get_iv_sz: extern "C" fn(Context) -> c_int,
    get_block_sz: extern "C" fn(Context) -> c_int,
    get_hmac_sz: extern "C" fn(Context, c_int) -> c_int,
    ctx_init: extern "C" fn(*mut Context) -> c_int,
    ctx_free: extern "C" fn(*mut Context) -> c_int,
    fips_status: extern "C" fn(Context) -> c_int,
    get_provider_version: extern "C" fn(Context) -> *const c_char,
    next: *mut Provider,
}

/// Fills the table. SQLCipher calls it by this name when SQLite starts.
///
/// # Safety
/// `table` points to room for a `struct sqlcipher_provider`.
#[unsafe(no_mangle)]
unsafe extern "C" fn sotto_cipher_setup(table: *mut Provider) -> c_int {
    let provider = Provider {
        init: None,
        shutdown: None,
        get_provider_name: provider_name,
        add_random,
        random,
        hmac,
        kdf,
        cipher,
        get_cipher: cipher_name,
        get_key_sz: constant::<KEY_SIZE>,
        get_iv_sz: constant::<BLOCK_SIZE>,
        get_block_sz: constant::<BLOCK_SIZE>,
        get_hmac_sz: tag_size,
        ctx_init: nothing_to_do,
        ctx_free: nothing_to_do,
        fips_status: constant::<0>,
        get_provider_version: provider_version,
        next: ptr::null_mut(),
    };
    // SAFETY: SQLCipher passes a fresh allocation of the size of its own struct, whose layout `Provider` repeats.
    unsafe { table.write(provider) };
    SQLITE_OK
}

/// # Safety
/// `out` has room for `length` bytes.
unsafe extern "C" fn random(_: Context, out: Output, length: c_int) -> c_int {
    let Ok(length) = usize::try_from(length) else {
        return SQLITE_ERROR;
    };
    // SAFETY: the caller's promise; `MaybeUninit` asks for no initialized bytes.
    let out = unsafe { slice::from_raw_parts_mut(out.cast::<MaybeUninit<u8>>(), length) };
    code(getrandom::fill_uninit(out).map(drop).map_err(|_| Refused))
}

/// # Safety
/// Each input comes with its length, `input2` may be null, and `out` has room for `tag_size(algorithm)` bytes.
#[rustfmt::skip] // One line a C declaration: pairs of pointer and length are easier to compare so.
unsafe extern "C" fn hmac(
    _: Context, algorithm: c_int, key: Input, key_size: c_int,
    input1: Input, size1: c_int, input2: Input, size2: c_int, out: Output,
) -> c_int {
    // SAFETY: the caller's promise.
    let (key, input1, input2) = unsafe { (bytes(key, key_size), bytes(input1, size1), bytes(input2, size2)) };
    code((|| {
        let hash = Hash::numbered(algorithm)?;
        let tag = (hash.hmac)(key.ok_or(Refused)?, [input1.ok_or(Refused)?, input2.unwrap_or_default()])?;
        // SAFETY: `out` has room for this by the caller's promise; `tag` is memory of our own and at least as long.
        unsafe { ptr::copy_nonoverlapping(tag.as_ptr(), out, hash.tag_size.into()) };
        Ok(())
    })())
}

/// # Safety
/// Each input comes with its length, and `out` has room for `key_size` bytes.
#[rustfmt::skip] // As above.
unsafe extern "C" fn kdf(
    _: Context, algorithm: c_int, passphrase: Input, passphrase_size: c_int,
    salt: Input, salt_size: c_int, rounds: c_int, key_size: c_int, out: Output,
) -> c_int {
    // SAFETY: the caller's promise.
    let (passphrase, salt) = unsafe { (bytes(passphrase, passphrase_size), bytes(salt, salt_size)) };
    let mut key = Zeroizing::new([0; KEY_SIZE as usize]);
    code((|| {
        let rounds = u32::try_from(rounds).ok().filter(|rounds| *rounds > 0).ok_or(Refused)?;
        let key_size = usize::try_from(key_size).map_err(|_| Refused)?;
        let key = key.get_mut(..key_size).ok_or(Refused)?;
        (Hash::numbered(algorithm)?.pbkdf2)(passphrase.ok_or(Refused)?, salt.ok_or(Refused)?, rounds, key)?;
        // SAFETY: `out` has room by the caller's promise; `key` is memory of our own.
        unsafe { ptr::copy_nonoverlapping(key.as_ptr(), out, key.len()) };
        Ok(())
    })())
}

/// # Safety
/// `key` comes with its length, `iv` has `block_size` bytes, `input` and `out` have `size` bytes each.
#[rustfmt::skip] // As above.
unsafe extern "C" fn cipher(
    _: Context, mode: c_int, key: Input, key_size: c_int, iv: Input, input: Input, size: c_int, out: Output,
) -> c_int {
    let Ok(size) = usize::try_from(size) else { return SQLITE_ERROR };
    // SAFETY: the caller's promise; an array of bytes may stand at any address.
    let (key, iv) = unsafe { (bytes(key, key_size), iv.cast::<[u8; BLOCK_SIZE as usize]>().read()) };
    // SAFETY: both hold `size` bytes by the caller's promise, overlapping or not.
    unsafe { ptr::copy(input, out, size) };
    // SAFETY: the copy initialized these bytes, and nothing else refers to them from here on.
    let page = unsafe { slice::from_raw_parts_mut(out, size) };
    code(key.ok_or(Refused).and_then(|key| aes_256_cbc(mode, key, &iv, page)))
}

/// C's bytes while a call lasts; nothing for a null pointer or a negative length.
///
/// # Safety
/// `start` is null, or points to `length` initialized bytes that nobody changes during the call.
unsafe fn bytes<'call>(start: Input, length: c_int) -> Option<&'call [u8]> {
    let length = usize::try_from(length).ok().filter(|_| !start.is_null())?;
    // SAFETY: not null, and the rest is the caller's promise.
    Some(unsafe { slice::from_raw_parts(start, length) })
}

fn code(outcome: Result<(), Refused>) -> c_int {
    outcome.map_or(SQLITE_ERROR, |()| SQLITE_OK)
}

extern "C" fn provider_name(_: Context) -> *const c_char {
    c"rustcrypto".as_ptr()
}

extern "C" fn provider_version(_: Context) -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

extern "C" fn cipher_name(_: Context) -> *const c_char {
    c"aes-256-cbc".as_ptr()
}

extern "C" fn constant<const NUMBER: u8>(_: Context) -> c_int {
    NUMBER.into()
}

/// Bytes in a tag; zero, as SQLCipher expects it, for an unknown algorithm.
extern "C" fn tag_size(_: Context, algorithm: c_int) -> c_int {
    Hash::numbered(algorithm).map_or(0, |hash| hash.tag_size.into())
}

extern "C" fn nothing_to_do(_: *mut Context) -> c_int {
    SQLITE_OK
}

/// The system's generator needs no help, so added randomness changes nothing.
extern "C" fn add_random(_: Context, _: Input, _: c_int) -> c_int {
    SQLITE_OK
}
