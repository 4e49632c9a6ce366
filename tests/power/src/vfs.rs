//! The file system under SQLite: the ordinary one, and a memory of what was synced.
//!
//! It is the process's default, so whatever opens a database opens it here, with nothing changed in what ships. A file that is on no
//! machine is opened by the ordinary file system alone. For the others each call is told to the machine, which may answer that
//! there is no power, and is passed on. The shared memory beside a log and all locks are passed on as they are.
//! Invariant: a call fails after the cut, but for those that only let something go.
#![expect(unsafe_code, reason = "a file system for SQLite is a table of C functions over memory that SQLite allocates")]

use std::cell::Cell;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Once, OnceLock};

use rusqlite::ffi;
/// Named so that SQLite finds its cryptography.
use sotto_cipher as _;

use crate::directories;
use crate::disk::{FileId, id};
use crate::machine::{Power, Since};

/// What stands before the ordinary file system's own file, in memory that SQLite allocates. Its size keeps what follows aligned.
#[repr(C)]
struct PowerFile {
    methods: *const ffi::sqlite3_io_methods,
    handle: *mut Handle,
}

/// What is known of an open file.
struct Handle {
    machine: Arc<Power>,
    file: FileId,
    is_log: bool,
    since: Cell<Since>,
}

/// The ordinary file system.
struct Ordinary(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite never changes or frees a registered file system of its own, and calls its functions from any thread itself.
unsafe impl Send for Ordinary {}
// SAFETY: as above.
unsafe impl Sync for Ordinary {}

static ORDINARY: OnceLock<Ordinary> = OnceLock::new();

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    // Version 2 ends here: files are not mapped.
    xFetch: None,
    xUnfetch: None,
};

/// Makes it the default of the process, once.
///
/// # Panics
/// When SQLite takes no other file system.
pub(crate) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        directories::listen();
        // SAFETY: the name is null, which asks for the default; SQLite begins by itself if it has not.
        let ordinary = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        assert!(!ordinary.is_null(), "SQLite has a file system");
        ORDINARY.get_or_init(|| Ordinary(ordinary));
        // SAFETY: it is a valid file system, and nobody writes to it.
        let mut ours = unsafe { ptr::read(ordinary) };
        ours.zName = c"power".as_ptr();
        ours.pNext = ptr::null_mut();
        ours.szOsFile += c_int::try_from(size_of::<PowerFile>()).expect("it is small");
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        ours.xAccess = Some(access);
        // The others are the ordinary one's own: they look at nothing in the table that they are called through but `pAppData`, which
        // is copied, and the length of a path.
        // SAFETY: the table is leaked, so it stays where it is for as long as SQLite may call it.
        let result = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 1) };
        assert_eq!(result, ffi::SQLITE_OK, "SQLite takes another file system");
    });
}

fn ordinary() -> *mut ffi::sqlite3_vfs {
    ORDINARY.get().expect("it is set before ours is registered").0
}

/// Calls a function of the ordinary file system; its table has all of them.
macro_rules! ordinary {
    ($name:ident ( $($argument:expr),* )) => {{
        let vfs = ordinary();
        ((*vfs).$name.expect("the ordinary file system has it"))(vfs, $($argument),*)
    }};
}

/// Calls a function of the ordinary file behind one of ours.
macro_rules! behind {
    ($file:expr, $name:ident ( $($argument:expr),* )) => {{
        let file = behind($file);
        ((*(*file).pMethods).$name.expect("files of the ordinary file system have it"))(file, $($argument),*)
    }};
}

/// What a call answers without power: the operating system speaks of a broken disk.
fn no_power(code: c_int) -> c_int {
    directories::set_system_error(libc::EIO);
    code
}

/// Where the ordinary file stands.
///
/// # Safety
/// `file` was opened by [`open`], or is being opened: there is room behind it.
unsafe fn behind(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite allocated `szOsFile` bytes for it, which is this and an ordinary file.
    unsafe { file.byte_add(size_of::<PowerFile>()) }
}

/// What is known of an open file.
///
/// # Safety
/// `file` was opened by [`open`] on a machine, and not closed.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a Handle {
    // SAFETY: `open` has put a boxed handle there, which `close` takes; SQLite uses a file from one thread at a time.
    unsafe { &*(*file.cast::<PowerFile>()).handle }
}

/// The path in a name of SQLite's.
///
/// # Safety
/// `name` is a string of C's, or null.
unsafe fn path<'a>(name: *const c_char) -> Option<&'a Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: by the caller's word; SQLite keeps names for as long as the call.
    let name = unsafe { CStr::from_ptr(name) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())))
}

