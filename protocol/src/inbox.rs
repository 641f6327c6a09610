//! The bytes of one read, consumed from the front.

/// A view of received bytes. Sessions take from its front and may change bytes in place (WebSocket unmasking).
#[derive(Debug)]
pub struct Inbox<'b> {
    bytes: &'b mut [u8],
    at: usize,
}

impl<'b> Inbox<'b> {
    /// Wraps the bytes of one read, any rest of the read before it in front.
    #[must_use]
    pub const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// What has not been consumed.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// The same, to be changed in place.
    pub fn rest_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.at..]
    }

    /// Consumes `n` bytes and returns them.
    ///
    /// # Panics
    /// When fewer than `n` bytes are left: callers look at [`Self::rest`] first.
    pub fn take(&mut self, n: usize) -> &mut [u8] {
        let from = self.at;
        self.at += n;
        &mut self.bytes[from..self.at]
    }

    /// Bytes consumed so far. The owner remembers it before `next` so that a connection that moves to another shard
    /// can take the unread request with it.
    #[must_use]
    pub const fn consumed(&self) -> usize {
        self.at
    }

    /// Bytes not yet consumed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
