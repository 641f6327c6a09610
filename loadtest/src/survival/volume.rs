//! File systems to break: ext4 in a file behind a loop device, and small ones in memory. Made with the command-line tools
//! that Debian has for it; root may.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What kept a file system from being made, mounted or unmounted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct VolumeFault(pub(crate) String);

/// Unmounting waits so long for whoever still holds a file.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is missing here to make and break file systems; `None` when nothing is.
#[must_use]
pub fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may mount file systems: run it as root".into());
    }
    for (tool, package) in [
        ("mkfs.ext4", "e2fsprogs"),
        ("e2fsck", "e2fsprogs"),
        ("mount", "mount"),
        ("umount", "mount"),
        ("losetup", "mount"),
    ] {
        let found =
            Command::new(tool).arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            return Some(format!("{tool} is missing: install the Debian package {package}"));
        }
    }
    match run("losetup", &["-f"]) {
        Ok(_) => None,
        Err(fault) => Some(format!("there is no free loop device here: {fault}")),
    }
}

/// A mounted file system; unmounted and its image removed when this value goes.
#[derive(Debug)]
pub(crate) struct Volume {
    kind: Kind,
    place: PathBuf,
    is_mounted: bool,
    /// Mounts that needed a repair first.
    pub(crate) repairs: u64,
}

#[derive(Debug)]
enum Kind {
    /// ext4 in this file.
    Image(PathBuf),
    /// In memory, of so many bytes.
    Memory(u64),
}

impl Volume {
    /// ext4 in a new sparse file, mounted at a new folder.
    pub(crate) fn in_image(image: &Path, bytes: u64, place: &Path) -> Result<Self, VolumeFault> {
        let system = |error: io::Error| VolumeFault(format!("{}: {error}", image.display()));
        File::create_new(image).and_then(|file| file.set_len(bytes)).map_err(system)?;
        // No discards: they would take blocks of the image back, and a later write would need room again.
        run("mkfs.ext4", &["-q", "-F", "-E", "nodiscard", &image.to_string_lossy()])?;
        Self::mounted(Kind::Image(image.to_owned()), place)
    }

    /// A file system in memory, mounted at a new folder.
    pub(crate) fn in_memory(bytes: u64, place: &Path) -> Result<Self, VolumeFault> {
        Self::mounted(Kind::Memory(bytes), place)
    }

