//! A disk as it is at its worst within the rules: what a log directory holds for those who read it now, and what of that
//! a power cut would leave.
//!
//! Three things are separate facts: a file's content, its size, and the entries of the directory. Each becomes durable by
//! its own sync only. At a power cut everything unsynced is kept, lost or torn, piece by piece and in any order: content
//! in sectors of 512 bytes, sizes in pages, entries one by one. A failed sync drops what it should have written, and
//! later syncs succeed without it. A kill loses nothing that was handed over, and makes nothing durable.

use super::random::Random;
use crate::log::{DiskError, SegmentId};
use std::collections::{BTreeMap, BTreeSet};

/// The unit that the drive's cache holds.
pub const PAGE_BYTES: usize = 4_096;
/// The unit that a drive writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// An entry of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A segment that is being prepared.
    Preparing(SegmentId),
    /// A segment under its proper name.
    Installed(SegmentId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FileId(u64);

/// A change of the directory that no sync has covered yet.
#[derive(Debug, Clone, Copy)]
enum Change {
    Create(Name, FileId),
    Rename(Name, Name),
    Remove(Name),
}

#[derive(Debug, Default)]
struct File {
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What is read now.
    seen: Vec<u8>,
    /// Pages that differ and that the next sync writes.
    dirty: BTreeSet<usize>,
}

/// One log directory.
#[derive(Debug)]
pub struct Disk {
    files: BTreeMap<FileId, File>,
    /// The entries that a power cut leaves for certain.
    durable: BTreeMap<Name, FileId>,
    /// The entries that are there now.
    seen: BTreeMap<Name, FileId>,
    /// What makes `seen` of `durable`, in order.
    changes: Vec<Change>,
    /// Changes ever made durable: with the length of `changes`, a position that syncs can be asked up to.
    changes_synced: u64,
    next_file: u64,
    /// Bytes that all files together may take.
    room_bytes: u64,
}

impl Disk {
    /// An empty directory with so much room.
    #[must_use]
    pub const fn new(room_bytes: u64) -> Self {
        Self {
            files: BTreeMap::new(),
            durable: BTreeMap::new(),
            seen: BTreeMap::new(),
            changes: Vec::new(),
            changes_synced: 0,
            next_file: 0,
            room_bytes,
        }
    }

    /// Changes the room. Files that are there stay, also when they need more.
    pub const fn set_room(&mut self, room_bytes: u64) {
        self.room_bytes = room_bytes;
    }

    /// Bytes that the files of now take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.seen.values().filter_map(|id| self.files.get(id)).map(|file| file.seen.len() as u64).sum()
    }

    /// The installed segments and their sizes, in the order of their numbers.
    pub fn installed(&self) -> impl Iterator<Item = (SegmentId, u64)> {
        self.seen.iter().filter_map(|(name, id)| match name {
            Name::Installed(segment) => Some((*segment, self.files.get(id).map_or(0, |file| file.seen.len() as u64))),
            Name::Preparing(_) => None,
        })
    }

    /// How far an installed segment has ever been written, in whole pages; 0 for one that is blank.
    #[must_use]
    pub fn written_bytes(&self, segment: SegmentId) -> u64 {
        let content = self.file(Name::Installed(segment)).map_or(&[][..], |file| &file.seen);
        let last = content.iter().rposition(|byte| *byte != 0);
        last.map_or(0, |last| (last + 1).next_multiple_of(PAGE_BYTES) as u64)
    }

    /// Segments that are being prepared.
    pub fn preparing(&self) -> impl Iterator<Item = SegmentId> {
        self.seen.keys().filter_map(|name| match name {
            Name::Preparing(segment) => Some(*segment),
            Name::Installed(_) => None,
        })
    }

    /// Creates a segment under its preparing name in place of what is there, zeroed. Its content is synced, its entry is
    /// not. Without enough room as much is created as fits.
    ///
    /// # Errors
    /// `Full`.
    pub fn prepare(&mut self, segment: SegmentId, bytes: u64) -> Result<(), DiskError> {
        let name = Name::Preparing(segment);
        if self.seen.contains_key(&name) {
            self.forget(name);
        }
        let room = self.room_bytes.saturating_sub(self.used_bytes());
        let size = bytes.min(room / PAGE_BYTES as u64 * PAGE_BYTES as u64);
        let id = FileId(self.next_file);
        self.next_file += 1;
        let zeros = vec![0; size as usize];
        let is_whole = size == bytes;
        let durable = if is_whole { zeros.clone() } else { Vec::new() };
        self.files.insert(id, File { durable, seen: zeros, dirty: BTreeSet::new() });
        self.change(Change::Create(name, id));
        if is_whole { Ok(()) } else { Err(DiskError::Full) }
    }

    /// What a process leaves that is stopped while it prepares: some zeros, synced or not.
    pub fn prepare_partly(&mut self, segment: SegmentId, bytes: u64, random: &mut Random) {
        let part = random.between(0, bytes / PAGE_BYTES as u64) * PAGE_BYTES as u64;
        if self.prepare(segment, part).is_ok()
            && random.chance(500)
            && let Some(file) = self.file_mut(Name::Preparing(segment))
        {
            file.durable.clear();
        }
    }

    /// Renames a prepared segment to its proper name.
    ///
    /// # Errors
    /// `Broken` when it is not there.
    pub fn install(&mut self, segment: SegmentId) -> Result<(), DiskError> {
        let (from, to) = (Name::Preparing(segment), Name::Installed(segment));
        if !self.seen.contains_key(&from) {
            return Err(DiskError::Broken);
        }
        self.change(Change::Rename(from, to));
        Ok(())
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// `Broken` when it is not there.
    pub fn remove(&mut self, name: Name) -> Result<(), DiskError> {
        if !self.seen.contains_key(&name) {
            return Err(DiskError::Broken);
        }
        self.forget(name);
        Ok(())
    }

    /// Writes into an installed segment, for those who read it now. Nothing is durable by that.
    ///
    /// # Errors
    /// `Broken` when there is no such segment.
    pub fn write(&mut self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let file = self.file_mut(Name::Installed(segment)).ok_or(DiskError::Broken)?;
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        if file.seen.len() < to {
            file.seen.resize(to, 0);
        }
        file.seen[from..to].copy_from_slice(bytes);
        file.dirty.extend(pages(from, to));
        Ok(())
    }

    /// What an installed segment holds now, from an offset to a length or its end.
    ///
    /// # Errors
    /// `Broken` when there is no such segment.
    pub fn read(&self, segment: SegmentId, offset: u64, len: usize) -> Result<&[u8], DiskError> {
        let file = self.file(Name::Installed(segment)).ok_or(DiskError::Broken)?;
        let from = (offset as usize).min(file.seen.len());
        Ok(&file.seen[from..(from + len).min(file.seen.len())])
    }

    /// Makes a range of an installed segment durable. Whatever else was written into it is not.
    ///
    /// # Errors
    /// `Broken` when there is no such segment.
    pub fn sync_range(&mut self, segment: SegmentId, offset: u64, len: usize) -> Result<(), DiskError> {
        let file = self.file_mut(Name::Installed(segment)).ok_or(DiskError::Broken)?;
        for page in pages(offset as usize, offset as usize + len) {
            file.sync_page(page);
        }
        Ok(())
    }

    /// Makes everything written into an installed segment durable, and its size.
    ///
    /// # Errors
    /// `Broken` when there is no such segment.
    pub fn sync(&mut self, segment: SegmentId) -> Result<(), DiskError> {
        let file = self.file_mut(Name::Installed(segment)).ok_or(DiskError::Broken)?;
        file.durable.resize(file.seen.len(), 0);
        for page in std::mem::take(&mut file.dirty) {
            file.sync_page(page);
        }
        Ok(())
    }

    /// A sync of a range failed: some of it may have reached the disk, and the system no longer knows that the rest has
    /// not. It is still read until the next power cut.
    pub fn fail_sync(&mut self, segment: SegmentId, offset: u64, len: usize, random: &mut Random) {
        let Some(file) = self.file_mut(Name::Installed(segment)) else { return };
        let some_arrive = random.chance(300);
        for page in pages(offset as usize, offset as usize + len) {
            if file.dirty.remove(&page) && some_arrive {
                file.tear_page(page, random);
            }
        }
    }

    /// How many changes of the directory there have been: a position for [`Self::sync_directory`].
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes_synced + self.changes.len() as u64
    }

    /// Makes the changes of the directory durable that were made before a position.
    pub fn sync_directory(&mut self, before: u64) {
        let count = before.saturating_sub(self.changes_synced) as usize;
        for change in self.changes.drain(..count.min(self.changes.len())) {
            apply(&mut self.durable, change);
            self.changes_synced += 1;
        }
        self.drop_unnamed();
    }

    /// The power goes. What is left is durable, and all there is to see.
    pub fn cut_power(&mut self, random: &mut Random) {
        // Usually chance decides for each piece; sometimes for all of them, since the extremes find errors of their own.
        let per_mille = *random.pick(&[0, 1_000, 200, 500, 500, 800]);
        for change in std::mem::take(&mut self.changes) {
            self.changes_synced += 1;
            if random.chance(per_mille) {
                apply(&mut self.durable, change);
            }
        }
        self.seen = self.durable.clone();
        self.drop_unnamed();
        for file in self.files.values_mut() {
            file.cut_power(per_mille, random);
        }
    }

    /// Flips one bit of an installed segment, on the disk itself. False when there is no such byte.
    pub fn flip_bit(&mut self, segment: SegmentId, offset: u64, bit: u32) -> bool {
        let Some(file) = self.file_mut(Name::Installed(segment)) else { return false };
        let mask = 1 << (bit % 8);
        for content in [&mut file.durable, &mut file.seen] {
            let Some(byte) = content.get_mut(offset as usize) else { return false };
            *byte ^= mask;
        }
        true
    }

    fn file(&self, name: Name) -> Option<&File> {
        self.files.get(self.seen.get(&name)?)
    }

    fn file_mut(&mut self, name: Name) -> Option<&mut File> {
        self.files.get_mut(self.seen.get(&name)?)
    }

    fn forget(&mut self, name: Name) {
        self.change(Change::Remove(name));
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.seen, change);
        self.changes.push(change);
    }

    /// A file goes when neither the entries of now nor any that a power cut could bring back name it.
    fn drop_unnamed(&mut self) {
        let created = self.changes.iter().filter_map(|change| match change {
            Change::Create(_, id) => Some(id),
            Change::Rename(..) | Change::Remove(_) => None,
        });
        let named: BTreeSet<FileId> = self.durable.values().chain(self.seen.values()).chain(created).copied().collect();
        self.files.retain(|id, _| named.contains(id));
    }
}

