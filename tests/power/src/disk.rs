//! What is left of a machine's files after a power cut: names, and what stands under them.
//!
//! A name is an entry of a directory, and durable once that directory was synced, which is another sync than the file's. So after a
//! cut a new file may be gone, a renamed one may have its old name, a removed one may be back; a directory takes with it what is in
//! it. Files are known by their number, so that a rename keeps what is known of them.
//! Not here: which bytes of a file survive (`image.rs`), who calls (`machine.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rand_core::Rng;

use crate::image::{Image, below};

/// The file system's own number for a file or directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    id: FileId,
    is_directory: bool,
}

/// Names below a machine's directory, and what they stand for.
type Names = BTreeMap<PathBuf, Entry>;

/// The index that connections share beside a log: memory that happens to have a name.
const SHARED_MEMORY: &str = "-shm";
/// As much as that index takes at least.
const SHARED_MEMORY_BYTES: usize = 32 * 1024;

/// See the file's story.
pub(crate) struct Disk {
    root: PathBuf,
    root_id: FileId,
    durable: Names,
    images: BTreeMap<FileId, Image>,
    /// The names as they were when the power went: whoever has not noticed may still change them.
    at_cut: Option<Names>,
}

impl Disk {
    /// Everything below `root` is on the disk already.
    pub(crate) fn of(root: &Path) -> io::Result<Self> {
        let root_id = id(root)?;
        Ok(Self { root: root.to_owned(), root_id, durable: names(root)?, images: BTreeMap::new(), at_cut: None })
    }

    /// Whether its bytes have to be told.
    pub(crate) fn knows(&self, file: FileId) -> bool {
        self.images.contains_key(&file)
    }

    /// A file that was there, with bytes that are on the disk.
    pub(crate) fn learn(&mut self, file: FileId, bytes: Vec<u8>) {
        self.images.insert(file, Image::synced(bytes));
    }

    /// A file that has just been made.
    pub(crate) fn create(&mut self, file: FileId) {
        self.images.insert(file, Image::default());
    }

    /// What is known of a file that was opened.
    pub(crate) fn image(&mut self, file: FileId) -> &mut Image {
        self.images.entry(file).or_default()
    }

    /// What happens to names from now on does not reach the disk.
    pub(crate) fn freeze(&mut self) -> io::Result<()> {
        self.at_cut = Some(names(&self.root)?);
        Ok(())
    }

    /// Whether it is one of these directories.
    pub(crate) fn has_directory(&self, directory: FileId) -> bool {
        directory == self.root_id || names(&self.root).is_ok_and(|names| find(&names, directory).is_some())
    }

    /// Somebody synced a directory: its entries are durable as they are now.
    pub(crate) fn sync_directory(&mut self, directory: FileId) -> io::Result<()> {
        let now = names(&self.root)?;
        let path = match find(&now, directory) {
            Some(path) => path.clone(),
            None if directory == self.root_id => PathBuf::new(),
            None => return Ok(()),
        };
        let is_in = |entry: &PathBuf| entry.parent() == Some(path.as_path());
        self.durable.retain(|entry, _| !is_in(entry));
        self.durable.extend(now.into_iter().filter(|(entry, _)| is_in(entry)));
        Ok(())
    }

    /// Makes the files what a power cut may leave. Nobody may have one of them open.
    pub(crate) fn lose_power(&mut self, chance: &mut impl Rng) -> io::Result<()> {
        let now = self.at_cut.take().map_or_else(|| names(&self.root), Ok)?;
        let kept = self.kept_names(&now, chance);
        let mut files = Vec::new();
        for (path, entry) in kept {
            if entry.is_directory {
                files.push((path, None));
                continue;
            }
            let bytes = match self.images.get(&entry.id) {
                Some(image) => Some(image.survivor(chance)),
                // Made by others than SQLite: what stands in it, under whatever name now, is taken for synced.
                None => now
                    .iter()
                    .find(|(_, named)| named.id == entry.id)
                    .and_then(|(path, _)| fs::read(self.root.join(path)).ok()),
            };
            files.extend(bytes.map(|bytes| (path, Some(bytes))));
        }
        empty(&self.root)?;
        for (path, bytes) in files {
            let place = self.root.join(&path);
            match bytes {
                None => fs::create_dir(place)?,
                Some(bytes) => {
                    if below(chance, 4) == 0 && path.extension().is_some_and(|end| end == "db" || end == "sqlite") {
                        let mut garbage = vec![0; SHARED_MEMORY_BYTES];
                        chance.fill_bytes(&mut garbage);
                        fs::write(with_end(&place, SHARED_MEMORY), garbage)?;
                    }
                    fs::write(place, bytes)?;
                }
            }
        }
        *self = Self::of(&self.root)?;
        Ok(())
    }

    /// For each file and directory, by chance, the names that were synced or those that it has now.
    fn kept_names(&self, now: &Names, chance: &mut impl Rng) -> Names {
        let mut is_new: BTreeMap<FileId, bool> = BTreeMap::new();
        let mut kept = Names::new();
        let all: BTreeSet<&PathBuf> = now.keys().chain(self.durable.keys()).collect();
        for path in all {
            let (new, old) = (now.get(path), self.durable.get(path));
            let entry = if new == old {
                new
            } else {
                let Some(some) = new.or(old) else { continue };
                let takes_new = *is_new.entry(some.id).or_insert_with(|| below(chance, 2) == 0);
                if let Some(old) = old {
                    // Whatever came in its place did so at once.
                    is_new.insert(old.id, takes_new);
                }
                if takes_new { new } else { old }
            };
            let is_held = path.parent().is_none_or(|parent| parent.as_os_str().is_empty() || kept.contains_key(parent));
            if let Some(entry) = entry.filter(|_| is_held) {
                kept.insert(path.clone(), *entry);
            }
        }
        kept
    }
}

fn find(names: &Names, directory: FileId) -> Option<&PathBuf> {
    names.iter().find(|(_, entry)| entry.id == directory && entry.is_directory).map(|(path, _)| path)
}

pub(crate) fn id(path: &Path) -> io::Result<FileId> {
    let file = fs::symlink_metadata(path)?;
    Ok(FileId { device: file.dev(), number: file.ino() })
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(end);
    path.into()
}

/// Every name below a directory, each after the directory that it is in.
fn names(root: &Path) -> io::Result<Names> {
    let mut found = Names::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().ends_with(SHARED_MEMORY.as_bytes()) {
                continue;
            }
            let path = directory.join(entry.file_name());
            let is_directory = entry.file_type()?.is_dir();
            if is_directory {
                open.push(path.clone());
            }
            found.insert(path, Entry { id: id(&entry.path())?, is_directory });
        }
    }
    Ok(found)
}

fn empty(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}
