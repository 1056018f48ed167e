//! kill -9 under pipelined load, again and again: what was acknowledged is there afterwards, and
//! nothing is there whose session is gone.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::request::{
    CreateRequest, PathRequest, PathVersionRequest, SetDataRequest, WatchableRequest,
};
use oxikeeper_proto::{AclEntry, Encode, OpCode, Reader, SessionId, Zxid};

use crate::client::{RawClient, request};
use crate::random::Random;
use crate::server::{Kind, Server};

/// Small files and many snapshots, so that a kill meets them.
const SETTINGS: &str = "snapCount=300\npreAllocSize=256\nautopurge.purgeInterval=0\n\
                        minSessionTimeout=1000\nmaxSessionTimeout=120000";
const WORKERS: usize = 4;
const IN_FLIGHT: usize = 24;

/// What the rounds came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Kills.
    pub rounds: usize,
    /// Writes that were acknowledged before a kill.
    pub acknowledged: u64,
    /// Writes under way at a kill: there once or not at all.
    pub ambiguous: u64,
    /// Ambiguous ones that turned out to be there.
    pub survived: u64,
    /// Sessions resumed after a restart.
    pub resumed: u64,
    /// Acknowledged writes that are not there, ghosts, and whatever else must not be.
    pub violations: Vec<String>,
}

/// What one worker knows of its own subtree.
#[derive(Debug, Default)]
struct Known {
    /// Nodes that must be there, with the version that was acknowledged.
    present: BTreeMap<String, i32>,
    /// Nodes whose delete was acknowledged.
    absent: Vec<String>,
    /// Nodes that one unanswered request may have created, set or deleted.
    unsure: BTreeMap<String, &'static str>,
    /// Pairs that one multi creates: both or none.
    pairs: Vec<(String, String)>,
    acknowledged: u64,
    session: Option<(SessionId, [u8; 16])>,
    closed: bool,
}

/// Runs so many rounds.
pub fn run(dir: &Path, rounds: usize, seed: u64) -> Outcome {
    let mut server = Server::start(Kind::Oxikeeper, dir, SETTINGS);
    let mut random = Random::new(seed);
    let mut outcome = Outcome::default();
    prepare(&server).expect("a fresh server takes the first nodes");
    for round in 0..rounds {
        let address = server.address();
        let load_ms = 20 + random.below(120) as u64;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let random = Random::new(random.next_u64());
                thread::spawn(move || work(address, round, worker, random))
            })
            .collect();
        thread::sleep(Duration::from_millis(load_ms));
        server.kill();
        let known: Vec<Known> =
            workers.into_iter().map(|worker| worker.join().expect("workers do not fail")).collect();
        server.run();
        outcome.rounds += 1;
        for (worker, known) in known.iter().enumerate() {
            if let Err(error) = judge(&server, known, &mut outcome) {
                outcome.violations.push(format!("round {round}, worker {worker}: {error}"));
            }
        }
        if outcome.violations.len() > 10 {
            break;
        }
    }
    outcome
}

fn prepare(server: &Server) -> io::Result<()> {
    let mut client = RawClient::connect(server.address(), 10_000)?;
    client.call(OpCode::Create, &create("/load", 0))?;
    Ok(())
}

/// Writes as fast as it goes until the server is gone. Request `n` of a worker works on a node of
/// its own, so that every reply says exactly which node is how.
fn work(address: std::net::SocketAddr, round: usize, worker: usize, mut random: Random) -> Known {
    let mut known = Known::default();
    let Ok(mut client) = RawClient::connect(address, 60_000) else { return known };
    known.session = Some((client.session, client.password));
    let root = format!("/load/r{round}w{worker}");
    let mut in_flight: std::collections::VecDeque<(u8, String)> = Default::default();
    let mut next = 0u64;
    // The root of the worker's nodes comes first and alone.
    match client.call(OpCode::Create, &create(&root, 0)) {
        Ok(reply) if reply.header.err == 0 => known.present.insert(root.clone(), 0),
        _ => return known,
    };
    loop {
        while in_flight.len() < IN_FLIGHT {
            next += 1;
            let kind = random.below(6) as u8;
            let path = format!("{root}/n{next}");
            let sent = match kind {
                0 | 1 => client.send(&request(next as i32, OpCode::Create, &create(&path, 0))),
                2 => client.send(&request(next as i32, OpCode::Create, &create(&path, 1))),
                3 => send_set(&mut client, next as i32, &root),
                4 => {
                    let ops = vec![plain_op(&path), plain_op(&format!("{path}x"))];
                    client.send(&request(next as i32, OpCode::Multi, &MultiRequest { ops }))
                }
                _ => {
                    let ops = vec![
                        plain_op(&path),
                        MultiOp::Delete(PathVersionRequest {
                            path: Some(path.clone().into()),
                            version: -1,
                        }),
                    ];
                    client.send(&request(next as i32, OpCode::Multi, &MultiRequest { ops }))
                }
            };
            in_flight.push_back((kind, path));
            if sent.is_err() {
                break;
            }
        }
        let Ok(reply) = client.reply() else { break };
        let Some((kind, path)) = in_flight.pop_front() else { break };
        assert_eq!(reply.header.err, 0, "every request of this load succeeds: {kind} {path}");
        known.acknowledged += 1;
        match kind {
            0..=2 => {
                known.present.insert(path, 0);
            }
            3 => *known.present.entry(root.clone()).or_default() += 1,
            4 => {
                known.present.insert(format!("{path}x"), 0);
                known.present.insert(path, 0);
            }
            _ => known.absent.push(path),
        }
    }
    for (kind, path) in in_flight {
        match kind {
            3 => {
                known.unsure.insert(root.clone(), "set");
            }
            4 => known.pairs.push((path.clone(), format!("{path}x"))),
            5 => known.absent.push(path),
            _ => {
                known.unsure.insert(path, "created");
            }
        }
    }
    known.closed = false;
    known
}

