//! Quotas: limits on the nodes and bytes of a subtree, and the running account of both.
//!
//! The quota of `/a` is the node `/zookeeper/quota/a/zookeeper_limits`, its account
//! `.../zookeeper_stats`. The account is kept in the data of that node, without touching its stat.
//! Source: client-protocol reference, 10; Apache's `StatsTrack` and `DataTree`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use oxikeeper_proto::path;

use crate::nodes::NodeId;
use crate::tree::Tree;

/// Numbers of a quota: its limits, or what is used. -1 is "no limit".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaValues {
    /// Nodes, the root of the quota included: soft limit, or used.
    pub count: i64,
    /// Bytes of data: soft limit, or used.
    pub bytes: i64,
    /// Nodes: hard limit.
    pub count_hard: i64,
    /// Bytes: hard limit.
    pub bytes_hard: i64,
}

impl QuotaValues {
    const UNLIMITED: QuotaValues =
        QuotaValues { count: -1, bytes: -1, count_hard: -1, bytes_hard: -1 };

    /// Reads the text form: `key=value` pairs separated by `,` or `;`. What cannot be read is
    /// unlimited.
    pub fn parse(data: &[u8]) -> QuotaValues {
        let text = String::from_utf8_lossy(data);
        let pairs = Pairs::parse(&text);
        QuotaValues {
            count: pairs.get(COUNT),
            bytes: pairs.get(BYTES),
            count_hard: pairs.get("countHardLimit"),
            bytes_hard: pairs.get("byteHardLimit"),
        }
    }

    /// The text form, to the character as Apache writes it.
    pub fn to_text(&self) -> String {
        let hard = [("byteHardLimit", self.bytes_hard), ("countHardLimit", self.count_hard)];
        let limits = hard.into_iter().filter(|&(_, value)| value != -1);
        let soft = [(COUNT, self.count), (BYTES, self.bytes)];
        Pairs(limits.chain(soft).collect()).to_text()
    }
}

const COUNT: &str = "count";
const BYTES: &str = "bytes";

/// The text form taken apart, keys that nobody knows included: the account is written back with
/// them.
struct Pairs<'t>(BTreeMap<&'t str, i64>);

impl<'t> Pairs<'t> {
    fn parse(text: &'t str) -> Pairs<'t> {
        let pair = |pair: &'t str| {
            // A stray `=` may follow the value: Apache writes it for its own old parsers.
            let mut parts = pair.split('=');
            Some((parts.next()?, parts.next()?.parse().unwrap_or(-1)))
        };
        Pairs(text.split([',', ';']).filter_map(pair).collect())
    }

    fn get(&self, key: &str) -> i64 {
        self.0.get(key).copied().unwrap_or(-1)
    }

    /// Adds to a number. It wraps, as Apache's does: clients can write what they like here.
    fn add(&mut self, key: &'static str, more: i64) {
        let sum = self.get(key).wrapping_add(more);
        self.0.insert(key, sum);
    }

    fn to_text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.get(COUNT), self.get(BYTES));
        let mut separator = "=;";
        for (&key, &value) in self.0.iter().filter(|&(&key, _)| key != COUNT && key != BYTES) {
            write!(text, "{separator}{key}={value}").expect("a string takes everything");
            separator = ";";
        }
        text
    }
}

/// A quota with its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The node it governs, with everything below.
    pub root: String,
    /// What is allowed.
    pub limits: QuotaValues,
    /// What is used.
    pub usage: QuotaValues,
}

/// Paths that have a limits node.
#[derive(Debug, Default)]
pub(crate) struct QuotaRoots {
    roots: BTreeSet<String>,
}

impl QuotaRoots {
    /// The deepest root at or above a path.
    fn deepest(&self, path: &str) -> Option<&str> {
        if self.roots.is_empty() {
            return None;
        }
        let mut at = path;
        while !at.is_empty() && at != path::ROOT {
            if let Some(root) = self.roots.get(at) {
                return Some(root);
            }
            at = path::parent(at);
        }
        None
    }
}

/// The path that a node below `/zookeeper/quota` speaks of, if it is one of the two kinds.
/// A quota on the root itself is not one: Apache fails on it.
fn governed<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let governed = path.strip_prefix(path::QUOTA)?.strip_suffix(name)?.strip_suffix('/')?;
    (!governed.is_empty()).then_some(governed)
}

fn limits_path(root: &str) -> String {
    format!("{}{root}/{}", path::QUOTA, path::LIMITS_NAME)
}

fn stats_path(root: &str) -> String {
    format!("{}{root}/{}", path::QUOTA, path::STATS_NAME)
}

