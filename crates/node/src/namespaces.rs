//! How much is read or written below each node under the root: the sets `read_per_namespace` and
//! `write_per_namespace`. A value is the bytes of one operation: the path's and the data's.
//!
//! Source: operations reference, 4.2; Apache's `DataTree`.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::histogram::Histogram;

/// Namespaces that are told apart; operations in others are not counted. Each takes a kilobyte, and clients
/// make them up.
pub const NAMESPACES_MAX: usize = 256;

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Namespaces {
    known: Vec<(Box<str>, Histogram)>,
    by_name: HashMap<Box<str>, usize, FixedState>,
    /// Where the last operation was: the next one is most likely there, too.
    last: usize,
}

impl Default for Namespaces {
    fn default() -> Namespaces {
        Namespaces {
            known: Vec::new(),
            by_name: HashMap::with_hasher(FixedState::default()),
            last: 0,
        }
    }
}

/// The first part of a path; none for the root.
fn namespace(path: &str) -> Option<&str> {
    let name = path.get(1..)?.split('/').next()?;
    (!name.is_empty()).then_some(name)
}

impl Namespaces {
    /// Counts an operation on this path that moved so many bytes besides the path's own.
    pub fn count(&mut self, path: &str, bytes: usize) {
        if !self.is_in_last(path) {
            let Some(place) = namespace(path).and_then(|name| self.place(name)) else { return };
            self.last = place;
        }
        self.known[self.last].1.count((path.len() + bytes) as u64);
    }

    /// Every read asks this: it has to cost next to nothing.
    fn is_in_last(&self, path: &str) -> bool {
        let Some((last, _)) = self.known.get(self.last) else { return false };
        let below = path.as_bytes().get(1..).and_then(|path| path.strip_prefix(last.as_bytes()));
        below.is_some_and(|below| matches!(below.first(), None | Some(b'/')))
    }

    fn place(&mut self, name: &str) -> Option<usize> {
        if let Some(place) = self.by_name.get(name) {
            return Some(*place);
        }
        if self.known.len() >= NAMESPACES_MAX {
            return None;
        }
        self.known.push((name.into(), Histogram::default()));
        self.by_name.insert(name.into(), self.known.len() - 1);
        Some(self.known.len() - 1)
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Namespaces) {
        for (name, values) in &other.known {
            if let Some(place) = self.place(name) {
                self.known[place].1.merge(values);
            }
        }
    }

    /// Each namespace with its values, in the order of their first operations.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Histogram)> {
        self.known.iter().map(|(name, values)| (&**name, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_by_the_first_part_of_their_path() {
        let mut one = Namespaces::default();
        one.count("/", 5);
        one.count("/a", 10);
        one.count("/b/c", 0);
        one.count("/a/b", 1);
        one.count("/ab", 1);
        let mut both = Namespaces::default();
        both.count("/b", 2);
        both.merge(&one);
        let seen: Vec<_> = both.iter().map(|(name, v)| (name, v.count, v.sum)).collect();
        assert_eq!(seen, [("b", 2, 4 + 4), ("a", 2, 12 + 5), ("ab", 1, 3 + 1)]);
    }

    #[test]
    fn no_more_of_them_than_there_may_be() {
        let mut many = Namespaces::default();
        (0..10_000).for_each(|number| many.count(&format!("/{number}"), 1));
        assert_eq!(many.iter().count(), NAMESPACES_MAX);
        many.count("/7/x", 1);
        assert!(many.iter().any(|(name, values)| name == "7" && values.count == 2));
    }
}
