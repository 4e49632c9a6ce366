//! What of the C library is stood in for. Synced directories are heard of here: SQLite's file system has no call for them, and the stores sync some of their own.
//!
//! The linker takes these two functions for the C library's: everything in the process calls them. They do what the C library's do.
//! Linux only, as is all of this crate: other systems have other functions.
#![expect(unsafe_code, reason = "they stand in for functions of C, which the linker finds by their names")]

use std::ffi::{c_int, c_long};
use std::mem::MaybeUninit;

use crate::disk::FileId;
use crate::machine::{Cut, sync_directory};

/// As the C library's.
///
/// # Safety
/// None is needed: a number that is no open file is an error.
#[unsafe(no_mangle)]
extern "C" fn fsync(file: c_int) -> c_int {
    sync(libc::SYS_fsync, file)
}

/// As the C library's.
///
/// # Safety
/// None is needed: a number that is no open file is an error.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: c_int) -> c_int {
    sync(libc::SYS_fdatasync, file)
}

/// Keeps the linker from leaving this file out.
pub(crate) fn listen() {
    std::hint::black_box([fsync as extern "C" fn(c_int) -> c_int, fdatasync]);
}

/// What the next one hears who asks why a call failed.
pub(crate) fn set_system_error(number: c_int) {
    // SAFETY: the C library says where this thread's number stands, for as long as the thread lives.
    unsafe { *libc::__errno_location() = number }
}

fn sync(call: c_long, file: c_int) -> c_int {
    // SAFETY: the kernel takes any number for a file, and touches no memory of ours. It leaves its error where the C library does.
    let by_kernel = || unsafe { libc::syscall(call, file) } == 0;
    let is_synced = match directory_of(file) {
        None => by_kernel(),
        Some(directory) => sync_directory(directory, by_kernel).unwrap_or_else(|Cut| {
            set_system_error(libc::EIO);
            false
        }),
    };
    if is_synced { 0 } else { -1 }
}

fn directory_of(file: c_int) -> Option<FileId> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `fstat` takes any number for a file and writes one `stat`, for which there is room.
    let is_known = unsafe { libc::fstat(file, status.as_mut_ptr()) } == 0;
    if !is_known {
        return None;
    }
    // SAFETY: it has succeeded, so it has written all of it.
    let status = unsafe { status.assume_init() };
    let is_directory = status.st_mode & libc::S_IFMT == libc::S_IFDIR;
    is_directory.then_some(FileId { device: status.st_dev, number: status.st_ino })
}
