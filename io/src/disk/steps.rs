//! The few changes that a data directory sees. Each is one step: a crash may come between any two, and the tests come
//! between any two.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes changes to a directory tree.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// How many more there may be before the simulated crash.
    #[cfg(test)]
    pub(crate) left: std::cell::Cell<Option<usize>>,
}

impl Steps {
    fn pass(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(left) = self.left.get() {
            let left = left.checked_sub(1).ok_or_else(|| io::Error::other("the simulated crash"))?;
            self.left.set(Some(left));
        }
        Ok(())
    }

    /// Creates a folder that others cannot read, and those above it; one that is there is left as it is.
    pub(crate) fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    /// Writes a file and makes its content durable. Its name is durable after a sync of the folder.
    pub(crate) fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        self.pass()?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// Gives a file or folder another name; a file that had it is replaced.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass()?;
        fs::rename(from, to)
    }

    /// Removes a file.
    pub(crate) fn remove(&self, file: &Path) -> io::Result<()> {
        self.pass()?;
        fs::remove_file(file)
    }

    /// Makes the names in a folder durable.
    pub(crate) fn sync(&self, folder: &Path) -> io::Result<()> {
        self.pass()?;
        File::open(folder)?.sync_all()
    }

    /// Removes a folder with what is in it, one piece after the other; one that is not there is as good as removed.
    pub(crate) fn remove_tree(&self, folder: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.remove_tree(&entry.path())?;
            } else {
                self.remove(&entry.path())?;
            }
        }
        self.pass()?;
        fs::remove_dir(folder)
    }
}