/// # Safety
/// As `xOpen`: `file` has room for `szOsFile` bytes.
unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: by SQLite's word `file` is as large as was asked for, and `name` a string or null. What is opened here is put together
    // before it is told to SQLite: the methods come last, and until then they are null, so nothing is closed that is not open.
    unsafe {
        let machine = path(name).and_then(|path| Some((path, Power::of(path)?)));
        let Some((path, machine)) = machine else {
            return ordinary!(xOpen(name, file, flags, out_flags));
        };
        let ours = file.cast::<PowerFile>();
        ours.write(PowerFile { methods: ptr::null(), handle: ptr::null_mut() });
        let is_new = path.symlink_metadata().is_err();
        let power = if is_new { machine.step() } else { machine.check() };
        if power.is_err() {
            return no_power(ffi::SQLITE_CANTOPEN);
        }
        let opened = ordinary!(xOpen(name, behind(file), flags, out_flags));
        if opened != ffi::SQLITE_OK {
            return opened;
        }
        let Ok(number) = id(path) else {
            behind!(file, xClose());
            return ffi::SQLITE_CANTOPEN;
        };
        if machine.opened(number, is_new) {
            // Through the file that is open: one more that is closed again would take its locks along.
            match contents(behind(file)) {
                Ok(bytes) => machine.learn(number, bytes),
                Err(code) => {
                    machine.closed();
                    behind!(file, xClose());
                    return code;
                }
            }
        }
        let is_log = flags & ffi::SQLITE_OPEN_WAL != 0;
        let handle = Handle { machine, file: number, is_log, since: Cell::default() };
        ours.write(PowerFile { methods: &raw const METHODS, handle: Box::into_raw(Box::new(handle)) });
        ffi::SQLITE_OK
    }
}

/// All that a file holds.
///
/// # Safety
/// `file` is open, and the ordinary file system's.
unsafe fn contents(file: *mut ffi::sqlite3_file) -> Result<Vec<u8>, c_int> {
    // SAFETY: an open file has its methods; the buffer is as long as what is read into it.
    unsafe {
        let methods = &*(*file).pMethods;
        let mut length = 0;
        let sized = methods.xFileSize.expect("every file has a size")(file, &raw mut length);
        if sized != ffi::SQLITE_OK {
            return Err(sized);
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        if bytes.is_empty() {
            return Ok(bytes);
        }
        let amount = c_int::try_from(bytes.len()).map_err(|_| ffi::SQLITE_NOMEM)?;
        let result = methods.xRead.expect("every file is read")(file, bytes.as_mut_ptr().cast(), amount, 0);
        if result == ffi::SQLITE_OK { Ok(bytes) } else { Err(result) }
    }
}

/// # Safety
/// As `xDelete`.
unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, syncs_directory: c_int) -> c_int {
    // SAFETY: what SQLite gave is passed on as it came.
    unsafe {
        let machine = path(name).and_then(Power::of);
        match machine.map(|machine| machine.step()) {
            Some(Err(_)) => no_power(ffi::SQLITE_IOERR_DELETE),
            _ => ordinary!(xDelete(name, syncs_directory)),
        }
    }
}

/// # Safety
/// As `xAccess`.
unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, name: *const c_char, flags: c_int, found: *mut c_int) -> c_int {
    // SAFETY: what SQLite gave is passed on as it came.
    unsafe {
        let machine = path(name).and_then(Power::of);
        match machine.map(|machine| machine.check()) {
            Some(Err(_)) => no_power(ffi::SQLITE_IOERR_ACCESS),
            _ => ordinary!(xAccess(name, flags, found)),
        }
    }
}

