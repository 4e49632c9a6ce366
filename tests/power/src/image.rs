//! What is left of one file after a power cut: what was synced, and some of what was not.
//!
//! Pure: bytes in, bytes out. A disk writes whole sectors, in an order of its own; so of the writes since the last sync none may have
//! arrived, all, the first few with the last of them torn, or any set of sectors. Truncations are writes of another kind.
//! Invariant: what a sync covered is there afterwards, unless something written later has come over it.

use rand_core::Rng;

/// What a disk writes whole, or not at all.
const SECTOR_BYTES: usize = 512;

/// Something done to a file and not synced yet.
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

/// A file: as it was synced last, and everything since.
#[derive(Default)]
pub(crate) struct Image {
    synced: Vec<u8>,
    changes: Vec<Change>,
}

impl Image {
    /// A file whose bytes are all on the disk.
    pub(crate) fn synced(bytes: Vec<u8>) -> Self {
        Self { synced: bytes, changes: Vec::new() }
    }

    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.changes.push(Change::Write { at, bytes: bytes.to_vec() });
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.changes.push(Change::Truncate { length });
    }

    pub(crate) fn sync(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            change.apply(&mut self.synced, |_| true);
        }
    }

    /// What the disk holds when the power is back.
    pub(crate) fn survivor(&self, chance: &mut impl Rng) -> Vec<u8> {
        let mut file = self.synced.clone();
        match below(chance, 4) {
            0 => {}
            1 => self.changes.iter().for_each(|change| change.apply(&mut file, |_| true)),
            2 => {
                let whole = below(chance, self.changes.len() + 1);
                self.changes.iter().take(whole).for_each(|change| change.apply(&mut file, |_| true));
                if let Some(Change::Write { at, bytes }) = self.changes.get(whole) {
                    let sectors = below(chance, bytes.len() / SECTOR_BYTES + 1);
                    let torn = Change::Write { at: *at, bytes: bytes.clone() };
                    torn.apply(&mut file, |sector| sector < sectors);
                }
            }
            _ => self.changes.iter().for_each(|change| change.apply(&mut file, |_| below(chance, 2) == 0)),
        }
        file
    }
}

impl Change {
    /// Carries it out on those of its sectors that `arrives` takes, counted from the one that it begins in. A truncation is one.
    fn apply(&self, file: &mut Vec<u8>, mut arrives: impl FnMut(usize) -> bool) {
        match self {
            Self::Truncate { length } => {
                if arrives(0) {
                    file.resize(*length, 0);
                }
            }
            Self::Write { at, bytes } => {
                let first = at / SECTOR_BYTES;
                let mut from = 0;
                while from < bytes.len() {
                    let start = at + from;
                    let to = bytes.len().min(from + SECTOR_BYTES - start % SECTOR_BYTES);
                    if arrives(start / SECTOR_BYTES - first) {
                        let end = at + to;
                        if file.len() < end {
                            file.resize(end, 0);
                        }
                        file[start..end].copy_from_slice(&bytes[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
}

/// A number below `bound`, which is not 0.
pub(crate) fn below(chance: &mut impl Rng, bound: usize) -> usize {
    usize::try_from(chance.next_u64() % bound as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    fn survivors(image: &Image) -> BTreeSet<Vec<u8>> {
        (0..200).map(|seed| image.survivor(&mut ChaCha20Rng::seed_from_u64(seed))).collect()
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_or_may_not() {
        let mut image = Image::default();
        image.write(0, &[1; SECTOR_BYTES]);
        image.sync();
        assert_eq!(survivors(&image), BTreeSet::from([vec![1; SECTOR_BYTES]]));
        image.write(SECTOR_BYTES, &[2; SECTOR_BYTES]);
        let (old, new) = (vec![1; SECTOR_BYTES], [[1; SECTOR_BYTES], [2; SECTOR_BYTES]].concat());
        assert_eq!(survivors(&image), BTreeSet::from([old, new]));
    }

    #[test]
    fn a_write_is_torn_between_sectors_and_never_inside_one() {
        let mut image = Image::synced(vec![0; 4 * SECTOR_BYTES]);
        // From the middle of the first sector to the middle of the last.
        image.write(SECTOR_BYTES / 2, &[7; 3 * SECTOR_BYTES]);
        let found = survivors(&image);
        assert_eq!(found.len(), 16, "any set of its four sectors");
        for file in &found {
            let sector = |number: usize| &file[number * SECTOR_BYTES..(number + 1) * SECTOR_BYTES];
            let is_even = |bytes: &[u8]| bytes.iter().all(|byte| *byte == bytes[0]);
            assert!(is_even(sector(1)) && is_even(sector(2)), "whole, or not at all");
            assert!(sector(0)[0] == 0 && sector(3)[SECTOR_BYTES - 1] == 0, "what was not written stays");
        }
    }

    #[test]
    fn a_truncation_that_was_not_synced_may_be_undone() {
        let mut image = Image::synced(vec![1; 700]);
        image.truncate(100);
        assert_eq!(survivors(&image), BTreeSet::from([vec![1; 700], vec![1; 100]]));
        image.sync();
        assert_eq!(survivors(&image), BTreeSet::from([vec![1; 100]]));
    }

    #[test]
    fn a_later_write_may_arrive_without_an_earlier_one() {
        let mut image = Image::default();
        image.write(0, &[1; SECTOR_BYTES]);
        image.write(SECTOR_BYTES, &[2; SECTOR_BYTES]);
        let hole = [[0; SECTOR_BYTES], [2; SECTOR_BYTES]].concat();
        assert!(survivors(&image).contains(&hole));
    }
}
