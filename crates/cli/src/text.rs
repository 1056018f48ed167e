//! What answers look like: Apache's words for people, and JSON for scripts.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxikeeper_client::{Acl, Stat, WatchedEvent, Zxid};
use oxikeeper_client::{EventKind, LostReason, State};
use oxikeeper_proto::time::java_date;
use serde_json::{Value, json};

use crate::acl;

/// A node's statistics, one line each.
pub fn stat_lines(stat: &Stat) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name} = {value}");
    };
    line("cZxid", stat.czxid.to_string());
    line("ctime", java_date(stat.ctime));
    line("mZxid", stat.mzxid.to_string());
    line("mtime", java_date(stat.mtime));
    line("pZxid", stat.pzxid.to_string());
    line("cversion", stat.cversion.to_string());
    line("dataVersion", stat.version.to_string());
    line("aclVersion", stat.aversion.to_string());
    line("ephemeralOwner", format!("{:#x}", stat.ephemeral_owner));
    line("dataLength", stat.data_length.to_string());
    line("numChildren", stat.num_children.to_string());
    text.truncate(text.trim_end().len());
    text
}

/// A node's statistics as JSON: the names of the lines, times in milliseconds since 1970.
pub fn stat_json(stat: &Stat) -> Value {
    json!({
        "cZxid": stat.czxid.to_string(),
        "ctime": stat.ctime,
        "mZxid": stat.mzxid.to_string(),
        "mtime": stat.mtime,
        "pZxid": stat.pzxid.to_string(),
        "cversion": stat.cversion,
        "dataVersion": stat.version,
        "aclVersion": stat.aversion,
        "ephemeralOwner": format!("{:#x}", stat.ephemeral_owner),
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
    })
}

/// A list in brackets.
pub fn bracketed(names: &[String]) -> String {
    format!("[{}]", names.join(", "))
}

/// An ACL, two lines an entry.
pub fn acl_lines(acl: &[Acl]) -> String {
    let entry = |entry: &Acl| {
        format!("'{},'{}\n: {}", entry.id.scheme, entry.id.id, acl::show_perms(entry.perms))
    };
    acl.iter().map(entry).collect::<Vec<_>>().join("\n")
}

/// An ACL as JSON.
pub fn acl_json(acl: &[Acl]) -> Value {
    let entry = |entry: &Acl| {
        json!({
            "scheme": entry.id.scheme,
            "id": entry.id.id,
            "perms": acl::show_perms(entry.perms),
        })
    };
    acl.iter().map(entry).collect()
}

/// Data as JSON: what is text stays text, the rest is base64. `data` is null for a node that has none.
pub fn data_json(data: Option<&[u8]>) -> (Value, &'static str) {
    match data.map(|data| (data, std::str::from_utf8(data))) {
        None => (Value::Null, "utf8"),
        Some((_, Ok(text))) => (Value::from(text), "utf8"),
        Some((data, Err(_))) => (Value::from(base64(data)), "base64"),
    }
}

/// Base64, with padding.
pub fn base64(data: &[u8]) -> String {
    STANDARD.encode(data)
}

/// Data in a frame, sixteen bytes a line, in hex and as text.
pub fn hex_dump(data: &[u8]) -> String {
    let rule = "+--------+-------------------------------------------------+----------------+";
    let mut text = String::from(
        "         +-------------------------------------------------+\n         \
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n",
    );
    text.push_str(rule);
    for (number, line) in data.chunks(16).enumerate() {
        let hex: String = line.iter().map(|byte| format!(" {byte:02x}")).collect();
        let shown = |byte: &u8| match byte {
            0x20..0x7f => char::from(*byte),
            _ => '.',
        };
        let plain: String = line.iter().map(shown).collect();
        let _ = write!(text, "\n|{:08x}|{hex:<48} |{plain:<16}|", number * 16);
    }
    text.push('\n');
    text.push_str(rule);
    text
}

