//! Cross-origin requests (the Fetch standard, section 3.2).

/// Which origins may read answers. The default allows none.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Every origin.
    pub any: bool,
    /// These origins, to the letter.
    pub origins: Vec<String>,
}

impl Cors {
    /// Some origin may read answers: then what a response says depends on who asks.
    #[inline]
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.any || !self.origins.is_empty()
    }

    /// Whether this origin may.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.any || self.origins.iter().any(|allowed| allowed == origin)
    }
}
