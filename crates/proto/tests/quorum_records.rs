//! Records of the ports between servers: whatever is written reads back, and no bytes make a decoder
//! panic or take what cannot be.

use bytes::Bytes;
use oxikeeper_proto::quorum::initial_message::HostPort;
use oxikeeper_proto::quorum::{
    ForwardedRequest, InitialMessage, LearnerInfo, Notification, PacketKind, QuorumPacket,
    ServerState,
};
use oxikeeper_proto::{
    Decode, DecodeError, Encode, Id, Reader, ServerId, SessionId, Zxid, jute::to_bytes,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

fn ids() -> impl Strategy<Value = Option<Vec<Id>>> {
    option::of(vec(("[a-z]{0,6}", "\\PC{0,12}").prop_map(|(s, i)| Id::new(s, i)), 0..4))
}

fn packets() -> impl Strategy<Value = QuorumPacket> {
    (-2i32..24, any::<i64>(), option::of(bytes()), ids()).prop_map(
        |(kind, zxid, data, authinfo)| {
            let (kind, zxid) = (PacketKind::from_wire(kind), Zxid::from_wire(zxid));
            QuorumPacket { kind, zxid, data, authinfo }
        },
    )
}

fn notifications() -> impl Strategy<Value = Notification> {
    let numbers = (any::<i64>(), any::<i64>(), any::<i64>(), any::<i64>());
    (0i32..4, numbers, prop_oneof![Just(0), Just(1), 2i32..9], bytes()).prop_map(
        |(state, (leader, zxid, election_epoch, peer_epoch), version, config)| Notification {
            state: ServerState::from_wire(state).expect("0 to 3"),
            leader: ServerId(leader),
            zxid,
            election_epoch,
            peer_epoch,
            version,
            config: Some(config).filter(|_| version > 1),
        },
    )
}

fn initial_messages() -> impl Strategy<Value = InitialMessage> {
    let host = prop_oneof![
        Just("::1".to_owned()),
        Just("0.0.0.0".to_owned()),
        "[a-z0-9.-]{1,20}".prop_map(|name| name)
    ];
    let address = (host, any::<u16>()).prop_map(|(host, port)| HostPort { host, port });
    (0i32..3, any::<i64>(), vec(address, 1..5)).prop_map(|(form, server, addresses)| match form {
        0 => InitialMessage::Bare(ServerId(server & i64::MAX)),
        1 => InitialMessage::V1 { server: ServerId(server), addresses },
        _ => InitialMessage::V2 { server: ServerId(server), addresses },
    })
}

proptest! {
    #[test]
    fn packets_survive(packet in packets()) {
        let bytes = packet.to_bytes();
        prop_assert_eq!(bytes.len(), packet.encoded_len());
        prop_assert_eq!(QuorumPacket::from_bytes(&bytes), Ok(packet.clone()));
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(QuorumPacket::decode(&mut reader), Ok(packet));
        prop_assert_eq!(reader.remaining(), 0);
        for cut in 0..bytes.len() {
            let is_cut = QuorumPacket::from_bytes(&bytes.slice(..cut));
            prop_assert!(is_cut.is_err(), "a packet cut to {} bytes is {:?}", cut, is_cut);
        }
    }

    #[test]
    fn payloads_survive(
        session in any::<i64>(), number in any::<i32>(), zxid in any::<i64>(), epoch in 0..u32::MAX,
        body in bytes(), authinfo in ids(),
        touches in vec((any::<i64>().prop_map(SessionId), any::<i32>()), 0..9)
    ) {
        let (session, server, zxid) = (SessionId(session), ServerId(session), Zxid::from_wire(zxid));
        let info = LearnerInfo { server, protocol_version: number, config_version: zxid.to_wire() };
        for packet in
            [QuorumPacket::follower_info(epoch, &info), QuorumPacket::observer_info(epoch, &info)]
        {
            prop_assert_eq!(packet.learner_info(), Ok(info));
            prop_assert_eq!((packet.zxid.epoch(), packet.zxid.counter()), (epoch, 0));
        }
        let packet = QuorumPacket::ack_epoch(zxid, Some(epoch));
        prop_assert_eq!(packet.current_epoch(), Ok(Some(epoch)));
        prop_assert_eq!(QuorumPacket::ack_epoch(zxid, None).current_epoch(), Ok(None));
        prop_assert_eq!(QuorumPacket::ping_reply(zxid, &touches).touches(), Ok(touches));
        let packet = QuorumPacket::revalidate(session, number);
        prop_assert_eq!(packet.revalidated(), Ok((session, number)));
        let packet = QuorumPacket::revalidate_reply(session, number > 0);
        prop_assert_eq!(packet.revalidation(), Ok((session, number > 0)));
        let packet = QuorumPacket::commit_and_activate(zxid, server);
        prop_assert_eq!(packet.designated_leader(), Ok(server));
        let packet = QuorumPacket::inform_and_activate(zxid, server, &body);
        prop_assert_eq!(packet.inform_and_activate_parts(), Ok((server, body.clone())));
        let request = ForwardedRequest { session, cxid: number, op: -number, body, authinfo };
        prop_assert_eq!(QuorumPacket::request(&request).forwarded_request(), Ok(request));
    }

    #[test]
    fn notifications_survive(notification in notifications()) {
        let bytes = to_bytes(&notification);
        let is_3_4 = bytes.len() == 40;
        let expected = Notification {
            version: if is_3_4 { 0 } else { notification.version }, ..notification.clone()
        };
        prop_assert_eq!(Notification::decode(&bytes), Ok(expected));
        let mut frame = Vec::new();
        notification.encode_frame(&mut frame);
        prop_assert_eq!(&frame[..4], &(bytes.len() as u32).to_be_bytes());
        prop_assert_eq!(&frame[4..], &bytes[..]);
        for cut in (0..bytes.len()).filter(|&cut| cut != 28 && cut != 40) {
            prop_assert!(Notification::decode(&bytes[..cut]).is_err(), "{}", cut);
        }
    }

    #[test]
    fn initial_messages_survive(message in initial_messages()) {
        let bytes = to_bytes(&message);
        prop_assert_eq!(InitialMessage::decode(&bytes), Ok(message));
        for cut in 0..bytes.len() {
            prop_assert!(InitialMessage::decode(&bytes[..cut]).is_err(), "{}", cut);
            let needed = InitialMessage::bytes_needed(&bytes[..cut]).expect("it is sound");
            prop_assert!(cut < needed && needed <= bytes.len());
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..120)) {
        let whole = Bytes::from(bytes.clone());
        let _ = QuorumPacket::from_bytes(&whole);
        let _ = Notification::decode(&bytes);
        let _ = InitialMessage::bytes_needed(&bytes);
        let _ = InitialMessage::decode(&bytes);
        let packet = QuorumPacket::proposal(Zxid::ZERO, whole);
        let _ = packet.learner_info();
        let _ = packet.leader_protocol_version();
        let _ = packet.current_epoch();
        let _ = packet.txn_header();
        let _ = packet.inform_and_activate_parts();
        let _ = packet.forwarded_request();
        let _ = packet.touches();
        let _ = packet.revalidated();
        let _ = packet.revalidation();
    }
}

#[test]
fn kinds_are_those_of_the_protocol() {
    assert_eq!(PacketKind::ALL.len(), 19);
    for (kind, code) in PacketKind::ALL.iter().zip(1..) {
        assert_eq!((kind.to_wire(), PacketKind::from_wire(code)), (code, *kind));
    }
    assert_eq!(PacketKind::from_wire(20), PacketKind::Unknown(20));
    assert_eq!(PacketKind::Unknown(-7).to_wire(), -7);
}

#[test]
fn a_packet_without_payload_has_twenty_bytes() {
    let bytes = QuorumPacket::up_to_date().to_bytes();
    assert_eq!(bytes.len(), 20);
    assert_eq!(
        bytes[..],
        *b"\0\0\0\x0c\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
    );
}

#[test]
fn learners_of_all_ages_say_who_they_are() {
    let mut data = Vec::new();
    LearnerInfo::new(ServerId(3), 0x2_0000_0005).encode(&mut data);
    let read = |length: usize| Reader::new(&data[..length]).get::<LearnerInfo>();
    let old = LearnerInfo { server: ServerId(3), protocol_version: 1, config_version: 0 };
    assert_eq!(read(8), Ok(old));
    assert_eq!(read(12), Ok(LearnerInfo { protocol_version: 0x10000, ..old }));
    assert_eq!(read(20), Ok(LearnerInfo::new(ServerId(3), 0x2_0000_0005)));
    assert_eq!(read(7), Err(DecodeError::Truncated { missing: 1 }));
}

#[test]
fn payloads_that_cannot_be() {
    let packet = |data: &[u8]| {
        QuorumPacket::with_data(PacketKind::Ping, Zxid::ZERO, Bytes::copy_from_slice(data))
    };
    let null = QuorumPacket::bare(PacketKind::Ping, Zxid::ZERO);
    assert_eq!(null.touches(), Err(DecodeError::Null));
    assert_eq!(null.learner_info(), Err(DecodeError::Null));
    assert_eq!(null.config(), None);
    assert_eq!(packet(b"\n").config(), None);
    assert_eq!(packet(b"").touches(), Ok(vec![]));
    assert_eq!(packet(&[0; 13]).touches(), Err(DecodeError::Truncated { missing: 7 }));
    assert!(packet(&[0; 10]).revalidation().is_err());
    assert!(packet(&[0; 13]).revalidated().is_err());
    assert!(packet(&[0; 15]).forwarded_request().is_err());
    assert!(packet(&[0; 31]).txn_header().is_err());
}

#[test]
fn notifications_of_all_ages() {
    let sent = Notification {
        state: ServerState::Looking,
        leader: ServerId(2),
        zxid: 0x1_0000_0006,
        election_epoch: 5,
        peer_epoch: 1,
        version: 2,
        config: Some(Bytes::from_static(b"version=0")),
    };
    let old = Notification { version: 0, config: None, ..sent.clone() };
    let mut bytes = Vec::new();
    sent.encode_as_oldest(&mut bytes);
    assert_eq!((bytes.len(), Notification::decode(&bytes)), (28, Ok(old.clone())));
    bytes.clear();
    sent.encode_as_3_4(&mut bytes);
    assert_eq!((bytes.len(), Notification::decode(&bytes)), (40, Ok(old.clone())));
    // With more behind it, the version of a message counts: 1 has no configuration.
    bytes.extend_from_slice(b"more");
    assert_eq!(Notification::decode(&bytes), Ok(Notification { version: 1, ..old }));
    let mut bytes = to_bytes(&sent);
    bytes.push(0);
    assert_eq!(Notification::decode(&bytes), Ok(sent), "bytes behind the end are passed over");
}

#[test]
fn notifications_that_are_passed_over() {
    let sound = Notification {
        state: ServerState::Leading,
        leader: ServerId(1),
        zxid: 0,
        election_epoch: 1,
        peer_epoch: 0,
        version: 2,
        config: Some(Bytes::from_static(b"abc")),
    };
    let mut bytes = to_bytes(&sound);
    bytes[3] = 4;
    let undefined = DecodeError::Undefined { what: "server state", value: 4 };
    assert_eq!(Notification::decode(&bytes), Err(undefined));
    bytes[3] = 3;
    bytes[43] = 4;
    assert_eq!(Notification::decode(&bytes), Err(DecodeError::Truncated { missing: 1 }));
    bytes[40..44].fill(0xff);
    assert_eq!(Notification::decode(&bytes), Err(DecodeError::NegativeLength { length: -1 }));
}

#[test]
fn initial_messages_that_cannot_be() {
    let message = |version: i64, length: i32, text: &[u8]| {
        let mut bytes = to_bytes(&version);
        7i64.encode(&mut bytes);
        length.encode(&mut bytes);
        bytes.extend_from_slice(text);
        InitialMessage::decode(&bytes)
    };
    assert!(message(-65_536, 9, b"host:3888").is_ok());
    for length in [-1, 0, 2049, i32::MAX] {
        let length = message(-65_536, length, &[b'a'; 2100]);
        assert!(matches!(length, Err(DecodeError::TooLong { max: 2048, .. })), "{length:?}");
    }
    assert!(matches!(message(-65_534, 9, b"host:3888"), Err(DecodeError::Undefined { .. })));
    for text in ["host", ":1", "host:", "host:70000", "a:1|", "a:1||b:1", "::1:3888", "[::1]3888"] {
        let found = message(-65_535, text.len() as i32, text.as_bytes());
        assert!(found.is_err(), "{text}: {found:?}");
    }
    let many = "0.0.0.0:1|[::]:2|a:3|[::1]:4";
    let many = message(-65_535, many.len() as i32, many.as_bytes()).expect("four addresses");
    let usable: Vec<String> = many.usable_addresses().map(ToString::to_string).collect();
    assert_eq!(usable, ["a:3", "[::1]:4"]);
}
