//! Streams of the ports between servers: the same is read however the bytes are cut into pieces, and
//! no bytes make a stream panic, or keep what it has no use for.

use bytes::Bytes;
use oxikeeper_proto::quorum::limits::FIELD_BYTES_MAX_DEFAULT;
use oxikeeper_proto::quorum::{
    ElectionItem, ElectionStream, ForwardedRequest, InitialMessage, LearnerInfo, Notification,
    PacketKind, QuorumPacket, QuorumStream, ServerState, SnapshotSender, StreamError,
};
use oxikeeper_proto::replay::{Discard, ReplayFault, SnapshotSink};
use oxikeeper_proto::snapshot::{SnapshotError, SnapshotParser};
use oxikeeper_proto::{
    Acl, DecodeError, Encode, Id, ServerId, SessionId, StatPersisted, Zxid, jute::to_bytes,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// What a stream has said, in one order.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Packet(QuorumPacket),
    Session(SessionId, i32),
    Acl(i64, Vec<Acl>),
    Node(String, Option<Vec<u8>>, i64, StatPersisted),
    SnapshotEnd,
}

struct Collect<'a>(&'a mut Vec<Said>);

impl SnapshotSink for Collect<'_> {
    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), ReplayFault> {
        self.0.push(Said::Session(id, timeout_ms));
        Ok(())
    }
    fn acl(&mut self, id: i64, acl: Vec<Acl>) -> Result<(), ReplayFault> {
        self.0.push(Said::Acl(id, acl));
        Ok(())
    }
    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), ReplayFault> {
        self.0.push(Said::Node(path.to_owned(), data.map(<[u8]>::to_vec), acl_id, *stat));
        Ok(())
    }
}

/// Feeds the pieces and collects everything that is said.
fn read(mut stream: QuorumStream, pieces: &[&[u8]]) -> Result<Vec<Said>, StreamError> {
    let mut said = Vec::new();
    for piece in pieces {
        stream.feed(piece);
        loop {
            if stream.is_in_snapshot() {
                if !stream.snapshot(&mut Collect(&mut said))? {
                    break;
                }
                said.push(Said::SnapshotEnd);
            }
            match stream.next_packet()? {
                Some(packet) => said.push(Said::Packet(packet)),
                None if stream.is_in_snapshot() => {}
                None => break,
            }
        }
    }
    Ok(said)
}

fn of_leader() -> QuorumStream {
    QuorumStream::of_leader(FIELD_BYTES_MAX_DEFAULT)
}

/// Cuts at these places, whatever they are.
fn cut<'a>(bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn packets() -> impl Strategy<Value = Said> {
    let data = option::of(vec(any::<u8>(), 0..80).prop_map(Bytes::from));
    let ids = option::of(vec(("[a-z]{0,6}", "\\PC{0,9}").prop_map(|(s, i)| Id::new(s, i)), 0..3));
    let kind = (1i32..22).prop_filter("it begins a snapshot", |&kind| kind != 15);
    (kind, any::<i64>(), data, ids).prop_map(|(kind, zxid, data, authinfo)| {
        let (kind, zxid) = (PacketKind::from_wire(kind), Zxid::from_wire(zxid));
        Said::Packet(QuorumPacket { kind, zxid, data, authinfo })
    })
}

fn acls() -> impl Strategy<Value = Vec<Acl>> {
    let entry = (any::<i32>(), "[a-z]{0,5}", "\\PC{0,5}");
    vec(entry.prop_map(|(perms, scheme, id)| Acl { perms, id: Id::new(scheme, id) }), 0..4)
}

fn nodes() -> impl Strategy<Value = Said> {
    let stat = (any::<u64>(), any::<i64>(), any::<i32>()).prop_map(|(zxid, time, version)| {
        let zxid = Zxid::new(zxid);
        StatPersisted { czxid: zxid, mtime: time, cversion: version, ..StatPersisted::default() }
    });
    ("(/[a-z]{1,4}){0,3}", option::of(vec(any::<u8>(), 0..99)), any::<i64>(), stat)
        .prop_map(|(path, data, acl, stat)| Said::Node(path, data, acl, stat))
}

