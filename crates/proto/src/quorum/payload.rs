//! What stands in the packets: a constructor for each kind, and an accessor for each payload.
//!
//! Source: quorum-protocol reference, 3.3, 5.1, 5.2; Apache's `Learner` and `LearnerHandler`.

use bytes::Bytes;

use super::packet::{PacketKind, QuorumPacket};
use crate::acl::Id;
use crate::id::{ServerId, SessionId, Zxid};
use crate::jute::{Decode, DecodeError, Encode, Reader, to_bytes};
use crate::op::OpCode;
use crate::txn::TxnHeader;

/// The version of the protocol that learner and leader tell one another: since 3.4.
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// Who a learner is: the payload of FOLLOWERINFO and OBSERVERINFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerInfo {
    /// The learner.
    pub server: ServerId,
    /// [`PROTOCOL_VERSION`]; 1 if a learner older than 3.4 does not tell.
    pub protocol_version: i32,
    /// Version of the learner's current configuration; 0 if a learner older than 3.5 does not tell.
    pub config_version: i64,
}

impl LearnerInfo {
    /// Of a learner of this version.
    pub const fn new(server: ServerId, config_version: i64) -> LearnerInfo {
        LearnerInfo { server, protocol_version: PROTOCOL_VERSION, config_version }
    }
}

impl Encode for LearnerInfo {
    fn encode(&self, out: &mut Vec<u8>) {
        self.server.encode(out);
        self.protocol_version.encode(out);
        self.config_version.encode(out);
    }
}

/// Three lengths are in use, 8, 12 and 20; what is there is taken, as Apache's leader does.
impl<'a> Decode<'a> for LearnerInfo {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(LearnerInfo {
            server: reader.get()?,
            protocol_version: if reader.remaining() < 4 { 1 } else { reader.get()? },
            config_version: if reader.remaining() < 8 { 0 } else { reader.get()? },
        })
    }
}

/// A request that a learner passes on to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedRequest {
    /// Whose.
    pub session: SessionId,
    /// The client's number for it; 0 for createSession.
    pub cxid: i32,
    /// What it asks for: any number, since it comes from outside. See [`OpCode::from_wire`].
    pub op: i32,
    /// The client's record, behind its request header; empty for closeSession.
    pub body: Bytes,
    /// Who the client is; null for createSession.
    pub authinfo: Option<Vec<Id>>,
}

impl ForwardedRequest {
    /// createSession with its timeout in milliseconds.
    pub fn create_session(session: SessionId, timeout_ms: i32) -> ForwardedRequest {
        let op = OpCode::CreateSession.to_wire();
        ForwardedRequest {
            session,
            cxid: 0,
            op,
            body: to_bytes(&timeout_ms).into(),
            authinfo: None,
        }
    }
}

/// A session that was heard of, with its timeout in milliseconds.
pub type Touch = (SessionId, i32);

const TOUCH_BYTES: usize = 12;

/// A zxid that stands for an epoch as a whole.
fn marker(epoch: u32) -> Zxid {
    Zxid::from_parts(epoch, 0)
}

/// Packets of learners.
impl QuorumPacket {
    /// FOLLOWERINFO.
    pub fn follower_info(accepted_epoch: u32, info: &LearnerInfo) -> QuorumPacket {
        QuorumPacket::with_data(
            PacketKind::FollowerInfo,
            marker(accepted_epoch),
            to_bytes(info).into(),
        )
    }

    /// OBSERVERINFO.
    pub fn observer_info(accepted_epoch: u32, info: &LearnerInfo) -> QuorumPacket {
        QuorumPacket::with_data(
            PacketKind::ObserverInfo,
            marker(accepted_epoch),
            to_bytes(info).into(),
        )
    }

    /// ACKEPOCH. `current_epoch` is `None` if the leader's epoch had been accepted before: then it
    /// is no promise.
    pub fn ack_epoch(last_zxid: Zxid, current_epoch: Option<u32>) -> QuorumPacket {
        let epoch = current_epoch.map_or(-1, |epoch| epoch as i32);
        QuorumPacket::with_data(PacketKind::AckEpoch, last_zxid, to_bytes(&epoch).into())
    }

    /// ACK.
    pub const fn ack(zxid: Zxid) -> QuorumPacket {
        QuorumPacket::bare(PacketKind::Ack, zxid)
    }

    /// REQUEST.
    pub fn request(request: &ForwardedRequest) -> QuorumPacket {
        let mut data = Vec::with_capacity(16 + request.body.len());
        request.session.encode(&mut data);
        request.cxid.encode(&mut data);
        request.op.encode(&mut data);
        data.extend_from_slice(&request.body);
        QuorumPacket {
            kind: PacketKind::Request,
            zxid: QuorumPacket::NO_ZXID,
            data: Some(data.into()),
            authinfo: request.authinfo.clone(),
        }
    }

