//! Who a connection is, and what that permits.
//!
//! A connection carries a set of identities: the address it comes from, and one more for each
//! successful auth packet. A znode's ACL names identities and what they may do. Both sides are
//! compared here, for reads in a Front and for writes in the Core.
//! Source: client-protocol reference, section 8; Apache's `ZooKeeperServer.checkACL` and
//! `PrepRequestProcessor.fixupACL`.

pub mod digest;
pub mod ip;

use std::borrow::Cow;
use std::net::IpAddr;

use oxikeeper_proto::acl::perms;
use oxikeeper_proto::{Acl, AclEntry, ErrorCode, Id};

pub use self::digest::DigestAlgorithm;

/// Everybody, in an ACL.
pub const WORLD: &str = "world";
/// The only identity of [`WORLD`].
pub const ANYONE: &str = "anyone";
/// The address a connection comes from.
pub const IP: &str = "ip";
/// User and hashed password.
pub const DIGEST: &str = "digest";
/// In a requested ACL: whoever asks, by each identity that was proven.
pub const AUTH: &str = "auth";
/// On a connection: no ACL applies.
pub const SUPER: &str = "super";

/// Which schemes there are, and how they are checked. Does not change while the server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthPolicy {
    /// `zookeeper.skipACL` is exactly `yes`: no ACL applies to anybody.
    pub skip_acl: bool,
    /// `zookeeper.DigestAuthenticationProvider.enabled`.
    pub digest_enabled: bool,
    /// `zookeeper.DigestAuthenticationProvider.digestAlg`.
    pub digest_algorithm: DigestAlgorithm,
    /// `zookeeper.DigestAuthenticationProvider.superDigest`: the digest identity, such as
    /// `super:BASE64(SHA1(super:password))`, whose owner no ACL stops.
    pub super_digest: Option<String>,
    /// SASL is configured, which this version does not speak: who tries is told that it failed, as
    /// by a server whose SASL fails, and never that it may go on as nobody.
    pub refuses_sasl: bool,
}

impl Default for AuthPolicy {
    /// Apache's defaults: `ip` and `digest` with SHA-1, no super user.
    fn default() -> AuthPolicy {
        AuthPolicy {
            skip_acl: false,
            digest_enabled: true,
            digest_algorithm: DigestAlgorithm::Sha1,
            super_digest: None,
            refuses_sasl: false,
        }
    }
}

/// A scheme that ACLs may name and connections may prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provider {
    Ip,
    Digest,
}

impl Provider {
    /// Whether an identity of this scheme is proven, and not only observed.
    fn is_authenticated(self) -> bool {
        match self {
            Provider::Ip => false,
            Provider::Digest => true,
        }
    }

    /// Whether an ACL may name this identity.
    fn is_valid(self, id: &str) -> bool {
        match self {
            Provider::Ip => ip::is_valid(id),
            Provider::Digest => digest::is_valid(id),
        }
    }

    /// Whether a connection's identity is the one that an ACL names.
    fn matches(self, id: &str, named: &str) -> bool {
        match self {
            Provider::Ip => ip::matches(id, named),
            Provider::Digest => id == named,
        }
    }
}

impl AuthPolicy {
    fn provider(&self, scheme: &str) -> Option<Provider> {
        match scheme {
            IP => Some(Provider::Ip),
            DIGEST if self.digest_enabled => Some(Provider::Digest),
            _ => None,
        }
    }

    /// Whether a connection with these identities has, on a node with this ACL, any of the wanted
    /// permissions (bits of [`perms`]). An empty ACL permits all.
    pub fn permits(&self, acl: &[Acl], wanted: i32, ids: &[Id]) -> bool {
        if self.skip_acl || acl.is_empty() || ids.iter().any(|id| id.scheme == SUPER) {
            return true;
        }
        acl.iter().filter(|entry| entry.perms & wanted != 0).any(|entry| {
            let Id { scheme, id: named } = &entry.id;
            if scheme == WORLD && named == ANYONE {
                return true;
            }
            self.provider(scheme).is_some_and(|provider| {
                ids.iter().any(|id| id.scheme == *scheme && provider.matches(&id.id, named))
            })
        })
    }