/// Data for a terminal: control characters but line feed and tab would talk to it.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(is_harmful) {
        Cow::Owned(text.replace(is_harmful, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The name of a state, as the prompt shows it.
pub const fn state_name(state: State) -> &'static str {
    match state {
        State::Connecting | State::Suspended => "CONNECTING",
        State::Connected => "CONNECTED",
        State::ReadOnly => "CONNECTEDREADONLY",
        State::Lost(LostReason::AuthFailed) => "AUTH_FAILED",
        State::Lost(_) => "CLOSED",
    }
}

/// The name of a state in an event; `None` where Apache's client reports none.
pub const fn event_state(state: State) -> Option<&'static str> {
    Some(match state {
        State::Connecting => return None,
        State::Connected => "SyncConnected",
        State::ReadOnly => "ConnectedReadOnly",
        State::Suspended => "Disconnected",
        State::Lost(LostReason::Expired) => "Expired",
        State::Lost(LostReason::AuthFailed) => "AuthFailed",
        State::Lost(LostReason::Closed) => "Closed",
    })
}

/// The name of an event. `Overflow` is ours: Apache's client has no bound.
pub const fn event_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Created => "NodeCreated",
        EventKind::Deleted => "NodeDeleted",
        EventKind::DataChanged => "NodeDataChanged",
        EventKind::ChildrenChanged => "NodeChildrenChanged",
        EventKind::Session => "None",
        EventKind::Overflow => "Overflow",
    }
}

/// The four lines of an event as Apache's shell prints them.
pub fn event_lines(state: &str, name: &str, path: &str, zxid: Option<Zxid>) -> String {
    let zxid = zxid.map_or(-1, Zxid::to_wire);
    format!("\nWATCHER::\n\nWatchedEvent state:{state} type:{name} path:{path} zxid: {zxid}")
}

/// An event as JSON.
pub fn event_json(event: &WatchedEvent) -> Value {
    json!({
        "type": event_name(event.kind),
        "path": event.path,
        "zxid": event.zxid.map(|zxid| zxid.to_string()),
        "state": event_state(event.state),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_as_apache_prints_it() {
        let stat = Stat {
            czxid: Zxid::new(7),
            mzxid: Zxid::new(0x12),
            ctime: 1_795_353_401_999,
            mtime: 0,
            version: 1,
            cversion: 2,
            aversion: -1,
            ephemeral_owner: 0x0100_0006_c1fd_0000,
            data_length: 5,
            num_children: 0,
            pzxid: Zxid::ZERO,
        };
        let lines: Vec<String> = stat_lines(&stat).lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "cZxid = 0x7");
        assert_eq!(lines[1], "ctime = Sun Nov 22 13:16:41 UTC 2026");
        assert_eq!(lines[4], "pZxid = 0x0");
        assert_eq!(lines[7], "aclVersion = -1");
        assert_eq!(lines[8], "ephemeralOwner = 0x1000006c1fd0000");
        assert_eq!(lines[10], "numChildren = 0");
        assert_eq!(lines.len(), 11);
        assert_eq!(stat_json(&stat)["ctime"], 1_795_353_401_999_i64);
    }

    #[test]
    fn data_in_hex() {
        let expected = "         +-------------------------------------------------+
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |
+--------+-------------------------------------------------+----------------+
|00000000| 68 65 6c 6c 6f 20 77 6f 72 6c 64 00 ff 7f 61 62 |hello world...ab|
|00000010| 63                                              |c               |
+--------+-------------------------------------------------+----------------+";
        assert_eq!(hex_dump(b"hello world\0\xff\x7fabc"), expected);
    }

    #[test]
    fn data_as_json() {
        assert_eq!(data_json(None), (Value::Null, "utf8"));
        assert_eq!(data_json(Some("ü\n".as_bytes())), (Value::from("ü\n"), "utf8"));
        assert_eq!(data_json(Some(b"\xff")), (Value::from("/w=="), "base64"));
    }

    #[test]
    fn nothing_talks_to_a_terminal() {
        assert_eq!(harmless("a\tb\nü"), "a\tb\nü");
        assert_eq!(harmless("\u{1b}[2J"), "\u{fffd}[2J");
    }

    #[test]
    fn events_and_acls() {
        let event = event_lines("SyncConnected", "NodeDataChanged", "/t", Some(Zxid::new(92)));
        let expected =
            "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:NodeDataChanged path:/t zxid: 92";
        assert_eq!(event, expected);
        let acl = acl::parse("ip:127.0.0.1:cdrwa,world:anyone:r").expect("a list");
        assert_eq!(acl_lines(&acl), "'ip,'127.0.0.1\n: cdrwa\n'world,'anyone\n: r");
        assert_eq!(acl_json(&acl)[1]["perms"], "r");
    }
}
