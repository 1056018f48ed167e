//! Clients of kazoo's beside the simulator's: what they say they were told is held against the committed
//! history.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use oxikeeper_proto::txn::decode_payload;
use oxikeeper_proto::{SessionId, Txn, Zxid};

use crate::server::repository;

/// A run of `interop/kazoo/chaos.py`.
pub struct Foreign {
    child: Child,
    report: PathBuf,
    log: PathBuf,
}

/// A write that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    client: String,
    /// Among the attempts of the client.
    number: u64,
    path: String,
    version: i32,
}

/// What they say in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every session, with its timeout in milliseconds.
    pub sessions: BTreeMap<SessionId, u64>,
    /// In the order of each client.
    pub writes: Vec<Acknowledged>,
    /// Sessions of which the ensemble said that they were gone, and the milliseconds since it had heard of
    /// them for sure.
    pub lost: Vec<(SessionId, u64)>,
    /// What clients have noticed by themselves.
    pub wrong: Vec<String>,
}

impl Foreign {
    /// Starts them.
    ///
    /// # Errors
    /// If kazoo is not there.
    pub fn start(addresses: &[SocketAddr], dir: &Path) -> Result<Foreign, String> {
        let python = cache().join("kazoo/bin/python");
        if !python.is_file() {
            let python = python.display();
            return Err(format!("no kazoo at {python}: run interop/peers.sh kazoo"));
        }
        let failed = |error: std::io::Error| error.to_string();
        let (report, log) = (dir.join("kazoo.report"), dir.join("kazoo.log"));
        // Of an earlier round.
        let _ = fs::remove_file(&report);
        let hosts: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let child = Command::new(python)
            .arg(repository().join("interop/kazoo/chaos.py"))
            .arg(hosts.join(","))
            .arg(&report)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        Ok(Foreign { child, report, log })
    }

    /// Tells them that nothing happens any more.
    pub fn settle(&mut self) {
        if let Some(mut input) = self.child.stdin.take() {
            // Were they gone, there would be no report.
            let _ = input.write_all(b"\n");
        }
    }