fn create(path: &str, flags: i32) -> CreateRequest<'_> {
    CreateRequest { path: Some(path.into()), data: Some(b"data"), acl: Some(open()), flags }
}

fn plain_op(path: &str) -> MultiOp<'static> {
    let path = Some(path.to_owned().into());
    MultiOp::Create(
        OpCode::Create,
        CreateRequest { path, data: Some(b"multi"), acl: Some(open()), flags: 0 },
    )
}

fn open() -> Vec<AclEntry<'static>> {
    vec![AclEntry { perms: 31, scheme: Some("world".into()), id: Some("anyone".into()) }]
}

fn send_set(client: &mut RawClient, xid: i32, path: &str) -> io::Result<()> {
    let body = SetDataRequest { path: Some(path.into()), data: Some(b"set"), version: -1 };
    client.send(&request(xid, OpCode::SetData, &body))
}

/// Compares what a worker knows with what the restarted server has, and ends its session: then its
/// ephemerals have to go.
fn judge(server: &Server, known: &Known, outcome: &mut Outcome) -> io::Result<()> {
    let Some((session, password)) = known.session else { return Ok(()) };
    outcome.acknowledged += known.acknowledged;
    outcome.ambiguous += (known.unsure.len() + known.pairs.len()) as u64;
    let mut client = RawClient::open(server.address())?;
    let response = client.handshake(session, &password, 60_000, Zxid::ZERO)?;
    if response.session != session {
        outcome.violations.push(format!("session {session} cannot be resumed"));
        return Ok(());
    }
    outcome.resumed += 1;
    let mut is_there = |path: &str| -> io::Result<Option<i32>> {
        let body = WatchableRequest { path: Some(path.into()), watch: false };
        let reply = client.call(OpCode::Exists, &body)?;
        let stat = Reader::new(&reply.body).get::<oxikeeper_proto::Stat>();
        Ok(if reply.header.err == 0 { stat.ok().map(|stat| stat.version) } else { None })
    };
    for (path, &version) in &known.present {
        let found = is_there(path)?;
        let at_most = version + if known.unsure.contains_key(path) { IN_FLIGHT as i32 } else { 0 };
        if found.is_none_or(|found| found < version || found > at_most) {
            let text = format!("{path}: acknowledged at version {version}, found {found:?}");
            outcome.violations.push(text);
        }
    }
    for path in &known.absent {
        if is_there(path)?.is_some() {
            outcome.violations.push(format!("{path} was deleted in the multi that created it"));
        }
    }
    for path in known.unsure.keys() {
        outcome.survived += u64::from(is_there(path)?.is_some());
    }
    for (left, right) in &known.pairs {
        let (left_there, right_there) = (is_there(left)?.is_some(), is_there(right)?.is_some());
        outcome.survived += u64::from(left_there);
        if left_there != right_there {
            outcome.violations.push(format!("{left} and {right}: half a multi"));
        }
    }
    let own = client.call(OpCode::GetEphemerals, &PathRequest { path: None })?;
    let ephemerals: Vec<String> =
        Reader::new(&own.body).get().map_err(|e| io::Error::other(e.to_string()))?;
    client.call(OpCode::CloseSession, &Nothing)?;
    let mut other = RawClient::connect(server.address(), 60_000)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    for path in ephemerals {
        let body = WatchableRequest { path: Some(path.as_str().into()), watch: false };
        while other.call(OpCode::Exists, &body)?.header.err == 0 {
            if Instant::now() > deadline {
                outcome.violations.push(format!("{path} outlives its session"));
                break;
            }
        }
    }
    other.call(OpCode::CloseSession, &Nothing)?;
    Ok(())
}

/// No body.
struct Nothing;

impl Encode for Nothing {
    fn encode(&self, _: &mut Vec<u8>) {}
}
