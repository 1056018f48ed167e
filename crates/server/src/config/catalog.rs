//! Every key of 3.9, and those that are ours alone: where it may stand, how much a replacement owes it, and what becomes of it here.
//!
//! `docs/COMPATIBILITY.md` has a row per key, made from this table; a test compares the two. What
//! the server says about a key at start comes from here as well.
//!
//! Source: operations reference, 1.2 to 1.6.

mod ensemble;
mod protection;
mod serving;

/// Where a key is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Parsed by name in `zoo.cfg`; never a property.
    File,
    /// The property `zookeeper.<key>`: in the file without the prefix, as a `-D` flag with it.
    Property,
    /// A property without a prefix. Apache takes it as a `-D` flag alone; here the file does too.
    Bare,
}

/// How much a drop-in replacement owes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// Existing clusters, scripts or clients break otherwise.
    A,
    /// Users expect it.
    B,
    /// The inner works of a JVM or of Apache's: said once that it has no effect.
    C,
}

/// What becomes of a key here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It has Apache's effect.
    Works,
    /// Nothing has to be done: what it asks for is so anyway, or concerns what a server that serves
    /// alone does not do, with Apache neither.
    Same,
    /// Checked and kept for ensembles; a server that serves alone does not need it.
    Ensemble,
    /// It has no effect, and a line in the log says so.
    Nothing,
    /// It offers what this version does not have: an error line, and that door stays shut.
    Shut,
    /// If it is on, it demands protection that this version does not have: the start ends.
    Demands,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// As in `zoo.cfg`. A `*` at the end stands for any rest.
    pub name: &'static str,
    pub form: Form,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the document"))]
    pub tier: Tier,
    /// In words of the file.
    pub default: &'static str,
    pub effect: Effect,
    /// What it does here, or why it does nothing.
    pub does: &'static str,
}

/// The whole table, by subject.
const TABLES: &[(&str, &[Key])] = &[
    ("Serving: directories, ports, sessions, limits", serving::KEYS),
    ("Storage", serving::STORAGE),
    ("Admin, four-letter words, metrics", serving::ADMIN),
    ("Threads and engine", serving::ENGINE),
    ("Ensembles", ensemble::KEYS),
    ("Authentication, TLS, audit", protection::KEYS),
];

/// Names that old guides print and Apache does not read, and the ones it reads. Both are taken here.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("connectionMaxTokens", "connection_throttle_tokens"),
    ("connectionTokenFillTime", "connection_throttle_fill_time"),
    ("connectionTokenFillCount", "connection_throttle_fill_count"),
    ("connectionFreezeTime", "connection_throttle_freeze_time"),
    ("connectionDropIncrease", "connection_throttle_drop_increase"),
    ("connectionDropDecrease", "connection_throttle_drop_decrease"),
    ("connectionDecreaseRatio", "connection_throttle_decrease_ratio"),
    ("requestThrottleLimit", "request_throttle_max_requests"),
    ("requestThrottleStallTime", "request_throttle_stall_time"),
    ("requestThrottleDropStale", "request_throttle_drop_stale"),
    ("requestStaleLatencyCheck", "request_stale_latency_check"),
    ("requestStaleConnectionCheck", "request_stale_connection_check"),
    ("maxConcurrentSnapSyncs", "leader.maxConcurrentSnapSyncs"),
    ("maxConcurrentDiffSyncs", "leader.maxConcurrentDiffSyncs"),
    ("maxTimeToWaitForEpoch", "leader.maxTimeToWaitForEpoch"),
    ("advancedFlowControlEnabled", "netty.advancedFlowControl.enabled"),
    ("outstandingHandshake.limit", "netty.server.outstandingHandshake.limit"),
    ("throttledOpWaitTime", "throttled_op_wait_time"),
];

/// A key of `zoo.cfg` that is parsed by name.
pub(super) fn named(key: &str) -> Option<&'static Key> {
    find(key, |form| form == Form::File)
}

/// A key that Apache reads as a property without a prefix.
pub(super) fn bare(key: &str) -> Option<&'static Key> {
    find(key, |form| form == Form::Bare)
}

/// The key behind a system property's full name.
pub(super) fn property(name: &str) -> Option<&'static Key> {
    match name.strip_prefix("zookeeper.") {
        Some(key) => find(key, |form| form == Form::Property),
        None => bare(name),
    }
}

fn find(name: &str, fits: impl Fn(Form) -> bool) -> Option<&'static Key> {
    let keys = TABLES.iter().flat_map(|(_, keys)| keys.iter());
    let mut keys = keys.filter(|key| fits(key.form));
    keys.find(|key| match key.name.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == key.name,
    })
}

#[cfg(test)]
mod tests;
