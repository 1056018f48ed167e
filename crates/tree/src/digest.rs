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

/// CRC-32 of the part of a node's digest that comes before its stat.
pub fn content_crc(path: &str, data: Option<&[u8]>) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(if path == "/" { b"" } else { path.as_bytes() });
    hasher.update(data.unwrap_or_default());
    hasher.finalize()
}

/// Digest of one node that takes part, from the CRC and the length of what comes before its stat.
pub fn node_digest(content_crc: u32, content_len: u64, stat: &StatPersisted) -> u64 {
    let mut bytes = [0; 60];
    let longs = [stat.czxid.raw(), stat.mzxid.raw(), stat.pzxid.raw()]
        .into_iter()
        .chain([stat.ctime as u64, stat.mtime as u64]);
    for (place, long) in bytes.chunks_exact_mut(8).zip(longs) {
        place.copy_from_slice(&long.to_be_bytes());
    }
    let ints = [stat.version, stat.cversion, stat.aversion];
    for (place, int) in bytes[40..52].chunks_exact_mut(4).zip(ints) {
        place.copy_from_slice(&int.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    let mut hasher = Hasher::new_with_initial_len(content_crc, content_len);
    hasher.update(&bytes);
    u64::from(hasher.finalize())
}

/// A node's content, summed up once for digests with one stat and another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    crc: u32,
    len: u64,
}

impl Content {
    /// `None` for a node that does not take part.
    pub fn of(path: &str, data: Option<&[u8]>) -> Option<Content> {
        if !counts_in_digest(path) {
            return None;
        }
        let path_len = if path == "/" { 0 } else { path.len() };
        let len = path_len + data.map_or(0, <[u8]>::len);
        Some(Content { crc: content_crc(path, data), len: len as u64 })
    }

    /// The node's digest with this stat.
    pub fn digest(self, stat: &StatPersisted) -> u64 {
        node_digest(self.crc, self.len, stat)
    }
}

/// Digest of one node, 0 if it does not take part.
pub(crate) fn digest_at(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u64 {
    Content::of(path, data).map_or(0, |content| content.digest(stat))
}