    /// The answer to a PING: its zxid, and the sessions heard of since the last one.
    pub fn ping_reply(zxid: Zxid, touches: &[Touch]) -> QuorumPacket {
        let mut data = Vec::with_capacity(touches.len() * TOUCH_BYTES);
        for (session, timeout_ms) in touches {
            session.encode(&mut data);
            timeout_ms.encode(&mut data);
        }
        QuorumPacket::with_data(PacketKind::Ping, zxid, data.into())
    }

    /// REVALIDATE, the question.
    pub fn revalidate(session: SessionId, timeout_ms: i32) -> QuorumPacket {
        let mut data = to_bytes(&session);
        timeout_ms.encode(&mut data);
        QuorumPacket::with_data(PacketKind::Revalidate, QuorumPacket::NO_ZXID, data.into())
    }
}

/// Packets of the leader.
impl QuorumPacket {
    /// LEADERINFO.
    pub fn leader_info(epoch: u32) -> QuorumPacket {
        let data = to_bytes(&PROTOCOL_VERSION).into();
        QuorumPacket::with_data(PacketKind::LeaderInfo, marker(epoch), data)
    }

    /// DIFF. The zxid is for people alone.
    pub const fn diff(zxid: Zxid) -> QuorumPacket {
        QuorumPacket::bare(PacketKind::Diff, zxid)
    }

    /// TRUNC.
    pub const fn trunc(zxid: Zxid) -> QuorumPacket {
        QuorumPacket::bare(PacketKind::Trunc, zxid)
    }

    /// SNAP; the snapshot has to follow, see [`super::stream`].
    pub const fn snap(zxid: Zxid) -> QuorumPacket {
        QuorumPacket::bare(PacketKind::Snap, zxid)
    }

    /// NEWLEADER with the text of the leader's last configuration.
    pub const fn new_leader(epoch: u32, config: Bytes) -> QuorumPacket {
        QuorumPacket::with_data(PacketKind::NewLeader, Zxid::from_parts(epoch, 0), config)
    }

    /// UPTODATE.
    pub const fn up_to_date() -> QuorumPacket {
        QuorumPacket::bare(PacketKind::UpToDate, QuorumPacket::NO_ZXID)
    }

    /// PROPOSAL with the payload that goes into the log, see [`crate::txn::encode_payload`].
    pub const fn proposal(zxid: Zxid, txn: Bytes) -> QuorumPacket {
        QuorumPacket::with_data(PacketKind::Proposal, zxid, txn)
    }

    /// COMMIT.
    pub const fn commit(zxid: Zxid) -> QuorumPacket {
        QuorumPacket::bare(PacketKind::Commit, zxid)
    }

    /// INFORM with the payload of the PROPOSAL.
    pub const fn inform(zxid: Zxid, txn: Bytes) -> QuorumPacket {
        QuorumPacket::with_data(PacketKind::Inform, zxid, txn)
    }

    /// COMMITANDACTIVATE.
    pub fn commit_and_activate(zxid: Zxid, designated_leader: ServerId) -> QuorumPacket {
        let data = to_bytes(&designated_leader).into();
        QuorumPacket::with_data(PacketKind::CommitAndActivate, zxid, data)
    }

    /// INFORMANDACTIVATE with the payload of the PROPOSAL.
    pub fn inform_and_activate(
        zxid: Zxid,
        designated_leader: ServerId,
        txn: &[u8],
    ) -> QuorumPacket {
        let mut data = to_bytes(&designated_leader);
        data.extend_from_slice(txn);
        QuorumPacket::with_data(PacketKind::InformAndActivate, zxid, data.into())
    }

    /// PING with the zxid of the last proposal.
    pub const fn ping(last_proposed: Zxid) -> QuorumPacket {
        QuorumPacket::bare(PacketKind::Ping, last_proposed)
    }

    /// The answer to REVALIDATE.
    pub fn revalidate_reply(session: SessionId, is_valid: bool) -> QuorumPacket {
        let mut data = to_bytes(&session);
        is_valid.encode(&mut data);
        QuorumPacket::with_data(PacketKind::Revalidate, QuorumPacket::NO_ZXID, data.into())
    }

    /// SYNC.
    pub const fn sync() -> QuorumPacket {
        QuorumPacket::bare(PacketKind::Sync, Zxid::ZERO)
    }
}

