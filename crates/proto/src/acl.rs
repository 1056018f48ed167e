//! Access control lists and identities.

use std::borrow::Cow;

use crate::record;

/// Permission bits of an ACL entry. Unknown bits are stored untouched.
pub mod perms {
    /// Read data and children.
    pub const READ: i32 = 1;
    /// Set data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children (not the node itself).
    pub const DELETE: i32 = 8;
    /// Set the ACL.
    pub const ADMIN: i32 = 16;
    /// All of the above.
    pub const ALL: i32 = 31;
}

record! {
    /// Who: a scheme and an identity in it, as proven on a connection or named in an ACL.
    #[derive(Hash, PartialOrd, Ord)]
    pub struct Id {
        /// `world`, `ip`, `digest`, `auth`, `super`, `sasl`, `x509`, ...
        pub scheme: String,
        /// What the scheme says, for example `user:BASE64(SHA1(user:password))`.
        pub id: String,
    }
}

impl Id {
    /// An identity from its parts.
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> Id {
        Id { scheme: scheme.into(), id: id.into() }
    }

    /// `world:anyone`, whom everybody is.
    pub fn anyone() -> Id {
        Id::new("world", "anyone")
    }
}

record! {
    /// One stored entry: these permissions for this identity.
    #[derive(Hash, PartialOrd, Ord)]
    pub struct Acl {
        /// Bits of [`perms`].
        pub perms: i32,
        /// For whom.
        pub id: Id,
    }
}

impl Acl {
    /// The one entry of the open ACL, `world:anyone` with all permissions.
    pub fn open() -> Acl {
        Acl { perms: perms::ALL, id: Id::anyone() }
    }
}

record! {
    /// One entry as a client sent it: either part of the identity may be null, which is an
    /// `InvalidACL`, not a malformed request.
    pub struct AclEntry<'a> {
        /// Bits of [`perms`].
        pub perms: i32,
        /// The scheme, `auth` included.
        pub scheme: Option<Cow<'a, str>>,
        /// The identity.
        pub id: Option<Cow<'a, str>>,
    }
}