    fn mounted(kind: Kind, place: &Path) -> Result<Self, VolumeFault> {
        std::fs::create_dir_all(place).map_err(|error| VolumeFault(format!("{}: {error}", place.display())))?;
        let mut volume = Self { kind, place: place.to_owned(), is_mounted: false, repairs: 0 };
        volume.mount()?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Mounts it; an image that does not mount is repaired first.
    pub(crate) fn mount(&mut self) -> Result<(), VolumeFault> {
        let place = self.place.to_string_lossy().into_owned();
        match &self.kind {
            Kind::Memory(bytes) => {
                run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "conduit-trial", &place])?;
            }
            Kind::Image(image) => {
                let image = image.to_string_lossy();
                if run("mount", &["-o", "loop,nodiscard", &image, &place]).is_err() {
                    self.repairs += 1;
                    // It ends with 1 when it repaired something; whether that was enough shows the mount.
                    let _ = run("e2fsck", &["-fy", &image]);
                    run("mount", &["-o", "loop,nodiscard", &image, &place])?;
                }
            }
        }
        self.is_mounted = true;
        Ok(())
    }

    /// Unmounts it. The kernel may hold files of a killed process for a moment.
    pub(crate) fn unmount(&mut self) -> Result<(), VolumeFault> {
        let since = Instant::now();
        let place = self.place.to_string_lossy().into_owned();
        while let Err(fault) = run("umount", &[&place]) {
            if since.elapsed() > PATIENCE {
                return Err(fault);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.is_mounted = false;
        Ok(())
    }

    /// Ends the file system as a power cut would: nothing that is not on the device already gets there, not even the
    /// journal. From now on every call fails with EIO, until it is mounted again.
    pub(crate) fn cut(&self) -> Result<(), VolumeFault> {
        let folder =
            File::open(&self.place).map_err(|error| VolumeFault(format!("{}: {error}", self.place.display())))?;
        shut_down(&folder).map_err(|error| VolumeFault(format!("FS_IOC_SHUTDOWN of {}: {error}", self.place.display())))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.is_mounted {
            // A mount that cannot be taken away now goes when the last holder of a file does.
            let _ = self.unmount().or_else(|_| run("umount", &["-l", &self.place.to_string_lossy()]).map(|_| ()));
        }
        if let Kind::Image(image) = &self.kind {
            // A file that stays behind in the temporary directory does no harm.
            let _ = std::fs::remove_file(image);
        }
        let _ = std::fs::remove_dir(&self.place);
    }
}

/// `FS_IOC_SHUTDOWN`: `_IOR('X', 125, u32)`, of ext4, XFS and F2FS alike.
const FS_IOC_SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;

/// `FS_GOING_FLAGS_NOLOGFLUSH`: the journal is not written either.
const NO_LOG_FLUSH: u32 = 2;

#[allow(unsafe_code)]
fn shut_down(folder: &impl AsFd) -> rustix::io::Result<()> {
    // SAFETY: this ioctl reads one u32 through the pointer that it is given and writes nothing, which is what a Setter of
    // a u32 does.
    unsafe { rustix::ioctl::ioctl(folder, rustix::ioctl::Setter::<FS_IOC_SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }
}

/// Fills a file system up to its last byte.
pub(crate) fn fill_up(place: &Path) -> io::Result<PathBuf> {
    use std::io::Write;
    let path = place.join("ballast");
    let mut file = File::create(&path)?;
    for piece in [1 << 20, 4_096] {
        let zeros = vec![1; piece];
        loop {
            match file.write_all(&zeros) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(path)
}

/// Runs a tool; its words when it fails.
fn run(tool: &str, arguments: &[&str]) -> Result<String, VolumeFault> {
    let output = Command::new(tool).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| VolumeFault(format!("{tool}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(VolumeFault(format!("{tool} {}: {}: {}", arguments.join(" "), output.status, words.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A place for a test, or nothing where file systems cannot be made; the runner of a whole trial says so aloud.
    fn place(name: &str) -> Option<PathBuf> {
        obstacle().is_none().then(|| std::env::temp_dir().join(format!("conduit-{name}-{}", std::process::id())))
    }

    #[test]
    fn what_was_synced_survives_a_cut_and_what_was_not_does_not() {
        let Some(place) = place("volume-cut") else { return };
        let image = place.with_extension("img");
        let mut volume = Volume::in_image(&image, 64 << 20, &place).expect("made");
        let mut synced = File::create(place.join("synced")).expect("created");
        synced.write_all(b"here").expect("written");
        synced.sync_all().expect("synced");
        File::open(&place).expect("opened").sync_all().expect("synced");
        std::fs::write(place.join("unsynced"), b"gone").expect("written");
        volume.cut().expect("cut");
        assert!(synced.write_all(b"more").is_err(), "nothing can be written after the cut");
        drop(synced);
        volume.unmount().expect("unmounted");
        volume.mount().expect("mounted");
        assert_eq!(std::fs::read(place.join("synced")).expect("there"), b"here");
        assert_ne!(std::fs::read(place.join("unsynced")).unwrap_or_default(), b"gone");
        drop(volume);
        assert!(!image.exists() && !place.exists());
    }

    #[test]
    fn a_full_file_system_takes_not_one_block_more() {
        let Some(place) = place("volume-full") else { return };
        let volume = Volume::in_memory(1 << 20, &place).expect("made");
        let ballast = fill_up(volume.place()).expect("filled");
        let more = std::fs::write(place.join("more"), [0; 4096]).map_err(|error| error.kind());
        assert_eq!(more, Err(io::ErrorKind::StorageFull));
        std::fs::remove_file(ballast).expect("there");
        std::fs::write(place.join("more"), [0; 4096]).expect("there is room again");
    }
}
