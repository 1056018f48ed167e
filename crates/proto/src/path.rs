//! Znode paths: what a valid one is, and its parts.

use thiserror::Error;

/// The root's path as clients write it. Lookups take the empty string for the same node.
pub const ROOT: &str = "/";
/// The system subtree.
pub const ZOOKEEPER: &str = "/zookeeper";
/// Where quotas live.
pub const QUOTA: &str = "/zookeeper/quota";
/// The node that holds the ensemble's configuration.
pub const CONFIG: &str = "/zookeeper/config";
/// Name of the node that holds a quota's limits.
pub const LIMITS_NAME: &str = "zookeeper_limits";
/// Name of the node that holds a quota's usage.
pub const STATS_NAME: &str = "zookeeper_stats";

/// Why a path is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// Empty.
    #[error("path is empty")]
    Empty,
    /// Does not begin with a slash.
    #[error("path does not start with /")]
    NotAbsolute,
    /// Ends with a slash.
    #[error("path ends with /")]
    TrailingSlash,
    /// `//`.
    #[error("empty node name at byte {at}")]
    EmptyName {
        /// Byte offset of the second slash.
        at: usize,
    },
    /// A component `.` or `..`.
    #[error("relative component at byte {at}")]
    Relative {
        /// Byte offset of the component.
        at: usize,
    },
    /// A character that is not allowed.
    #[error("character U+{code:04X} is not allowed, at byte {at}")]
    Character {
        /// Its code point.
        code: u32,
        /// Its byte offset.
        at: usize,
    },
}

/// Checks a whole path as a server does before it stores one.
///
/// Source: Apache's `PathUtils.validatePath`, which works on UTF-16 code units: every character
/// beyond the basic plane is therefore refused, as surrogates are.
pub fn validate(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if path.len() == 1 {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err(PathError::TrailingSlash);
    }
    if is_plain(path) {
        return Ok(());
    }
    let mut start = 1;
    for name in path[1..].split('/') {
        match name {
            "" => return Err(PathError::EmptyName { at: start }),
            "." | ".." => return Err(PathError::Relative { at: start }),
            _ => {}
        }
        start += name.len() + 1;
    }
    match path.char_indices().find(|&(_, c)| !is_allowed(c)) {
        Some((at, c)) => Err(PathError::Character { code: u32::from(c), at }),
        None => Ok(()),
    }
}

/// Whether one look shows that nothing is wrong: printable ASCII, and no name that is empty or begins
/// with a dot.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let starts_oddly = before == b'/' && matches!(byte, b'/' | b'.');
        before = byte;
        !starts_oddly && matches!(byte, 0x20..=0x7e)
    })
}

fn is_allowed(c: char) -> bool {
    !matches!(u32::from(c), 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..)
}

/// Splits at the last slash: the parent (`""` for a child of the root) and the name.
/// `None` if there is no slash at all.
pub fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/')
}

/// The parent's path as events show it: `/` for a node at the top.
pub fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => ROOT,
        Some((parent, _)) => parent,
    }
}

/// True for the four nodes that a client may not delete.
pub fn is_system(path: &str) -> bool {
    matches!(path, ROOT | ZOOKEEPER | QUOTA | CONFIG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_paths() {
        for path in ["/", "/a", "/a/b", "/...", "/.a", "/a.", "/a b", "/\u{e9}", "/a/..b"] {
            assert_eq!(validate(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn invalid_paths() {
        let cases = [
            ("", PathError::Empty),
            ("a", PathError::NotAbsolute),
            ("/a/", PathError::TrailingSlash),
            ("//", PathError::TrailingSlash),
            ("//a", PathError::EmptyName { at: 1 }),
            ("/a//b", PathError::EmptyName { at: 3 }),
            ("/a/./b", PathError::Relative { at: 3 }),
            ("/a/..", PathError::Relative { at: 3 }),
            ("/a\0", PathError::Character { code: 0, at: 2 }),
            ("/\u{1f}", PathError::Character { code: 0x1f, at: 1 }),
            ("/\u{9f}", PathError::Character { code: 0x9f, at: 1 }),
            ("/\u{e000}", PathError::Character { code: 0xe000, at: 1 }),
            ("/\u{fffd}", PathError::Character { code: 0xfffd, at: 1 }),
            ("/\u{1f600}", PathError::Character { code: 0x1f600, at: 1 }),
        ];
        for (path, error) in cases {
            assert_eq!(validate(path), Err(error), "{path:?}");
        }
    }

    #[test]
    fn parts() {
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a"), Some(("", "a")));
        assert_eq!(split("a"), None);
        assert_eq!(parent("/a"), "/");
        assert_eq!(parent("/a/b"), "/a");
    }
}
