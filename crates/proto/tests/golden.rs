//! Bytes recorded from Apache ZooKeeper 3.9.5: every record is decoded, its fields compared with
//! what Apache's own classes read, and encoded to the same bytes again.
//!
//! Where the recordings come from, and how to make them anew: `fixtures/wire/PROVENANCE.md`.

#[path = "golden/fields.rs"]
mod fields;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use oxikeeper_proto::multi::{MultiHeader, MultiOp, MultiRequest};
use oxikeeper_proto::reply::*;
use oxikeeper_proto::request::*;
use oxikeeper_proto::txn::{self, Txn};
use oxikeeper_proto::watch::WatcherEvent;
use oxikeeper_proto::{Decode, DecodeError, Encode, OpCode, Reader};

use fields::{Record, text};

/// A line of bytes, with the line of fields below it.
struct Recorded {
    line: String,
    bytes: Vec<u8>,
    fields: String,
}

/// The recordings of a folder of `fixtures`.
fn recordings(folder: &str) -> Vec<(String, Vec<Recorded>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let read = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let mut recorded: Vec<Recorded> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with(['#', '='])) {
            match line.strip_prefix("    ") {
                Some(fields) => recorded.last_mut().unwrap().fields = fields.to_owned(),
                None => recorded.push(Recorded {
                    line: line.to_owned(),
                    bytes: unhex(line.split(' ').next_back().unwrap()),
                    fields: String::new(),
                }),
            }
        }
        recorded
    };
    files.iter().map(|path| (path.display().to_string(), read(path))).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// What the recordings have shown.
#[derive(Default)]
struct Seen {
    /// Operations asked for, inside a multi or alone.
    requests: BTreeSet<i32>,
    /// Operations answered with success, inside a multi or alone.
    successes: BTreeSet<i32>,
    /// Error codes by operation.
    errors: BTreeMap<i32, BTreeSet<i32>>,
    /// Types of events.
    events: BTreeSet<i32>,
    /// Handshakes: with the last byte or without, granted or not.
    handshakes: BTreeSet<(bool, bool)>,
    undecodable: usize,
}

/// Decodes one record from the front of `reader`, encodes it behind `again`, returns its fields.
fn pass<'a, T: Decode<'a> + Encode + Record>(
    reader: &mut Reader<'a>,
    again: &mut Vec<u8>,
) -> Result<String, DecodeError> {
    let record: T = reader.get()?;
    record.encode(again);
    Ok(text(&record))
}

fn request_body(
    op: OpCode,
    reader: &mut Reader<'_>,
    again: &mut Vec<u8>,
    seen: &mut Seen,
) -> Result<String, DecodeError> {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
            pass::<CreateRequest<'_>>(reader, again)
        }
        OpCode::CreateTtl => pass::<CreateTtlRequest<'_>>(reader, again),
        OpCode::Delete | OpCode::Check => pass::<PathVersionRequest<'_>>(reader, again),
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
            pass::<WatchableRequest<'_>>(reader, again)
        }
        OpCode::SetData => pass::<SetDataRequest<'_>>(reader, again),
        OpCode::SetAcl => pass::<SetAclRequest<'_>>(reader, again),
        OpCode::GetAcl
        | OpCode::Sync
        | OpCode::DeleteContainer
        | OpCode::GetEphemerals
        | OpCode::GetAllChildrenNumber => pass::<PathRequest<'_>>(reader, again),
        OpCode::Reconfig => pass::<ReconfigRequest<'_>>(reader, again),
        OpCode::CheckWatches | OpCode::RemoveWatches => pass::<WatchesRequest<'_>>(reader, again),
        OpCode::Auth => pass::<AuthPacket<'_>>(reader, again),
        OpCode::SetWatches => pass::<SetWatchesRequest<'_>>(reader, again),
        OpCode::SetWatches2 => pass::<SetWatches2Request<'_>>(reader, again),
        OpCode::Sasl => pass::<SaslRequest<'_>>(reader, again),
        OpCode::AddWatch => pass::<AddWatchRequest<'_>>(reader, again),
        OpCode::Multi | OpCode::MultiRead => {
            let multi: MultiRequest<'_> = reader.get()?;
            multi.encode(again);
            seen.requests.extend(multi.ops.iter().map(|op| op.code().to_wire()));
            let ops = multi.ops.iter().map(|op| {
                let header = text(&MultiHeader::request(op.code()));
                let body = match op {
                    MultiOp::Create(_, body) => text(body),
                    MultiOp::CreateTtl(body) => text(body),
                    MultiOp::Delete(body) | MultiOp::Check(body) => text(body),
                    MultiOp::SetData(body) => text(body),
                    MultiOp::GetChildren(body) | MultiOp::GetData(body) => text(body),
                };
                format!("[{header} | {body}] ")
            });
            Ok(ops.collect::<String>() + "[-1,T,-1]")
        }
        OpCode::Ping | OpCode::WhoAmI | OpCode::CloseSession => Ok(String::new()),
        OpCode::CreateSession => panic!("the handshake asks for a session, no request does"),
    }
}

