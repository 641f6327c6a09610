//! The groups of one stream, by an index that stays the same as long as the group lives.

use crate::group::Group;

/// The table. A stream begins without a group.
#[derive(Debug)]
pub(crate) struct Groups {
    list: Vec<Option<Group>>,
    /// Groups in it, ephemeral ones included.
    len: u32,
    /// Groups that hold messages back: all but the ephemeral ones.
    keepers: u32,
}

impl Groups {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { list: Vec::new(), len: 0, keepers: 0 }
    }

    /// How many, ephemeral ones included.
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Groups that hold messages back.
    #[inline]
    pub(crate) const fn keepers(&self) -> u32 {
        self.keepers
    }

    /// It is one group that holds messages back, and nobody else: the usual case.
    #[inline]
    pub(crate) const fn is_single_keeper(&self) -> bool {
        self.len == 1 && self.keepers == 1
    }

    /// Indices in use are below it.
    #[inline]
    pub(crate) fn slots(&self) -> u32 {
        self.list.len() as u32
    }

    /// The group at an index.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<&Group> {
        self.list.get(index as usize)?.as_ref()
    }

    /// The group at an index, to be changed.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut Group> {
        self.list.get_mut(index as usize)?.as_mut()
    }

    /// The group of a name: empty for the default group. Ephemeral groups have no name and are not found.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let found = self
            .list
            .iter()
            .position(|group| group.as_ref().is_some_and(|group| !group.is_ephemeral && *group.name == *name));
        found.map(|index| index as u32)
    }

    /// All groups, by index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.list.iter().flatten()
    }

    /// All groups, by index, to be changed.
    #[inline]
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.list.iter_mut().flatten()
    }

    /// Adds a group.
    pub(crate) fn add(&mut self, group: Group) -> u32 {
        self.len += 1;
        self.keepers += u32::from(!group.is_ephemeral);
        if let Some(free) = self.list.iter().position(Option::is_none) {
            self.list[free] = Some(group);
            return free as u32;
        }
        if self.list.is_empty() {
            // Nearly every stream has one group only, and there are many streams.
            self.list.reserve_exact(1);
        }
        self.list.push(Some(group));
        (self.list.len() - 1) as u32
    }

    /// Takes a group out. Its index is used again.
    pub(crate) fn remove(&mut self, index: u32) -> Option<Group> {
        let group = self.list.get_mut(index as usize)?.take()?;
        self.len -= 1;
        self.keepers -= u32::from(!group.is_ephemeral);
        while let Some(None) = self.list.last() {
            self.list.pop();
        }
        Some(group)
    }

    /// Everything below it is done for every group that holds messages back. `None` when there is none of those.
    pub(crate) fn floor(&self) -> Option<u64> {
        self.iter().filter(|group| !group.is_ephemeral).map(Group::floor).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_stays_and_is_used_again() {
        let mut groups = Groups::new();
        let indices = ["", "a", "b"].map(|name| groups.add(Group::new(name, 1)));
        assert_eq!(indices, [0, 1, 2]);
        assert_eq!(groups.remove(1).map(|group| group.name), Some("a".into()));
        assert!(groups.remove(1).is_none());
        assert_eq!((groups.find("b"), groups.find("a"), groups.find("")), (Some(2), None, Some(0)));
        assert_eq!((groups.add(Group::new("c", 1)), groups.len()), (1, 3));
        groups.remove(2);
        groups.remove(1);
        assert_eq!((groups.slots(), groups.len(), groups.keepers()), (1, 1, 1));
    }

    #[test]
    fn an_ephemeral_group_has_no_name_and_holds_nothing_back() {
        let mut groups = Groups::new();
        let mut ephemeral = Group::new("", 3);
        ephemeral.is_ephemeral = true;
        groups.add(ephemeral);
        assert_eq!((groups.find(""), groups.keepers(), groups.len(), groups.floor()), (None, 0, 1, None));
        groups.add(Group::new("", 9));
        groups.add(Group::new("slow", 5));
        assert_eq!((groups.find(""), groups.keepers(), groups.floor()), (Some(1), 2, Some(5)));
    }
}