impl Quota {
    pub(crate) fn of(tree: &Tree, path: &str) -> Option<Quota> {
        let root = tree.quotas.deepest(path)?;
        let limits = tree.node(&limits_path(root))?;
        let usage = tree.node(&stats_path(root))?;
        Some(Quota {
            root: root.to_owned(),
            limits: QuotaValues::parse(limits.data().unwrap_or_default()),
            usage: QuotaValues::parse(usage.data().unwrap_or_default()),
        })
    }
}

impl Tree {
    /// A node has come to be.
    pub(crate) fn quota_created(&mut self, path: &str, bytes: usize) {
        if let Some(root) = governed(path, path::LIMITS_NAME) {
            self.quotas.roots.insert(root.to_owned());
        }
        if let Some(root) = governed(path, path::STATS_NAME) {
            self.recount_quota(root);
        }
        self.charge(path, 1, bytes as i64);
    }

    /// A node has gone.
    pub(crate) fn quota_deleted(&mut self, path: &str, bytes: usize) {
        if let Some(root) = governed(path, path::LIMITS_NAME) {
            self.quotas.roots.remove(root);
        }
        self.charge(path, -1, -(bytes as i64));
    }

    /// A node's data was set.
    pub(crate) fn quota_set(&mut self, path: &str, bytes_before: usize, bytes_after: usize) {
        self.charge(path, 0, bytes_after as i64 - bytes_before as i64);
    }

    /// Finds all quotas and recounts them: after a snapshot was loaded.
    pub(crate) fn load_quotas(&mut self) {
        let Some(top) = self.nodes.find(path::QUOTA) else { return };
        let mut open = vec![top];
        let mut roots = Vec::new();
        while let Some(id) = open.pop() {
            open.extend(self.nodes.children(id));
            if self.nodes.record(id).name == path::LIMITS_NAME.as_bytes()
                && let Some(root) = governed(&self.nodes.path(id), path::LIMITS_NAME)
            {
                roots.push(root.to_owned());
            }
        }
        for root in roots {
            self.quotas.roots.insert(root.clone());
            self.recount_quota(&root);
        }
    }

    /// Books a difference with the quota that governs a path.
    fn charge(&mut self, path: &str, nodes: i64, bytes: i64) {
        let Some(root) = self.quotas.deepest(path) else { return };
        let Some(id) = self.nodes.find(&stats_path(root)) else { return };
        let text = String::from_utf8_lossy(self.nodes.record(id).data.unwrap_or_default());
        let mut usage = Pairs::parse(&text);
        usage.add(COUNT, nodes);
        usage.add(BYTES, bytes);
        let usage = usage.to_text();
        self.write_usage(id, &usage);
    }

    /// Counts the subtree of a quota anew.
    fn recount_quota(&mut self, root: &str) {
        let Some(stats) = self.nodes.find(&stats_path(root)) else { return };
        let mut usage = QuotaValues { count: 0, bytes: 0, ..QuotaValues::UNLIMITED };
        let mut open: Vec<NodeId> = self.nodes.find(root).into_iter().collect();
        while let Some(id) = open.pop() {
            usage.count += 1;
            usage.bytes += self.nodes.record(id).data.map_or(0, <[u8]>::len) as i64;
            open.extend(self.nodes.children(id));
        }
        self.write_usage(stats, &usage.to_text());
    }

    fn write_usage(&mut self, id: NodeId, text: &str) {
        self.before_change(id);
        self.data_size -= self.nodes.record(id).data.map_or(0, <[u8]>::len) as u64;
        self.data_size += text.len() as u64;
        self.nodes.replace_with(id, Some(text.as_bytes()), |_| {});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_apaches() {
        let text = "count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=4";
        let values = QuotaValues { count: -1, bytes: -1, count_hard: 4, bytes_hard: 20 };
        assert_eq!(QuotaValues::parse(text.as_bytes()), values);
        assert_eq!(values.to_text(), text);
        let plain = QuotaValues { count: 3, bytes: 17, ..QuotaValues::UNLIMITED };
        assert_eq!(plain.to_text(), "count=3,bytes=17");
        assert_eq!(QuotaValues::parse(b"count=3,bytes=17"), plain);
        assert_eq!(QuotaValues::parse(b"count=;;,nonsense"), QuotaValues::UNLIMITED);
    }

    #[test]
    fn an_account_keeps_keys_that_are_not_its_own() {
        let mut pairs = Pairs::parse("count=9223372036854775807,zeta=5,alpha=-1");
        pairs.add(COUNT, 1);
        pairs.add(BYTES, 3);
        assert_eq!(pairs.to_text(), "count=-9223372036854775808,bytes=2=;alpha=-1;zeta=5");
    }
}
