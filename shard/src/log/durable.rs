//! The type of what is on the disk.

/// Something that was promised to survive. It can be built only inside this crate's handling of a finished commit, so a
/// durable stream cannot be answered by mistake before its sync: the answer's type asks for one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    /// Only the completion of a commit calls this, for what the commit covers; and recovery, for what it read back and
    /// synced.
    pub(crate) const fn by_commit(value: T) -> Self {
        Self(value)
    }

    /// What survives.
    pub fn get(self) -> T {
        self.0
    }
}