    /// Whether they have yet to see the end.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// What they say, once they have ended.
    ///
    /// # Errors
    /// If they did not come to that.
    pub fn report(&self) -> Result<Report, String> {
        let text = fs::read_to_string(&self.report).unwrap_or_default();
        Report::parse(&text).map_err(|error| {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            format!("kazoo: {error}: {log}")
        })
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // It may have ended by itself; both ways it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `interop/lib.sh` has what is fetched.
fn cache() -> PathBuf {
    let dir = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let of_user = || dir("XDG_CACHE_HOME").or_else(|| Some(dir("HOME")?.join(".cache")));
    let of_user = || of_user().unwrap_or_default().join("oxikeeper");
    dir("OXIKEEPER_CACHE").unwrap_or_else(of_user)
}

impl Report {
    fn parse(text: &str) -> Result<Report, String> {
        let mut report = Report::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let unreadable = || format!("no line of a report: {line}");
            let number = |word: &str| word.parse::<i64>().map_err(|_| unreadable());
            let positive = |word: &str| word.parse::<u64>().map_err(|_| unreadable());
            match words.as_slice() {
                ["session", id, timeout] => {
                    report.sessions.insert(SessionId(number(id)?), positive(timeout)?);
                }
                ["write", client, count, path, version] => report.writes.push(Acknowledged {
                    client: (*client).to_owned(),
                    number: positive(count)?,
                    path: (*path).to_owned(),
                    version: i32::try_from(number(version)?).map_err(|_| unreadable())?,
                }),
                ["lost", id, silence] => {
                    report.lost.push((SessionId(number(id)?), positive(silence)?));
                }
                ["wrong", ..] => report.wrong.push(line.to_owned()),
                ["end"] => return Ok(report),
                _ => return Err(unreadable()),
            }
        }
        Err("the report has no end".to_owned())
    }

    /// What of it must not be, given all that was committed.
    pub fn judge(&self, log: &[(Zxid, Vec<u8>)]) -> Vec<String> {
        let mut wrong = self.wrong.clone();
        let mut done: BTreeMap<String, Vec<(Zxid, String, i32)>> = BTreeMap::new();
        for (zxid, payload) in log {
            // What cannot be decoded the checker complains of.
            let Ok((_, txn, _)) = decode_payload(payload) else { continue };
            let (path, data, version) = match &txn {
                Txn::Create(create) => (&create.path, create.data, 0),
                Txn::SetData(set) => (&set.path, set.data, set.version),
                _ => continue,
            };
            if path.starts_with("/kazoo/")
                && let Some(id) = data.and_then(|data| std::str::from_utf8(data).ok())
                && !id.is_empty()
            {
                let place = (*zxid, path.to_string(), version);
                done.entry(id.to_owned()).or_default().push(place);
            }
        }
        for (id, places) in &done {
            if places.len() > 1 {
                wrong.push(format!("{id} was carried out more than once: {places:?}"));
            }
        }
        let mut last: BTreeMap<&str, Zxid> = BTreeMap::new();
        for write in &self.writes {
            let Acknowledged { client, number, path, version } = write;
            let place = done.get(&format!("{client}:{number}")).and_then(|places| places.first());
            let Some((zxid, at, made)) = place else {
                wrong.push(format!("{write:?} was acknowledged, and is not there"));
                continue;
            };
            if (at, made) != (path, version) {
                wrong.push(format!("{write:?} became {at} version {made}"));
            }
            if let Some(before) = last.insert(client, *zxid)
                && before >= *zxid
            {
                wrong.push(format!("{write:?} is at {zxid}, and the one before it at {before}"));
            }
        }
        for (session, silence_ms) in &self.lost {
            let timeout_ms = self.sessions.get(session).copied().unwrap_or_default();
            if *silence_ms < timeout_ms {
                wrong.push(format!(
                    "session {session} was lost {silence_ms} ms after a write, within its timeout"
                ));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use oxikeeper_proto::TxnHeader;
    use oxikeeper_proto::txn::{CreateTxn, SetDataTxn, encode_payload};

    use super::*;

    fn log() -> Vec<(Zxid, Vec<u8>)> {
        let create = Txn::Create(CreateTxn {
            path: "/kazoo/k0/n-0000000000".into(),
            data: Some(b"k0:1"),
            acl: Vec::new(),
            ephemeral: false,
            parent_cversion: 1,
        });
        let set = |data, version| {
            Txn::SetData(SetDataTxn { path: "/kazoo/counter".into(), data: Some(data), version })
        };
        let txns = [create, set(b"k0:2", 1), set(b"k1:1", 2)];
        let record = |(count, txn): (u32, &Txn<'_>)| {
            let zxid = Zxid::from_parts(1, count);
            let header =
                TxnHeader { session: SessionId(5), cxid: 1, zxid, time_ms: 0, kind: txn.kind() };
            let mut payload = Vec::new();
            encode_payload(&header, txn, None, &mut payload);
            (zxid, payload)
        };
        (1..).zip(&txns).map(record).collect()
    }

    const REPORT: &str = "session 5 4000\nwrite k0 1 /kazoo/k0/n-0000000000 0\n\
        write k1 1 /kazoo/counter 2\nwrite k0 2 /kazoo/counter 1\nlost 5 4100\nend\n";

    fn wrong(change: impl Fn(&str) -> String) -> Vec<String> {
        Report::parse(&change(REPORT)).expect("a report").judge(&log())
    }

    #[test]
    fn what_was_told_is_held_against_what_was_committed() {
        assert_eq!(wrong(str::to_owned), Vec::<String>::new());
        let has = |wrong: Vec<String>, part: &str| {
            assert!(wrong.len() == 1 && wrong[0].contains(part), "{part}: {wrong:?}");
        };
        has(wrong(|text| text.replace("write k1 1", "write k1 7")), "is not there");
        has(wrong(|text| text.replace("counter 2", "counter 3")), "became");
        has(wrong(|text| text.replace("4100", "3900")), "within its timeout");
        has(wrong(|text| text.replace("end", "wrong k0 sees\nend")), "wrong k0 sees");
        let first = "write k0 1 /kazoo/k0/n-0000000000 0\n";
        has(
            wrong(|text| text.replace(first, "").replace("lost", &format!("{first}lost"))),
            "before it",
        );
        let report = Report::parse(REPORT).expect("a report");
        let mut twice = log();
        twice.push(twice[2].clone());
        has(report.judge(&twice), "more than once");
        assert!(Report::parse("session 5 4000\n").is_err(), "clients that broke off prove nothing");
    }
}
