//! Cross-origin requests (the Fetch standard, section 3.2).

/// Which origins may read answers. The default allows none.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Every origin.
    pub any: bool,
    /// These origins, to the letter.
    pub origins: Vec<String>,
}