impl File {
    /// What is seen of a page, made durable.
    fn sync_page(&mut self, page: usize) {
        self.dirty.remove(&page);
        let (from, to) = (page * PAGE_BYTES, ((page + 1) * PAGE_BYTES).min(self.seen.len()));
        if self.durable.len() < to {
            self.durable.resize(to, 0);
        }
        self.durable[from..to].copy_from_slice(&self.seen[from..to]);
    }

    /// Some sectors of what is seen of a page reach the disk. Sectors beyond the durable size do not count.
    fn tear_page(&mut self, page: usize, random: &mut Random) {
        let per_mille = *random.pick(&[100, 500, 900]);
        let from = page * PAGE_BYTES;
        for sector in (from..from + PAGE_BYTES).step_by(SECTOR_BYTES) {
            let end = (sector + SECTOR_BYTES).min(self.durable.len()).min(self.seen.len());
            if sector < end && random.chance(per_mille) {
                self.durable[sector..end].copy_from_slice(&self.seen[sector..end]);
            }
        }
    }

    fn cut_power(&mut self, per_mille: u64, random: &mut Random) {
        if self.seen.len() > self.durable.len() && random.chance(per_mille) {
            let pages = (self.seen.len() - self.durable.len()) / PAGE_BYTES;
            let grown = self.durable.len() + random.between(0, pages as u64) as usize * PAGE_BYTES;
            self.durable.resize(grown, 0);
        }
        for page in std::mem::take(&mut self.dirty) {
            if random.chance(250) {
                self.tear_page(page, random);
            } else if random.chance(per_mille) {
                let end = ((page + 1) * PAGE_BYTES).min(self.durable.len()).min(self.seen.len());
                let from = (page * PAGE_BYTES).min(end);
                self.durable[from..end].copy_from_slice(&self.seen[from..end]);
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

/// The pages that a range of bytes touches.
const fn pages(from: usize, to: usize) -> std::ops::Range<usize> {
    from / PAGE_BYTES..to.div_ceil(PAGE_BYTES)
}

/// Changes entries. What cannot be done to them is not: a rename of an entry that was never there renames nothing.
fn apply(entries: &mut BTreeMap<Name, FileId>, change: Change) {
    match change {
        Change::Create(name, id) => {
            entries.insert(name, id);
        }
        Change::Rename(from, to) => {
            if let Some(id) = entries.remove(&from) {
                entries.insert(to, id);
            }
        }
        Change::Remove(name) => {
            entries.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SegmentId = SegmentId(1);
    const BYTES: u64 = 4 * PAGE_BYTES as u64;

    fn disk() -> Disk {
        let mut disk = Disk::new(1 << 20);
        disk.prepare(ONE, BYTES).unwrap();
        disk.install(ONE).unwrap();
        disk.sync_directory(disk.changes());
        disk
    }

    fn content(disk: &Disk) -> &[u8] {
        disk.read(ONE, 0, BYTES as usize).unwrap()
    }

    /// What a power cut leaves, over many seeds.
    fn cuts<T: Ord>(make: impl Fn(&mut Random) -> Disk, look: impl Fn(&Disk) -> T) -> BTreeSet<T> {
        (0..200)
            .map(|seed| {
                let mut random = Random::new(seed);
                let mut disk = make(&mut random);
                disk.cut_power(&mut random);
                look(&disk)
            })
            .collect()
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_be_kept_lost_or_torn_by_the_sector() {
        let make = |_: &mut Random| {
            let mut disk = disk();
            disk.write(ONE, 0, &[1; 2 * PAGE_BYTES]).unwrap();
            disk.sync_range(ONE, 0, PAGE_BYTES).unwrap();
            disk.write(ONE, 2 * PAGE_BYTES as u64, &[2; PAGE_BYTES]).unwrap();
            disk
        };
        let left = cuts(make, |disk| content(disk).to_vec());
        let mut kinds = BTreeSet::new();
        for bytes in &left {
            assert!(bytes[..PAGE_BYTES].iter().all(|byte| *byte == 1), "a synced page is kept");
            assert!(bytes[3 * PAGE_BYTES..].iter().all(|byte| *byte == 0), "a page never written is not touched");
            for sector in bytes.chunks(SECTOR_BYTES) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
            }
            let sectors =
                bytes[PAGE_BYTES..2 * PAGE_BYTES].chunks(SECTOR_BYTES).filter(|sector| sector[0] == 1).count();
            let is_later_kept = bytes[2 * PAGE_BYTES] == 2;
            kinds.insert((sectors.min(1) + sectors / 8, is_later_kept));
        }
        // Lost, torn, kept; each with and without the page that was written after it.
        assert_eq!(kinds.len(), 6, "{kinds:?}");
    }

    #[test]
    fn a_failed_sync_drops_the_data_and_later_ones_succeed_without_it() {
        let make = |random: &mut Random| {
            let mut disk = disk();
            disk.write(ONE, 0, &[1; PAGE_BYTES]).unwrap();
            disk.fail_sync(ONE, 0, PAGE_BYTES, random);
            assert_eq!(content(&disk)[0], 1, "it is still read");
            disk.sync(ONE).unwrap();
            disk
        };
        let sectors = cuts(make, |disk| content(disk)[..PAGE_BYTES].chunks(SECTOR_BYTES).map(|c| c[0]).sum::<u8>());
        assert!(sectors.contains(&0), "all of it is lost");
        assert!(sectors.iter().any(|count| (1..8).contains(count)), "some of it had arrived");
    }

    #[test]
    fn entries_are_durable_by_a_sync_of_the_directory_only() {
        let make = |synced: bool| {
            move |_: &mut Random| {
                let mut disk = disk();
                disk.prepare(SegmentId(2), BYTES).unwrap();
                disk.install(SegmentId(2)).unwrap();
                disk.remove(Name::Installed(ONE)).unwrap();
                if synced {
                    disk.sync_directory(disk.changes());
                }
                disk
            }
        };
        let look = |disk: &Disk| {
            let installed: Vec<u32> = disk.installed().map(|(segment, _)| segment.0).collect();
            let preparing: Vec<u32> = disk.preparing().map(|segment| segment.0).collect();
            (installed, preparing)
        };
        assert_eq!(cuts(make(true), look), BTreeSet::from([(vec![2], vec![])]));
        let expected = [
            (vec![], vec![]),
            (vec![], vec![2]),
            (vec![1], vec![]),
            (vec![1], vec![2]),
            (vec![1, 2], vec![]),
            (vec![2], vec![]),
        ];
        assert_eq!(cuts(make(false), look), BTreeSet::from(expected));
    }

    #[test]
    fn a_sync_of_the_directory_covers_only_what_was_done_before_its_position() {
        let make = |_: &mut Random| {
            let mut disk = Disk::new(1 << 20);
            disk.prepare(ONE, BYTES).unwrap();
            let position = disk.changes();
            disk.install(ONE).unwrap();
            disk.sync_directory(position);
            disk
        };
        let counts = cuts(make, |disk| (disk.preparing().count(), disk.installed().count()));
        assert_eq!(counts, BTreeSet::from([(1, 0), (0, 1)]));
    }

    #[test]
    fn a_size_is_a_fact_of_its_own() {
        let make = |_: &mut Random| {
            let mut disk = disk();
            disk.write(ONE, BYTES, &[7; 2 * PAGE_BYTES]).unwrap();
            disk
        };
        let look = |disk: &Disk| {
            let bytes = disk.read(ONE, BYTES, usize::MAX / 2).unwrap();
            (bytes.len() / PAGE_BYTES, bytes.contains(&7))
        };
        let left = cuts(make, look);
        assert!(left.contains(&(0, false)), "not grown");
        assert!(left.contains(&(2, false)), "grown without the content");
        assert!(left.contains(&(2, true)), "grown with content");
    }

    #[test]
    fn a_full_disk_takes_no_more_and_takes_again_when_something_goes() {
        let mut disk = disk();
        disk.set_room(BYTES + BYTES / 2);
        assert_eq!(disk.prepare(SegmentId(2), BYTES), Err(DiskError::Full));
        assert_eq!(disk.used_bytes(), BYTES + BYTES / 2, "as much as fitted is there");
        disk.set_room(2 * BYTES - 1);
        assert_eq!(disk.prepare(SegmentId(2), BYTES), Err(DiskError::Full));
        disk.set_room(2 * BYTES);
        assert_eq!(disk.prepare(SegmentId(2), BYTES), Ok(()));
        assert_eq!(disk.prepare(SegmentId(3), BYTES), Err(DiskError::Full));
        disk.remove(Name::Preparing(SegmentId(3))).unwrap();
        disk.remove(Name::Installed(ONE)).unwrap();
        assert_eq!(disk.prepare(SegmentId(3), BYTES), Ok(()));
        assert_eq!(disk.remove(Name::Installed(ONE)), Err(DiskError::Broken));
    }

    #[test]
    fn files_that_nothing_can_name_again_are_given_up() {
        let mut disk = disk();
        for number in 2..50 {
            disk.prepare(SegmentId(number), BYTES).unwrap();
            disk.install(SegmentId(number)).unwrap();
            disk.sync_directory(disk.changes());
            disk.remove(Name::Installed(SegmentId(number))).unwrap();
            disk.sync_directory(disk.changes());
        }
        assert_eq!(disk.files.len(), 1);
    }
}
