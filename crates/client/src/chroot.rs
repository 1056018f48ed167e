//! The part of the tree that a client lives in: put before every path that goes out, taken from
//! every path that comes in.

use std::borrow::Cow;

use oxikeeper_proto::path;

use crate::Error;

/// A prefix of all paths; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chroot {
    /// Empty, or a valid path that is not `/`.
    prefix: String,
}

impl Chroot {
    /// A chroot of this path; `/` and the empty string are none.
    pub fn new(path: &str) -> Result<Chroot, Error> {
        if path.is_empty() || path == "/" {
            return Ok(Chroot::default());
        }
        path::validate(path)
            .map_err(|reason| Error::InvalidPath { path: path.to_owned(), reason })?;
        Ok(Chroot { prefix: path.to_owned() })
    }

    /// The path itself; empty if there is none.
    pub fn as_str(&self) -> &str {
        &self.prefix
    }

    /// The server's path of a client's path.
    pub fn apply<'p>(&self, path: &'p str) -> Cow<'p, str> {
        if self.prefix.is_empty() {
            Cow::Borrowed(path)
        } else if path == "/" {
            Cow::Owned(self.prefix.clone())
        } else {
            Cow::Owned(format!("{}{path}", self.prefix))
        }
    }

    /// The client's path of a server's path. One outside the chroot, such as the configuration's, stays
    /// as it is.
    pub fn strip<'p>(&self, path: &'p str) -> &'p str {
        match path.strip_prefix(self.prefix.as_str()) {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            _ => path,
        }
    }

    /// Whether a server's path lies in it.
    pub fn holds(&self, path: &str) -> bool {
        path.strip_prefix(self.prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_in_and_come_out() {
        let chroot = Chroot::new("/app").unwrap();
        for (inside, outside) in [("/", "/app"), ("/a", "/app/a"), ("/app", "/app/app")] {
            assert_eq!(chroot.apply(inside), outside);
            assert_eq!(chroot.strip(outside), inside);
            assert!(chroot.holds(outside));
        }
        assert_eq!(chroot.strip("/application"), "/application");
        assert_eq!(chroot.strip("/zookeeper/config"), "/zookeeper/config");
        assert!(!chroot.holds("/application"));
        let none = Chroot::new("/").unwrap();
        assert_eq!(none.apply("/a"), "/a");
        assert_eq!(none.strip("/"), "/");
        assert_eq!(none.strip("/a"), "/a");
        assert!(Chroot::new("/a/").is_err());
    }
}