    /// The list to store for a requested one: duplicates removed, `auth` replaced by the
    /// identities that the connection has proven.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidAcl`] if the list is null or empty, if an entry names an unknown scheme
    /// or an identity its scheme does not accept, or if nothing was proven and `auth` is used;
    /// [`ErrorCode::MarshallingError`] for a null identity of a known scheme, as Apache.
    pub fn fix_up(
        &self,
        requested: Option<&[AclEntry<'_>]>,
        ids: &[Id],
    ) -> Result<Vec<Acl>, ErrorCode> {
        let requested = requested.unwrap_or_default();
        let mut stored = Vec::with_capacity(requested.len());
        for (index, entry) in requested.iter().enumerate() {
            if !requested[..index].contains(entry) {
                self.fix_up_entry(entry, ids, &mut stored)?;
            }
        }
        if stored.is_empty() { Err(ErrorCode::InvalidAcl) } else { Ok(stored) }
    }

    fn fix_up_entry(
        &self,
        entry: &AclEntry<'_>,
        ids: &[Id],
        stored: &mut Vec<Acl>,
    ) -> Result<(), ErrorCode> {
        let scheme = entry.scheme.as_deref().ok_or(ErrorCode::InvalidAcl)?;
        if scheme == AUTH {
            let proven = ids
                .iter()
                .filter(|id| self.provider(&id.scheme).is_some_and(Provider::is_authenticated));
            let before = stored.len();
            stored.extend(proven.map(|id| Acl { perms: entry.perms, id: id.clone() }));
            return if stored.len() == before { Err(ErrorCode::InvalidAcl) } else { Ok(()) };
        }
        let Some(id) = entry.id.as_deref() else {
            // Apache's providers fail on a null identity; only of an unknown scheme it says more.
            let known = scheme == WORLD || self.provider(scheme).is_some();
            return Err(if known { ErrorCode::MarshallingError } else { ErrorCode::InvalidAcl });
        };
        let everybody = scheme == WORLD && id == ANYONE;
        if !everybody && !self.provider(scheme).is_some_and(|provider| provider.is_valid(id)) {
            return Err(ErrorCode::InvalidAcl);
        }
        stored.push(Acl { perms: entry.perms, id: Id::new(scheme, id) });
        Ok(())
    }

    /// Takes an auth packet: adds the identities it proves and returns true, or returns false and
    /// leaves the connection to be told `AuthFailed` and closed.
    pub fn authenticate(
        &self,
        scheme: &str,
        auth: Option<&[u8]>,
        remote: IpAddr,
        ids: &mut Vec<Id>,
    ) -> bool {
        match (self.provider(scheme), auth) {
            (None, _) | (Some(Provider::Digest), None) => false,
            (Some(Provider::Ip), _) => {
                add(ids, ip::identity(remote));
                true
            }
            (Some(Provider::Digest), Some(auth)) => {
                let identity = self.digest_algorithm.identity(&String::from_utf8_lossy(auth));
                if self.super_digest.as_ref() == Some(&identity) {
                    add(ids, Id::new(SUPER, ""));
                }
                add(ids, Id::new(DIGEST, identity));
                true
            }
        }
    }

    /// The user that whoAmI shows for an identity: empty for a scheme without a provider.
    pub fn user_name(&self, id: &Id) -> String {
        match self.provider(&id.scheme) {
            None => String::new(),
            Some(Provider::Ip) => id.id.clone(),
            Some(Provider::Digest) => digest::user(&id.id).to_owned(),
        }
    }
}

/// Whether getACL may show a node's ACL unredacted.
pub fn may_administer(auth: &AuthPolicy, acl: &[Acl], ids: &[Id]) -> bool {
    auth.permits(acl, perms::ADMIN, ids)
}

/// The identities of a connection form a set.
fn add(ids: &mut Vec<Id>, id: Id) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}

/// What getACL shows of an ACL to somebody without ADMIN on the node: hashes are hidden.
pub fn redacted(acl: &[Acl]) -> Vec<Acl> {
    acl.iter()
        .map(|entry| {
            let id = match entry.id.scheme.as_str() {
                DIGEST => Cow::Owned(format!("{}:x", digest::user(&entry.id.id))),
                _ => Cow::Borrowed(entry.id.id.as_str()),
            };
            Acl { perms: entry.perms, id: Id::new(entry.id.scheme.as_str(), id) }
        })
        .collect()
}

#[cfg(test)]
mod tests;