fn reply_body(op: OpCode, reader: &mut Reader<'_>, again: &mut Vec<u8>, seen: &mut Seen) -> String {
    let passed = match op {
        OpCode::Create | OpCode::Sync => pass::<PathReply<'_>>(reader, again),
        OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            pass::<Create2Reply<'_>>(reader, again)
        }
        OpCode::Exists | OpCode::SetData | OpCode::SetAcl => pass::<StatReply>(reader, again),
        OpCode::GetData | OpCode::Reconfig => pass::<GetDataReply<'_>>(reader, again),
        OpCode::GetAcl => pass::<GetAclReply>(reader, again),
        OpCode::GetChildren => pass::<GetChildrenReply<'_>>(reader, again),
        OpCode::GetChildren2 => pass::<GetChildren2Reply<'_>>(reader, again),
        OpCode::Sasl => pass::<SaslReply<'_>>(reader, again),
        OpCode::GetEphemerals => pass::<GetEphemeralsReply<'_>>(reader, again),
        OpCode::GetAllChildrenNumber => pass::<GetAllChildrenNumberReply>(reader, again),
        OpCode::AddWatch => pass::<ErrorReply>(reader, again),
        OpCode::WhoAmI => pass::<WhoAmIReply>(reader, again),
        OpCode::Multi | OpCode::MultiRead => return results(reader, again, seen),
        _ => Ok(String::new()),
    };
    passed.unwrap_or_else(|error| panic!("reply to {op:?}: {error}"))
}

/// The results of a multi: small headers, each with the body of a reply or an error code.
fn results(reader: &mut Reader<'_>, again: &mut Vec<u8>, seen: &mut Seen) -> String {
    let mut out = String::new();
    loop {
        let header: MultiHeader = reader.get().unwrap();
        header.encode(again);
        out.push_str(&format!("[{}", text(&header)));
        if header.done {
            return out + "]";
        }
        let body = match OpCode::from_wire(header.op) {
            Some(op) => {
                seen.successes.insert(header.op);
                reply_body(op, reader, again, seen)
            }
            None => {
                seen.errors.entry(OpCode::Multi.to_wire()).or_default().insert(header.err);
                pass::<ErrorReply>(reader, again).unwrap()
            }
        };
        out.push_str(&format!(" | {body}] "));
    }
}

/// A handshake, in the form that Apache's classes print it.
fn handshake(request: bool, body: &[u8], again: &mut Vec<u8>, seen: &mut Seen) -> String {
    let reader = &mut Reader::new(body);
    let (old, fields) = if request {
        let record: ConnectRequest<'_> = reader.get().unwrap();
        record.encode(again);
        (record.read_only.is_none(), text(&record))
    } else {
        let record: ConnectResponse = reader.get().unwrap();
        record.encode(again);
        seen.handshakes.insert((record.read_only.is_some(), record.session.0 != 0));
        (record.read_only.is_none(), text(&record))
    };
    assert_eq!(reader.remaining(), 0);
    format!("{}connect: {fields}", if old { "old " } else { "" })
}

