//! Names of the files in `version-2`.

use oxikeeper_proto::Zxid;

use crate::snapshot_writer::Compression;

/// Before the name of a snapshot that is being written; Apache does not take it for one.
pub(crate) const TEMPORARY: &str = "tmp.";
/// The log file prepared ahead.
pub(crate) const PREPARED_LOG: &str = "tmp.log.next";
/// Before the zxid of a snapshot that is being installed.
const INSTALLING: &str = "tmp.install.";
/// Before the name of a file set aside.
pub(crate) const SET_ASIDE: &str = "damaged.";

/// `log.<hex>`: the zxid of the first record.
pub(crate) fn log(first: Zxid) -> String {
    format!("log.{:x}", first.raw())
}

/// `snapshot.<hex>`, with the suffix of its compression.
pub(crate) fn snapshot(zxid: Zxid, compression: Compression) -> String {
    format!("snapshot.{:x}{}", zxid.raw(), compression.suffix())
}

/// The zxid of a log's name. Anything behind the number makes it none of ours: tools leave
/// `log.c.fixed` behind, which Apache would read twice.
pub(crate) fn parse_log(name: &str) -> Option<Zxid> {
    parse_hex(name.strip_prefix("log.")?)
}

/// The zxid and compression of a snapshot's name.
pub(crate) fn parse_snapshot(name: &str) -> Option<(Zxid, Compression)> {
    let rest = name.strip_prefix("snapshot.")?;
    for compression in [Compression::Gzip, Compression::Snappy] {
        if let Some(hex) = rest.strip_suffix(compression.suffix()) {
            return Some((parse_hex(hex)?, compression));
        }
    }
    Some((parse_hex(rest)?, Compression::None))
}

/// What says that the installation of a received snapshot has begun and not ended.
pub(crate) fn install_marker(zxid: Zxid) -> String {
    format!("{INSTALLING}{:x}", zxid.raw())
}

/// The zxid of such a marker.
pub(crate) fn parse_install_marker(name: &str) -> Option<Zxid> {
    parse_hex(name.strip_prefix(INSTALLING)?)
}

fn parse_hex(hex: &str) -> Option<Zxid> {
    let digits_only = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if !digits_only {
        return None;
    }
    u64::from_str_radix(hex, 16).ok().map(Zxid::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(log(Zxid::new(0x1_0000_000a)), "log.10000000a");
        assert_eq!(snapshot(Zxid::ZERO, Compression::Gzip), "snapshot.0.gz");
        assert_eq!(parse_log("log.1F"), Some(Zxid::new(31)));
        assert_eq!(parse_log("log.0001"), Some(Zxid::new(1)));
        for name in ["log.", "log.c.fixed", "log.+1", "log.1 ", "logs.1", "log.1ffffffffffffffff"] {
            assert_eq!(parse_log(name), None, "{name}");
        }
        assert_eq!(parse_snapshot("snapshot.b.snappy"), Some((Zxid::new(11), Compression::Snappy)));
        assert_eq!(parse_snapshot("snapshot.b.tmp"), None);
        assert_eq!(parse_snapshot("tmp.snapshot.b"), None);
    }
}