/// # Safety
/// As `xClose`.
unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` boxed the handle, and SQLite closes a file once.
    unsafe {
        let handle = Box::from_raw((*file.cast::<PowerFile>()).handle);
        let result = behind!(file, xClose());
        handle.machine.closed();
        result
    }
}

/// # Safety
/// As `xRead`.
unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, amount: c_int, at: i64) -> c_int {
    // SAFETY: the file is open, and what SQLite gave is passed on as it came.
    unsafe {
        match handle(file).machine.check() {
            Ok(()) => behind!(file, xRead(into, amount, at)),
            Err(_) => no_power(ffi::SQLITE_IOERR_READ),
        }
    }
}

/// # Safety
/// As `xWrite`: `from` holds `amount` bytes.
unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, amount: c_int, at: i64) -> c_int {
    // SAFETY: the file is open; the slice is what SQLite gave, with its length, and not kept.
    unsafe {
        let known = handle(file);
        let (Ok(length), Ok(offset)) = (usize::try_from(amount), usize::try_from(at)) else {
            return ffi::SQLITE_IOERR_WRITE;
        };
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), length);
        if known.machine.write(known.file, offset, bytes).is_err() {
            return no_power(ffi::SQLITE_IOERR_WRITE);
        }
        known.since.set(if at == 0 { Since::Head } else { Since::Frames });
        behind!(file, xWrite(from, amount, at))
    }
}

/// # Safety
/// As `xTruncate`.
unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: the file is open, and what SQLite gave is passed on as it came.
    unsafe {
        let known = handle(file);
        let truncated = usize::try_from(size).map(|length| known.machine.truncate(known.file, length));
        match truncated {
            Ok(Ok(())) => behind!(file, xTruncate(size)),
            _ => no_power(ffi::SQLITE_IOERR_TRUNCATE),
        }
    }
}

/// # Safety
/// As `xSync`.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open, and what SQLite gave is passed on as it came. No lock of ours is held meanwhile: a directory that is
    // synced along with the file is told to `directories.rs`.
    unsafe {
        let known = handle(file);
        if known.machine.step().is_err() {
            return no_power(ffi::SQLITE_IOERR_FSYNC);
        }
        let since = known.since.replace(Since::Nothing);
        if known.is_log && known.machine.leaves_out(since) {
            return ffi::SQLITE_OK;
        }
        let result = behind!(file, xSync(flags));
        if result == ffi::SQLITE_OK {
            known.machine.synced(known.file);
        }
        result
    }
}

/// # Safety
/// As `xFileSize`.
unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: the file is open, and what SQLite gave is passed on as it came.
    unsafe {
        match handle(file).machine.check() {
            Ok(()) => behind!(file, xFileSize(size)),
            Err(_) => no_power(ffi::SQLITE_IOERR_FSTAT),
        }
    }
}

/// # Safety
/// As `xLock`.
unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open, and what SQLite gave is passed on as it came.
    unsafe {
        match handle(file).machine.check() {
            Ok(()) => behind!(file, xLock(level)),
            Err(_) => no_power(ffi::SQLITE_IOERR_LOCK),
        }
    }
}

/// # Safety
/// As `xUnlock`.
unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open, and what SQLite gave is passed on as it came.
    unsafe { behind!(file, xUnlock(level)) }
}

/// # Safety
/// As `xCheckReservedLock`.
unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, found: *mut c_int) -> c_int {
    // SAFETY: the file is open, and what SQLite gave is passed on as it came.
    unsafe {
        match handle(file).machine.check() {
            Ok(()) => behind!(file, xCheckReservedLock(found)),
            Err(_) => no_power(ffi::SQLITE_IOERR_CHECKRESERVEDLOCK),
        }
    }
}

/// # Safety
/// As `xFileControl`.
unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: the file is open, and what SQLite gave is passed on as it came.
    unsafe { behind!(file, xFileControl(operation, argument)) }
}

/// # Safety
/// As `xSectorSize`.
unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe { behind!(file, xSectorSize()) }
}

/// # Safety
/// As `xDeviceCharacteristics`.
unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe { behind!(file, xDeviceCharacteristics()) }
}

/// # Safety
/// As `xShmMap`.
unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    page_size: c_int,
    extends: c_int,
    into: *mut *mut c_void,
) -> c_int {
    // SAFETY: the file is open, and what SQLite gave is passed on as it came.
    unsafe {
        match handle(file).machine.check() {
            Ok(()) => behind!(file, xShmMap(page, page_size, extends, into)),
            Err(_) => no_power(ffi::SQLITE_IOERR_SHMMAP),
        }
    }
}

/// # Safety
/// As `xShmLock`.
unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: the file is open, and what SQLite gave is passed on as it came.
    unsafe {
        let lets_go = flags & ffi::SQLITE_SHM_UNLOCK != 0;
        if lets_go || handle(file).machine.check().is_ok() {
            behind!(file, xShmLock(offset, count, flags))
        } else {
            no_power(ffi::SQLITE_IOERR_SHMLOCK)
        }
    }
}

/// # Safety
/// As `xShmBarrier`.
unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: the file is open.
    unsafe { behind!(file, xShmBarrier()) }
}

/// # Safety
/// As `xShmUnmap`.
unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, deletes: c_int) -> c_int {
    // SAFETY: the file is open, and what SQLite gave is passed on as it came.
    unsafe { behind!(file, xShmUnmap(deletes)) }
}
