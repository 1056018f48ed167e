//! What the simulation knows and no client can: every transaction handed to the log writer, when
//! each was made, and when each session was last heard from.

use std::collections::BTreeMap;
use std::path::Path;

use oxikeeper_proto::txn::decode_payload;
use oxikeeper_proto::{SessionId, Txn, Zxid};

use crate::disk::CrashDisk;
use crate::marks::{Mark, Marks};

/// A stall of the process longer than this is granted to all sessions; a shorter one may be.
const GRANTED_US: u64 = 1_300_000;
/// What a Front heard reaches the Core within this time, and an expiry is carried out within it.
const CROSSING_US: u64 = 800_000;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Ghost {
    /// The log as it was handed to the writer, gap-free from zxid 1.
    pub log: Vec<(Zxid, Vec<u8>)>,
    /// When the Core made each transaction, by counter.
    made_at: BTreeMap<u64, u64>,
    /// When each session was heard from, in microseconds, and its timeout.
    heard: BTreeMap<SessionId, (Vec<u64>, u64)>,
    /// Connections in the order in which their handshakes came to the Core.
    pub handshakes: BTreeMap<usize, usize>,
    /// When the process stood still, from and to.
    stalls: Vec<(u64, u64)>,
}

impl Ghost {
    /// The Core has given out zxids up to here.
    pub fn made(&mut self, last: Zxid, now: u64) {
        let mut next = self.made_at.last_key_value().map_or(0, |(zxid, _)| *zxid) + 1;
        while next <= last.raw() {
            self.made_at.insert(next, now);
            next += 1;
        }
    }

    /// Something of this session came from its connection.
    pub fn heard(&mut self, session: SessionId, at: u64) {
        let (times, _) = self.heard.entry(session).or_default();
        let place = times.partition_point(|time| *time <= at);
        times.insert(place, at);
    }

    /// The longest time for which nothing of this session had come when it expired, as far as it may
    /// matter: what came at the very end came too late, and may have crossed with the expiry.
    pub fn silence(&self, session: SessionId, at: u64) -> Option<u64> {
        let (times, _) = self.heard.get(&session)?;
        let (mut until, mut longest) = (at, 0);
        for &heard in times[..times.partition_point(|time| *time <= at)].iter().rev() {
            longest = longest.max(until - heard);
            if at - heard > CROSSING_US {
                return Some(longest);
            }
            until = heard;
        }
        None
    }

    /// The process stood still.
    pub fn stalled(&mut self, from: u64, to: u64) {
        self.stalls.push((from, to));
    }

    /// It does so no longer.
    pub fn stall_ends(&mut self, now: u64) {
        if let Some((_, to)) = self.stalls.last_mut() {
            *to = now.min(*to);
        }
    }

    /// When the Core made a transaction.
    pub fn made_at(&self, zxid: Zxid) -> u64 {
        self.made_at.get(&zxid.raw()).copied().unwrap_or(0)
    }

    /// Transactions are handed to the log writer.
    ///
    /// # Errors
    /// A session that expires too early.
    pub fn logged(&mut self, zxid: Zxid, payload: &[u8], marks: &mut Marks) -> Result<(), String> {
        self.log.push((zxid, payload.to_vec()));
        let Ok((header, txn, _)) = decode_payload(payload) else {
            return Err(format!("{zxid} is handed to the log and cannot be decoded"));
        };
        let made = self.made_at(zxid);
        match &txn {
            Txn::CreateSession(timeout_ms) => {
                let timeout_us = u64::try_from(*timeout_ms).unwrap_or(0) * 1000;
                self.heard.insert(header.session, (vec![made], timeout_us));
            }
            Txn::CloseSession(paths) if header.cxid == 0 => {
                if paths.as_ref().is_some_and(|paths| !paths.is_empty()) {
                    marks.hit(Mark::EphemeralsExpired);
                }
                return self.require_silence(header.session, made);
            }
            Txn::DeleteContainer(_) => marks.hit(Mark::ContainerReaped),
            Txn::Multi(_) if txn.is_failed_multi() => marks.hit(Mark::MultiFailed),
            _ => {}
        }
        Ok(())
    }

    fn require_silence(&self, session: SessionId, at: u64) -> Result<(), String> {
        let Some((times, timeout_us)) = self.heard.get(&session) else {
            return Err(format!("session {session} expires and was never made"));
        };
        // The last silence that was long enough. What came after it came too late, and may have
        // crossed with the expiry on its way from the Front to the Core.
        let mut until = at;
        let mut longest = 0;
        for &heard in times[..times.partition_point(|time| *time <= at)].iter().rev() {
            let stalled = self.stalled_within(heard, until);
            if until - heard >= timeout_us + stalled {
                return Ok(());
            }
            longest = longest.max(until - heard);
            if at - heard > CROSSING_US + self.stalled_within(heard, at) {
                break;
            }
            until = heard;
        }
        Err(format!(
            "session {session} expires at {at} us: its timeout is {timeout_us} us, but of late it \
             was silent for at most {longest}; heard from at {:?}, stalls {:?}",
            times.iter().rev().take(12).collect::<Vec<_>>(),
            self.stalls
        ))
    }

    /// How long the process stood still in this time, counting stalls that are granted.
    fn stalled_within(&self, from: u64, to: u64) -> u64 {
        self.stalls
            .iter()
            .map(|(began, ended)| (*began.max(&from), *ended.min(&to)))
            .map(|(began, ended)| ended.saturating_sub(began))
            .filter(|length| *length > GRANTED_US)
            .sum()
    }

    /// The server has restarted and stands at this transaction: what came later is gone.
    pub fn restarted(&mut self, last: Zxid, now: u64) -> u64 {
        let lost = self.log.len() as u64 - last.raw().min(self.log.len() as u64);
        self.log.truncate(last.raw() as usize);
        self.made_at.split_off(&(last.raw() + 1));
        let sessions: Vec<SessionId> = self.heard.keys().copied().collect();
        for session in sessions {
            self.heard(session, now);
        }
        lost
    }

    /// Compares with what the log files hold, read by nothing of the code under test.
    ///
    /// # Errors
    /// A record that differs.
    pub fn compare_with_files(&self, disk: &CrashDisk, dir: &Path) -> Result<usize, String> {
        let mut compared = 0;
        for (name, bytes) in disk.contents(dir) {
            if !name.starts_with("log.") || bytes.len() < 16 {
                continue;
            }
            let mut rest = &bytes[16..];
            while let Some((prefix, behind)) = rest.split_first_chunk::<12>() {
                let length = prefix[8..].iter().fold(0, |sum, byte| sum << 8 | *byte as usize);
                let (Some(payload), Some(b'B')) = (behind.get(..length), behind.get(length)) else {
                    break;
                };
                if adler32(payload).to_be_bytes() != prefix[4..8] {
                    break;
                }
                let zxid = payload.get(12..20).map_or(0, |bytes| {
                    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
                });
                match self.log.get((zxid as usize).wrapping_sub(1)) {
                    Some((_, expected)) if expected == payload => compared += 1,
                    // Behind the end of what was recovered: a torn batch.
                    None => break,
                    Some(_) => return Err(format!("{name} holds another transaction {zxid:#x}")),
                }
                rest = &behind[length + 1..];
            }
        }
        Ok(compared)
    }
}

/// The checksum of log records, as RFC 1950 has it.
fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    b << 16 | a
}
