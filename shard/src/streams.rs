//! The streams of one shard: by key, by name, and which of them to forget.

use crate::hash::Seeded;
use crate::stream::Stream;
use conduit_protocol::{Now, TenantId};
use hashbrown::HashTable;

/// The table of streams. Keys are dense and used again after a stream was forgotten.
#[derive(Debug)]
pub(crate) struct Streams {
    list: Vec<Option<Box<Stream>>>,
    free: Vec<u32>,
    by_name: HashTable<(u64, u32)>,
    /// The stream found last: batches name the same one again and again.
    last: u32,
    /// Where the search for unused streams goes on.
    sweep_at: u32,
}

impl Streams {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { list: Vec::new(), free: Vec::new(), by_name: HashTable::new(), last: 0, sweep_at: 0 }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Keys ever in use at the same time: what a sweep has to look at.
    pub(crate) fn slots(&self) -> usize {
        self.list.len()
    }

    /// The stream of a key.
    #[inline]
    pub(crate) fn at(&self, key: u32) -> Option<&Stream> {
        self.list.get(key as usize)?.as_deref()
    }

    /// The stream of a key, to be changed.
    #[inline]
    pub(crate) fn at_mut(&mut self, key: u32) -> Option<&mut Stream> {
        self.list.get_mut(key as usize)?.as_deref_mut()
    }

    /// All streams, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.list.iter().filter_map(Option::as_deref)
    }

    /// All streams, by key, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.list.iter_mut().filter_map(|stream| stream.as_deref_mut())
    }

    /// The key of a name.
    #[inline]
    pub(crate) fn find(&mut self, tenant: TenantId, name: &str, seeded: &Seeded) -> Option<u32> {
        if self.is(self.last, tenant, name) {
            return Some(self.last);
        }
        let hash = seeded.hash(tenant.0, name.as_bytes());
        let found = self.by_name.find(hash, |entry| entry.0 == hash && self.is(entry.1, tenant, name));
        let key = found?.1;
        self.last = key;
        Some(key)
    }

    #[inline]
    fn is(&self, key: u32, tenant: TenantId, name: &str) -> bool {
        self.at(key).is_some_and(|stream| stream.tenant == tenant && *stream.name == *name)
    }

    /// Adds a stream whose name is not there yet.
    pub(crate) fn add(&mut self, now: Now, tenant: TenantId, name: &str, seeded: &Seeded) -> u32 {
        let hash = seeded.hash(tenant.0, name.as_bytes());
        let stream = Some(Box::new(Stream::new(now, tenant, name, hash)));
        let key = if let Some(key) = self.free.pop() {
            self.list[key as usize] = stream;
            key
        } else {
            self.list.push(stream);
            (self.list.len() - 1) as u32
        };
        self.by_name.insert_unique(hash, (hash, key), |entry| entry.0);
        self.last = key;
        key
    }

    /// Takes a stream out. Its key is used again.
    pub(crate) fn remove(&mut self, key: u32) -> Option<Box<Stream>> {
        let stream = self.list.get_mut(key as usize).and_then(Option::take)?;
        if let Ok(entry) = self.by_name.find_entry(stream.hash, |entry| entry.1 == key) {
            entry.remove();
        }
        self.free.push(key);
        Some(stream)
    }

    /// The next key to be looked at by the sweep; goes round.
    pub(crate) fn next_swept(&mut self) -> u32 {
        let key = self.sweep_at;
        self.sweep_at = if (key as usize + 1) < self.list.len() { key + 1 } else { 0 };
        key
    }
}