/// One frame: its fields, and what the same record encodes to.
fn frame(
    request: bool,
    body: &[u8],
    operations: &mut BTreeMap<i32, i32>,
    seen: &mut Seen,
    again: &mut Vec<u8>,
) -> String {
    let reader = &mut Reader::new(body);
    if request {
        let header: RequestHeader = reader.get().unwrap();
        header.encode(again);
        operations.insert(header.xid, header.op);
        seen.requests.insert(header.op);
        let op = OpCode::from_wire(header.op).unwrap();
        let rest = reader.rest();
        let fields = request_body(op, reader, again, seen).unwrap_or_else(|_| {
            seen.undecodable += 1;
            again.extend_from_slice(rest);
            "undecodable".to_owned()
        });
        return format!("{}: {} | {fields}", header.op, text(&header));
    }
    let header: ReplyHeader = reader.get().unwrap();
    header.encode(again);
    if header.xid == -1 {
        let event: WatcherEvent<'_> = reader.get().unwrap();
        event.encode(again);
        seen.events.insert(event.kind);
        return format!("event: {} | {}", text(&header), text(&event));
    }
    // Pings and auth packets are answered with numbers of their own, whatever they carried.
    let op = match header.xid {
        -2 => OpCode::Ping.to_wire(),
        -4 => OpCode::Auth.to_wire(),
        xid => operations[&xid],
    };
    if header.err != 0 {
        seen.errors.entry(op).or_default().insert(header.err);
        let ignored = if op == OpCode::MultiRead.to_wire() { reader.rest() } else { &[] };
        again.extend_from_slice(ignored);
        return format!("{op}: {}", text(&header));
    }
    seen.successes.insert(op);
    let fields = reply_body(OpCode::from_wire(op).unwrap(), reader, again, seen);
    format!("{op}: {} | {fields}", text(&header))
}

/// Passes every recorded frame through our records.
fn read_the_wire() -> Seen {
    let mut seen = Seen::default();
    for (file, recorded) in recordings("wire") {
        let mut shaken: BTreeSet<String> = BTreeSet::new();
        let mut operations: BTreeMap<String, BTreeMap<i32, i32>> = BTreeMap::new();
        assert!(recorded.len() > 10, "{file}: a recording");
        for Recorded { line, bytes, fields } in recorded {
            let parts: Vec<&str> = line.split(' ').collect();
            let [connection, arrow, _] = parts[..] else { panic!("{file}: {line}") };
            let (length, body) = bytes.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_be_bytes(*length) as usize, body.len(), "{file}: {line}");
            let mut again = Vec::new();
            let found = if shaken.insert(format!("{connection} {arrow}")) {
                handshake(arrow == ">", body, &mut again, &mut seen)
            } else {
                let operations = operations.entry(connection.to_owned()).or_default();
                frame(arrow == ">", body, operations, &mut seen, &mut again)
            };
            assert_eq!(found.trim_end(), fields.trim_end(), "{file}: {line}");
            assert_eq!(again, body, "{file}: {line}");
        }
    }
    seen
}

#[test]
fn frames_keep_their_fields_and_bytes() {
    let seen = read_the_wire();
    let (mut unasked, mut unanswered) = (Vec::new(), Vec::new());
    for &op in OpCode::ALL {
        if op == OpCode::CreateSession {
            continue; // The handshake stands for it.
        }
        if !seen.requests.contains(&op.to_wire()) {
            unasked.push(op);
        }
        if !seen.successes.contains(&op.to_wire()) {
            unanswered.push(op);
        }
    }
    assert_eq!(unasked, [], "operations without a recorded request");
    // Apache answers every kind of create with a stat alike inside a multi.
    assert_eq!(unanswered, [], "operations without a recorded success");
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    assert_eq!(seen.handshakes, kinds.into(), "handshakes: last byte or not, granted or not");
    assert_eq!(seen.events, [1, 2, 3, 4].into(), "types of events");
    assert_eq!(seen.undecodable, 1, "one request is cut short");
}

#[test]
fn errors_are_recorded_for_every_operation_that_has_any() {
    let seen = read_the_wire();
    let expected: &[(OpCode, &[i32])] = &[
        (OpCode::Create, &[-5, -8, -101, -108, -110, -114]),
        (OpCode::Delete, &[-101, -103, -111]),
        (OpCode::Exists, &[-101]),
        (OpCode::GetData, &[-5, -101, -102]),
        (OpCode::SetData, &[-101, -103]),
        (OpCode::GetAcl, &[-101]),
        (OpCode::SetAcl, &[-103, -114]),
        (OpCode::GetChildren, &[-101]),
        (OpCode::GetChildren2, &[-101]),
        (OpCode::Check, &[-6]),
        (OpCode::Multi, &[-2, -5, -103, -110]),
        (OpCode::Create2, &[-110]),
        (OpCode::Reconfig, &[-8, -103, -123]),
        (OpCode::CheckWatches, &[-121]),
        (OpCode::RemoveWatches, &[-121]),
        (OpCode::CreateContainer, &[-110]),
        (OpCode::DeleteContainer, &[-101]),
        (OpCode::CreateTtl, &[-101]),
        (OpCode::MultiRead, &[-5]),
        (OpCode::Auth, &[-115]),
        (OpCode::GetAllChildrenNumber, &[-101]),
        (OpCode::SetWatches2, &[-5]),
    ];
    for (op, codes) in expected {
        let recorded = seen.errors.get(&op.to_wire()).cloned().unwrap_or_default();
        for code in *codes {
            assert!(recorded.contains(code), "{op:?}: {code} is not among {recorded:?}");
        }
    }
}