/// A snapshot with everything around it.
fn snapshots() -> impl Strategy<Value = Vec<Said>> {
    let sessions = vec(
        (any::<i64>(), any::<i32>()).prop_map(|(id, ms)| Said::Session(SessionId(id), ms)),
        0..4,
    );
    let acls = vec((any::<i64>(), acls()).prop_map(|(id, acl)| Said::Acl(id, acl)), 0..4);
    (any::<i64>(), sessions, acls, vec(nodes(), 0..6)).prop_map(|(zxid, sessions, acls, nodes)| {
        let snap = Said::Packet(QuorumPacket::snap(Zxid::from_wire(zxid)));
        [vec![snap], sessions, acls, nodes, vec![Said::SnapshotEnd]].concat()
    })
}

/// The bytes that say this, written independently of the parser.
fn bytes_of(said: &[Said]) -> Vec<u8> {
    let mut out = Vec::new();
    let count = |is: fn(&Said) -> bool| said.iter().filter(|said| is(said)).count() as i32;
    let mut sender = None;
    let mut part = Vec::new();
    for (at, one) in said.iter().enumerate() {
        match one {
            Said::Packet(packet) if packet.kind == PacketKind::Snap => {
                sender = Some(SnapshotSender::begin(packet.zxid, &mut out));
                part.extend_from_slice(b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff");
                count(|said| matches!(said, Said::Session(..))).encode(&mut part);
            }
            Said::Packet(packet) => packet.encode(&mut out),
            Said::Session(id, timeout_ms) => {
                id.encode(&mut part);
                timeout_ms.encode(&mut part);
            }
            Said::Acl(id, acl) => {
                id.encode(&mut part);
                acl.encode(&mut part);
            }
            Said::Node(path, data, acl, stat) => {
                path.encode(&mut part);
                data.as_deref().encode(&mut part);
                acl.encode(&mut part);
                stat.encode(&mut part);
            }
            Said::SnapshotEnd => {
                let mut sender = sender.take().expect("it has begun");
                "/".encode(&mut part);
                let (head, tail) = part.split_at(part.len().min(7));
                out.extend_from_slice(sender.part(head));
                out.extend_from_slice(sender.part(tail));
                part.clear();
                sender.end(&mut out);
            }
        }
        let is_session = |said: &Said| {
            matches!(said, Said::Session(..))
                || matches!(said, Said::Packet(packet) if packet.kind == PacketKind::Snap)
        };
        if sender.is_some() && is_session(one) && !is_session(&said[at + 1]) {
            count(|said| matches!(said, Said::Acl(..))).encode(&mut part);
        }
    }
    out
}

proptest! {
    #[test]
    fn a_leaders_stream_survives_any_cut(
        before in vec(packets(), 0..3), snapshot in snapshots(), after in vec(packets(), 0..5),
        places in vec(any::<usize>(), 0..20)
    ) {
        let said = [before, snapshot, after].concat();
        let bytes = bytes_of(&said);
        prop_assert_eq!(read(of_leader(), &cut(&bytes, &places)), Ok(said.clone()));
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(read(of_leader(), &single), Ok(said));
    }

    #[test]
    fn a_learners_stream_survives_any_cut(
        said in vec(packets(), 0..6), places in vec(any::<usize>(), 0..20)
    ) {
        let bytes = bytes_of(&said);
        let stream = QuorumStream::of_learner(FIELD_BYTES_MAX_DEFAULT);
        prop_assert_eq!(read(stream, &cut(&bytes, &places)), Ok(said));
    }

    #[test]
    fn an_election_stream_survives_any_cut(
        server in 0..i64::MAX, frames in vec(vec(any::<u8>(), 1..70), 0..5), is_bare in any::<bool>(),
        places in vec(any::<usize>(), 0..12)
    ) {
        let mut bytes = Vec::new();
        let mut items = vec![];
        let address = || "[::1]:3888".parse().expect("an address");
        let message = if is_bare {
            InitialMessage::Bare(ServerId(server))
        } else {
            InitialMessage::V1 { server: ServerId(server), addresses: vec![address()] }
        };
        message.encode(&mut bytes);
        items.push(ElectionItem::Initial(message));
        for frame in frames {
            (frame.len() as i32).encode(&mut bytes);
            bytes.extend_from_slice(&frame);
            items.push(ElectionItem::Frame(frame.into()));
        }
        let mut stream = ElectionStream::accepted();
        let mut found = Vec::new();
        for piece in cut(&bytes, &places) {
            stream.feed(piece);
            while let Some(item) = stream.next().expect("it is sound") {
                found.push(item);
            }
        }
        prop_assert_eq!(found, items);
    }

    #[test]
    fn no_bytes_make_a_stream_panic(
        kind in 0i32..21, bytes in vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..200),
        places in vec(any::<usize>(), 0..9)
    ) {
        for start in [to_bytes(&kind), QuorumPacket::snap(Zxid::ZERO).to_bytes().to_vec()] {
            let bytes = [start, bytes.clone()].concat();
            let whole = read(of_leader(), &[&bytes]);
            let pieces = read(of_leader(), &cut(&bytes, &places));
            prop_assert_eq!(whole.is_ok(), pieces.is_ok(), "the pieces do not matter");
            for mut stream in [ElectionStream::accepted(), ElectionStream::opened()] {
                stream.feed(&bytes);
                while let Ok(Some(_)) = stream.next() {}
            }
        }
    }
}