/// Payloads. None of these looks at the packet's kind: the caller has.
impl QuorumPacket {
    fn reader(&self) -> Result<Reader<'_>, DecodeError> {
        self.data.as_deref().map(Reader::new).ok_or(DecodeError::Null)
    }

    /// Bytes behind what was read are a fault, unless Apache passes over them.
    fn whole<'a, T: Decode<'a>>(&'a self, what: &'static str) -> Result<T, DecodeError> {
        let mut reader = self.reader()?;
        let value = reader.get()?;
        end(&reader, what)?;
        Ok(value)
    }

    /// Of FOLLOWERINFO and OBSERVERINFO. The epoch that the learner has accepted is
    /// `self.zxid.epoch()`.
    ///
    /// # Errors
    /// Null or fewer than 8 bytes.
    pub fn learner_info(&self) -> Result<LearnerInfo, DecodeError> {
        self.reader()?.get()
    }

    /// Of LEADERINFO: the leader's version of the protocol. The new epoch is `self.zxid.epoch()`.
    ///
    /// # Errors
    /// Null or fewer than 4 bytes.
    pub fn leader_protocol_version(&self) -> Result<i32, DecodeError> {
        self.reader()?.get()
    }

    /// Of ACKEPOCH: the learner's current epoch, or `None` if this is no promise.
    ///
    /// # Errors
    /// Null or fewer than 4 bytes.
    pub fn current_epoch(&self) -> Result<Option<u32>, DecodeError> {
        let epoch: i32 = self.reader()?.get()?;
        Ok(Some(epoch).filter(|&epoch| epoch != -1).map(|epoch| epoch as u32))
    }

    /// Of NEWLEADER: the configuration's text. Leaders before 3.5 send none; one byte is none.
    pub fn config(&self) -> Option<&Bytes> {
        self.data.as_ref().filter(|text| text.len() > 1)
    }

    /// Of PROPOSAL and INFORM: what goes into the log.
    ///
    /// # Errors
    /// Null.
    pub fn txn(&self) -> Result<&Bytes, DecodeError> {
        self.data.as_ref().ok_or(DecodeError::Null)
    }

    /// Of PROPOSAL and INFORM: the transaction's header alone; [`crate::txn::decode_payload`] reads
    /// all of it.
    ///
    /// # Errors
    /// Null or fewer than 32 bytes.
    pub fn txn_header(&self) -> Result<TxnHeader, DecodeError> {
        self.reader()?.get()
    }

    /// Of COMMITANDACTIVATE: who is to lead. Of INFORMANDACTIVATE as well.
    ///
    /// # Errors
    /// Null or fewer than 8 bytes.
    pub fn designated_leader(&self) -> Result<ServerId, DecodeError> {
        self.reader()?.get()
    }

    /// Of INFORMANDACTIVATE: who is to lead, and what goes into the log.
    ///
    /// # Errors
    /// Null or fewer than 8 bytes.
    pub fn inform_and_activate_parts(&self) -> Result<(ServerId, Bytes), DecodeError> {
        let leader = self.designated_leader()?;
        let data = self.data.as_ref().ok_or(DecodeError::Null)?;
        Ok((leader, data.slice(8..)))
    }

    /// Of a REQUEST.
    ///
    /// # Errors
    /// Null or fewer than 16 bytes.
    pub fn forwarded_request(&self) -> Result<ForwardedRequest, DecodeError> {
        let mut reader = self.reader()?;
        let (session, cxid, op) = (reader.get()?, reader.get()?, reader.get()?);
        let body = self.data.as_ref().ok_or(DecodeError::Null)?.slice_ref(reader.rest());
        Ok(ForwardedRequest { session, cxid, op, body, authinfo: self.authinfo.clone() })
    }

    /// Of a PING's answer: the sessions that the learner has heard of.
    ///
    /// # Errors
    /// Null, or a length that is no multiple of 12.
    pub fn touches(&self) -> Result<Vec<Touch>, DecodeError> {
        let mut reader = self.reader()?;
        let mut touches = Vec::with_capacity(reader.remaining() / TOUCH_BYTES);
        while reader.remaining() > 0 {
            touches.push((reader.get()?, reader.get()?));
        }
        Ok(touches)
    }

    /// Of REVALIDATE, the question: the session and its timeout in milliseconds.
    ///
    /// # Errors
    /// Null or another length than 12.
    pub fn revalidated(&self) -> Result<Touch, DecodeError> {
        let question: Pair<i32> = self.whole("number of bytes behind a REVALIDATE")?;
        Ok((question.session, question.value))
    }

    /// Of REVALIDATE, the answer: the session, and whether it is alive.
    ///
    /// # Errors
    /// Null or another length than 9.
    pub fn revalidation(&self) -> Result<(SessionId, bool), DecodeError> {
        let answer: Pair<bool> = self.whole("number of bytes behind a REVALIDATE")?;
        Ok((answer.session, answer.value))
    }
}

/// A session and what is said of it.
struct Pair<T> {
    session: SessionId,
    value: T,
}

impl<'a, T: Decode<'a>> Decode<'a> for Pair<T> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Pair { session: reader.get()?, value: reader.get()? })
    }
}

fn end(reader: &Reader<'_>, what: &'static str) -> Result<(), DecodeError> {
    match reader.remaining() {
        0 => Ok(()),
        extra => Err(DecodeError::Undefined { what, value: extra as i64 }),
    }
}