/// A name for every kind: a new one does not compile until it stands here.
fn name(txn: &Txn<'_>) -> &'static str {
    match txn {
        Txn::CreateSession(_) => "createSession",
        Txn::CloseSession(None) => "closeSession without a list",
        Txn::CloseSession(Some(paths)) if paths.is_empty() => "closeSession of nothing",
        Txn::CloseSession(Some(_)) => "closeSession",
        Txn::Error(_) => "error",
        Txn::Create(body) if body.ephemeral => "create ephemeral",
        Txn::Create(_) => "create",
        Txn::Create2(_) => "create2",
        Txn::CreateContainer(_) => "createContainer",
        Txn::CreateTtl(_) => "createTTL",
        Txn::Delete(_) => "delete",
        Txn::DeleteContainer(_) => "deleteContainer",
        Txn::SetData(_) => "setData",
        Txn::Reconfig(_) => "reconfig",
        Txn::SetAcl(_) => "setACL",
        Txn::Check(_) => "check",
        Txn::Multi(_) if txn.is_failed_multi() => "failed multi",
        Txn::Multi(_) => "multi",
    }
}

#[test]
fn transactions_keep_their_fields_and_bytes() {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (file, recorded) in recordings("txnlog") {
        for Recorded { line, bytes, fields } in recorded {
            let (header, body, digest) = txn::decode_payload(&bytes).expect(&line);
            let mut found = format!("{}: {} | {}", header.kind, text(&header), text(&body));
            found.push_str(" | ");
            found.push_str(&digest.map_or("no digest".to_owned(), |digest| text(&digest)));
            seen.insert(name(&body).to_owned());
            if let Txn::Multi(members) = &body {
                for member in members {
                    found.push_str(&format!(" [{}: {}]", member.kind(), text(member)));
                    seen.insert(format!("member {}", name(member)));
                }
            }
            assert_eq!(found, fields, "{file}: {line}");
            let mut again = Vec::new();
            txn::encode_payload(&header, &body, digest, &mut again);
            assert_eq!(again, bytes, "{file}: {line}");
        }
    }
    let expected = [
        "closeSession",
        "closeSession of nothing",
        "create",
        "create ephemeral",
        "create2",
        "createContainer",
        "createSession",
        "createTTL",
        "delete",
        "deleteContainer",
        "error",
        "failed multi",
        "multi",
        "reconfig",
        "setACL",
        "setData",
    ];
    for name in expected {
        assert!(seen.contains(name), "no {name} among {seen:?}");
    }
    let members = [
        "check",
        "create",
        "create2",
        "createContainer",
        "createTTL",
        "delete",
        "error",
        "setData",
    ];
    for member in members {
        assert!(seen.contains(&format!("member {member}")), "no {member} in a multi: {seen:?}");
    }
}

/// Bytes that end too soon are refused, or mean something shorter; nothing panics.
#[test]
fn cut_short_is_never_the_same() {
    for (file, recorded) in recordings("txnlog") {
        for Recorded { line, bytes, .. } in recorded {
            for end in 0..bytes.len() {
                if let Ok((header, body, digest)) = txn::decode_payload(&bytes[..end]) {
                    let mut again = Vec::new();
                    txn::encode_payload(&header, &body, digest, &mut again);
                    assert_ne!(again, bytes, "{file}: {line}");
                }
            }
        }
    }
    for (_, recorded) in recordings("wire") {
        for Recorded { bytes, .. } in recorded {
            for end in 0..bytes.len().saturating_sub(4) {
                let body = &bytes[4..4 + end];
                // Whatever the operation, any record may be tried on any bytes.
                for &op in OpCode::ALL.iter().filter(|&&op| op != OpCode::CreateSession) {
                    let (mut again, mut seen) = (Vec::new(), Seen::default());
                    let _ = request_body(op, &mut Reader::new(body), &mut again, &mut seen);
                }
                let _ = Reader::new(body).get::<ConnectRequest<'_>>();
            }
        }
    }
}