#[test]
fn a_notification_comes_through_a_stream() {
    let notification = Notification {
        state: ServerState::Looking,
        leader: ServerId(1),
        zxid: Notification::NO_VOTE,
        election_epoch: 1,
        peer_epoch: Notification::NO_VOTE,
        version: 2,
        config: Some(Bytes::from_static(b"version=0")),
    };
    let mut bytes = Vec::new();
    notification.encode_frame(&mut bytes);
    let mut stream = ElectionStream::opened();
    stream.feed(&bytes);
    let Ok(Some(ElectionItem::Frame(frame))) = stream.next() else { panic!("a frame") };
    assert_eq!(Notification::decode(&frame), Ok(notification));
    assert_eq!(stream.next(), Ok(None));
}

#[test]
fn frames_of_impossible_length() {
    for length in [0, -1, i32::MIN, 524_289, i32::MAX] {
        let mut stream = ElectionStream::opened();
        stream.feed(&to_bytes(&length));
        let length = i64::from(length);
        let what = "frame of the election port";
        let refused = DecodeError::TooLong { what, length, max: 524_288 };
        assert_eq!(stream.next(), Err(refused.into()));
    }
    let mut stream = ElectionStream::opened();
    stream.feed(&to_bytes(&524_288));
    assert_eq!(stream.next(), Ok(None), "as long as may be");
}

#[test]
fn fields_of_impossible_length() {
    let packet = QuorumPacket::request(&ForwardedRequest {
        session: SessionId(1),
        cxid: 1,
        op: 1,
        body: Bytes::from(vec![0; 84]),
        authinfo: Some(vec![Id::new("digest", "x".repeat(20)), Id::new("ip", "y".repeat(20))]),
    });
    let bytes = packet.to_bytes();
    assert_eq!(read(QuorumStream::of_learner(100), &[&bytes]), Ok(vec![Said::Packet(packet)]));
    let refused = |field_bytes_max: usize, bytes: &[u8]| {
        let read = read(QuorumStream::of_learner(field_bytes_max), &[bytes]);
        let Err(StreamError::Record(error)) = read else { panic!("{read:?}") };
        error
    };
    assert!(matches!(refused(99, &bytes), DecodeError::TooLong { length: 100, max: 99, .. }));
    // The length is enough; nobody waits for the bytes.
    assert!(matches!(refused(99, &bytes[..16]), DecodeError::TooLong { .. }));
    let mut bytes = bytes.to_vec();
    bytes[12..16].copy_from_slice(&(-2i32).to_be_bytes());
    assert_eq!(refused(100, &bytes[..16]), DecodeError::NegativeLength { length: -2 });
    let many = QuorumPacket {
        authinfo: Some(vec![Id::new("x".repeat(50), "y".repeat(50)); 9]),
        ..QuorumPacket::sync()
    };
    assert!(matches!(refused(100, &many.to_bytes()), DecodeError::TooLong { max: 200, .. }));
    let mut endless = QuorumPacket::sync().to_bytes().to_vec();
    endless[16..20].copy_from_slice(&i32::MAX.to_be_bytes());
    assert_eq!(read(QuorumStream::of_learner(100), &[&endless]), Ok(vec![]), "it may yet come");
}

