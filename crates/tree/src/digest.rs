//! The digest of the tree: a sum over all nodes, kept up to date change by change.
//!
//! Version 2 of Apache's: CRC-32 over the path (empty for the root), the data, and 60 bytes of
//! stat in an order of their own. Nodes below `/zookeeper` do not count.
//! Source: storage-format reference, 5; Apache's `DigestCalculator`.

use crc32fast::Hasher;
use oxikeeper_proto::stat::StatPersisted;

/// Whether a node takes part. `/zookeeper` itself does.
pub fn counts_in_digest(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

/// A node's path and data, summed up once for digests with one stat and another.
#[derive(Clone, Debug)]
pub struct Content {
    /// `None` for a node that does not take part.
    hasher: Option<Hasher>,
}

impl Content {
    /// Of a node with this path and data.
    pub fn of(path: &str, data: Option<&[u8]>) -> Content {
        if !counts_in_digest(path) {
            return Content { hasher: None };
        }
        let mut hasher = Hasher::new();
        hasher.update(if path == "/" { b"" } else { path.as_bytes() });
        hasher.update(data.unwrap_or_default());
        Content { hasher: Some(hasher) }
    }

    /// The node's digest with this stat, 0 if it does not take part.
    pub fn digest(&self, stat: &StatPersisted) -> u64 {
        let Some(hasher) = &self.hasher else { return 0 };
        let mut hasher = hasher.clone();
        hasher.update(&stat_bytes(stat));
        u64::from(hasher.finalize())
    }
}

/// The stat as the digest sums it up.
fn stat_bytes(stat: &StatPersisted) -> [u8; 60] {
    let mut bytes = [0; 60];
    let longs = [
        stat.czxid.raw(),
        stat.mzxid.raw(),
        stat.pzxid.raw(),
        stat.ctime as u64,
        stat.mtime as u64,
    ];
    for (place, long) in bytes.chunks_exact_mut(8).zip(longs) {
        place.copy_from_slice(&long.to_be_bytes());
    }
    let ints = [stat.version, stat.cversion, stat.aversion];
    for (place, int) in bytes[40..52].chunks_exact_mut(4).zip(ints) {
        place.copy_from_slice(&int.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    bytes
}
