//! Seeded randomness in the place of the operating system's, on threads that ask for it: for simulations alone.
//!
//! vodozemac draws its keys from the operating system and takes no generator of ours, and every `HashMap` draws its order. On Linux all of
//! them end in one symbol of the C library: std links `getrandom` weakly, the crate of that name (0.3 and later, and with it `rand`) asks
//! the dynamic linker for it. This crate defines that symbol in the executable, where both look first.
//!
//! ```text
//! a thread that on_seeded_thread began    a ChaCha20 stream of its seed
//! every other thread                      the kernel, as without this crate
//! ```
//! What is kept per thread and drawn once (the generator of `rand`, the keys of `HashMap`) is new on a new thread: so each seed gets one,
//! and what is drawn in two runs of one seed agrees in one process, whatever else runs beside them. What draws once a process must have done
//! so before: SQLCipher does when it begins. (tokio mixes a count of the process's runtimes into the order in which it wakes those who wait
//! for one `watch`: nothing that is simulated may have several of those.)
//! It cannot ship by mistake: `deny.toml` bans it outside of `tests/sim`, and linked in it would change nothing but for threads that are
//! begun here.
//! Not reached: code that makes the system call itself (`ring` does, for TLS, which no simulation speaks), and SQLite's own generator,
//! which salts log files and nothing else.

use std::cell::RefCell;
use std::ffi::{c_uint, c_void};
use std::panic::resume_unwind;
use std::thread;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustix::rand::GetRandomFlags;

/// Simulated engines nest deeply, in builds without optimisation above all.
const STACK_BYTES: usize = 16 * 1024 * 1024;

type GetRandom = unsafe extern "C" fn(*mut c_void, usize, c_uint) -> isize;

/// Keeps the symbol in every executable that this crate is linked into.
#[used]
static KEPT: GetRandom = getrandom;

thread_local! {
    static STREAM: RefCell<Option<ChaCha20Rng>> = const { RefCell::new(None) };
}

/// Runs `work` on a thread of its own, for which the operating system's randomness is a stream of `seed`. A panic goes on in the caller.
///
/// # Panics
/// When no thread can be made.
pub fn on_seeded_thread<T: Send>(seed: u64, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let seeded = move || {
            STREAM.set(Some(ChaCha20Rng::seed_from_u64(seed)));
            work()
        };
        let builder = thread::Builder::new().name(format!("seed {seed}")).stack_size(STACK_BYTES);
        let thread = builder.spawn_scoped(scope, seeded).expect("a simulation has threads to spare");
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Fills from the seed of this thread; says whether it has one.
fn fill_from_seed(buffer: &mut [u8]) -> bool {
    let filled = STREAM.try_with(|stream| match stream.try_borrow_mut() {
        Ok(mut stream) => stream.as_mut().map(|stream| stream.fill_bytes(buffer)).is_some(),
        Err(_) => false,
    });
    // A thread that ends has no stream any more, and nobody who would compare.
    filled.unwrap_or(false)
}

/// The C library's function of that name, in its place.
///
/// # Safety
/// `buffer` must be valid for writes of `length` bytes, as for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    if length == 0 {
        // Asked whether there is such a function.
        return 0;
    }
    // SAFETY: the caller vouches for the memory; it is made a slice of bytes only once every byte of it is written.
    let buffer = unsafe {
        buffer.cast::<u8>().write_bytes(0, length);
        std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    if fill_from_seed(buffer) {
        return length.cast_signed();
    }
    // An old kernel knows fewer flags. No callers are told of failures: they would look for `errno`, which only the C library can set.
    let flags = GetRandomFlags::from_bits_retain(flags);
    loop {
        let got = rustix::rand::getrandom(&mut *buffer, flags);
        if let Ok(bytes) = got.or_else(|_| rustix::rand::getrandom(&mut *buffer, GetRandomFlags::empty())) {
            return bytes.cast_signed();
        }
    }
}