/// The bytes of a snapshot without the SNAP packet and the signature.
fn snapshot_bytes(nodes: &[Said]) -> Vec<u8> {
    let snap = Said::Packet(QuorumPacket::snap(Zxid::ZERO));
    let all = [&[snap], nodes, &[Said::SnapshotEnd]].concat();
    let bytes = bytes_of(&all);
    bytes[20..bytes.len() - 14].to_vec()
}

#[test]
fn snapshots_that_cannot_be() {
    let root = Said::Node(String::new(), None, -1, StatPersisted::default());
    let acl = Said::Acl(1, vec![Acl::open(), Acl::open()]);
    let sound = snapshot_bytes(&[Said::Session(SessionId(1), 5), acl, root]);
    let parse = |field_bytes_max: usize, bytes: &[u8]| {
        let mut parser = SnapshotParser::new(field_bytes_max);
        let taken = parser.parse(bytes, &mut Discard)?;
        Ok::<_, SnapshotError>((taken, parser.is_done(), parser.bytes_wanted()))
    };
    assert_eq!(parse(100, &sound), Ok((sound.len(), true, 0)));
    assert_eq!(parse(40, &sound), Err(SnapshotError::AclLength(40)));
    assert_eq!(
        parse(10, &sound),
        Ok((sound.len(), true, 0)).and(Err(SnapshotError::AclLength(10)))
    );
    assert_eq!(parse(5, &sound), Err(SnapshotError::FieldLength(6)));
    for cut in 0..sound.len() {
        let (taken, is_done, wanted) = parse(100, &sound[..cut]).expect("what is there is sound");
        assert!(!is_done && taken + wanted > cut, "{cut}: {taken} taken, {wanted} wanted");
    }
    let head = [0; 8];
    let null_path = [&head[..], &[0xff; 4]].concat();
    assert_eq!(parse(100, &null_path), Err(SnapshotError::NoPath));
    let negative = [&head[..], &[0xfe; 4]].concat();
    assert_eq!(parse(100, &negative), Err(SnapshotError::FieldLength(0xfefe_fefe_u32 as i32)));
    let unsigned =
        [&QuorumPacket::snap(Zxid::ZERO).to_bytes(), &sound[..], b"\0\0\0\x0aBenWasNever"].concat();
    assert_eq!(read(of_leader(), &[&unsigned]), Err(StreamError::Signature));
}

#[test]
fn a_snap_packet_from_a_learner_is_a_packet() {
    let bytes =
        [QuorumPacket::snap(Zxid::ZERO).to_bytes(), QuorumPacket::sync().to_bytes()].concat();
    let said = read(QuorumStream::of_learner(100), &[&bytes]).expect("two packets");
    assert_eq!(said.len(), 2);
    let info = LearnerInfo::new(ServerId(2), 0);
    let bytes = QuorumPacket::follower_info(3, &info).to_bytes();
    let said = read(QuorumStream::of_learner(100), &[&bytes]).expect("a packet");
    let [Said::Packet(packet)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((packet.learner_info(), packet.zxid.epoch()), (Ok(info), 3));
}
