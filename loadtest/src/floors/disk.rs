//! How fast the disk itself is: small writes, each followed by its `fdatasync`, as a log of one message at a time does it.

use hdrhistogram::Histogram;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

/// Bytes of one write: a block.
const BLOCK: usize = 4_096;

/// Bytes of the file, zeroed beforehand: writes neither grow it nor change what its blocks mean.
const FILE_BYTES: u64 = 16 << 20;

/// Writes and syncs `count` blocks one after the other into a new file in `folder`; the time of each goes into
/// `times_ns`.
pub(super) fn time_syncs(folder: &Path, count: u64, times_ns: &mut Histogram<u64>) -> io::Result<()> {
    let path = folder.join("disk-probe");
    let timed = time_syncs_of(&path, count, times_ns);
    std::fs::remove_file(&path)?;
    timed
}

fn time_syncs_of(path: &Path, count: u64, times_ns: &mut Histogram<u64>) -> io::Result<()> {
    let zeroed = File::create_new(path)?;
    for at in (0..FILE_BYTES).step_by(1 << 20) {
        zeroed.write_all_at(&[0; 1 << 20], at)?;
    }
    zeroed.sync_all()?;
    let file = open(path)?;
    // O_DIRECT wants an aligned address; of two blocks' worth of memory, one block begins at such.
    let memory = vec![b'x'; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let block = memory.get(start..start + BLOCK).ok_or_else(|| io::Error::other("no aligned block"))?;
    for turn in 0..count {
        let at = turn * BLOCK as u64 % FILE_BYTES;
        let began = Instant::now();
        file.write_all_at(block, at)?;
        file.sync_data()?;
        // Times beyond the histogram's range count as its largest.
        times_ns.saturating_record(began.elapsed().as_nanos() as u64);
    }
    Ok(())
}

/// Past the page cache where the file system can do that.
fn open(path: &Path) -> io::Result<File> {
    let direct = OFlags::DIRECT.bits() as i32;
    OpenOptions::new()
        .write(true)
        .custom_flags(direct)
        .open(path)
        .or_else(|_| OpenOptions::new().write(true).open(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_is_timed_and_nothing_is_left_behind() {
        let folder = std::env::temp_dir().join(format!("conduit-disk-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("created");
        let mut times_ns = Histogram::new_with_max(60_000_000_000, 3).expect("valid bounds");
        time_syncs(&folder, 10, &mut times_ns).expect("timed");
        assert_eq!(times_ns.len(), 10);
        assert!(times_ns.min() > 0);
        // Only an empty folder can be removed so.
        std::fs::remove_dir(&folder).expect("nothing is left");
    }
}
