//! Sessions in an ensemble: three Members in one thread, whose messages arrive at once and whose disks
//! take no time; clients are what a Front would say for them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use oxikeeper_node::config::NodeConfig;
use oxikeeper_node::core::{Core, Input};
use oxikeeper_node::mail::{
    CloseReason, ConnId, ConnRef, FrontId, Mail, MailBatch, Request, Serving, ToCore,
};
use oxikeeper_node::member::Member;
use oxikeeper_node::session_id::password;
use oxikeeper_node::time::{Now, WallTime};
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::quorum::InitialMessage;
use oxikeeper_proto::reply::ReplyHeader;
use oxikeeper_proto::request::{CreateRequest, PathRequest};
use oxikeeper_proto::{AclEntry, Id, OpCode, Reader, SessionId, Xid, Zxid};
use oxikeeper_tree::{Tree, TreeOptions};
use oxikeeper_zab::arbiter::{ElectionConn, ElectionInput, ElectionOutput};
use oxikeeper_zab::config::PeerConfig;
use oxikeeper_zab::context::Epochs;
use oxikeeper_zab::history::History;
use oxikeeper_zab::io::{Input as PeerInput, LinkId, Output, Role};
use oxikeeper_zab::peer::Peer;
use oxikeeper_zab::verifier::{Quorums, Verifier};

const TICK_MS: u64 = 2000;
const FRONT: FrontId = FrontId(0);

struct Server {
    member: Member,
    tree: Tree,
    listens: bool,
    mail: Vec<Mail>,
    bytes: Vec<Vec<u8>>,
}

/// Ends of connections have numbers: those of one connection differ in the lowest bit.
struct Cluster {
    servers: Vec<Server>,
    ends: BTreeMap<u64, usize>,
    next_end: u64,
    now_ms: u64,
    queue: VecDeque<(usize, PeerInput)>,
    /// Messages between these two do not arrive.
    cut: Option<usize>,
}

impl Cluster {
    /// Three voters, of which the third leads.
    fn new() -> Cluster {
        Cluster::with(NodeConfig::default())
    }

    /// The same with other settings.
    fn with(settings: NodeConfig) -> Cluster {
        let voters = [1, 2, 3].map(ServerId);
        let verifier = Arc::new(Verifier::majority(voters, []).expect("three voters"));
        let server = |id: ServerId| {
            let tree = Tree::new(TreeOptions::default());
            let config = Arc::new(NodeConfig {
                ensemble: true,
                server_id: id.0 as u8,
                tick_ms: TICK_MS as u32,
                ..settings.clone()
            });
            let core = Core::new(config, &tree, 1, Now::default());
            let peer = Peer::new(
                Arc::new(PeerConfig::new(id)),
                Quorums::new(Arc::clone(&verifier)),
                Epochs { accepted: 0, current: 0 },
                History::new(500, Zxid::ZERO, Vec::new()),
                Now::default(),
            );
            let member = Member::new(core, peer);
            Server { member, tree, listens: false, mail: Vec::new(), bytes: Vec::new() }
        };
        let mut cluster = Cluster {
            servers: voters.map(server).into(),
            ends: BTreeMap::new(),
            next_end: 2,
            now_ms: 0,
            queue: VecDeque::new(),
            cut: None,
        };
        cluster.pass(3000);
        assert!(matches!(cluster.role(2), Role::Leading { .. }), "{:?}", cluster.role(2));
        assert!(matches!(cluster.role(0), Role::Following { .. }), "{:?}", cluster.role(0));
        cluster
    }

    fn role(&self, server: usize) -> Role {
        self.servers[server].member.peer().expect("it is of an ensemble").role()
    }

    fn connect(&mut self, from: usize, to: usize) -> (u64, u64) {
        let end = self.next_end;
        self.next_end += 2;
        self.ends.insert(end, from);
        self.ends.insert(end + 1, to);
        (end, end + 1)
    }

    /// What the other end of a connection gets.
    fn deliver(&mut self, end: u64, input: impl FnOnce(u64) -> PeerInput) {
        if let Some(&to) = self.ends.get(&(end ^ 1))
            && self.cut != Some(to)
            && self.cut != self.ends.get(&end).copied()
        {
            self.queue.push_back((to, input(end ^ 1)));
        }
    }

    fn close(&mut self, end: u64, closed: impl FnOnce(u64) -> PeerInput) {
        self.deliver(end, closed);
        self.ends.remove(&end);
        self.ends.remove(&(end ^ 1));
    }

    fn carry_out(&mut self, server: usize, output: Output) {
        match output {
            Output::Election(output) => self.carry_out_election(server, output),
            Output::Connect(to) => {
                let target = to.0 as usize - 1;
                if !self.servers[target].listens || self.cut.is_some() {
                    let failed = PeerInput::ConnectFailed { to, refused: true };
                    return self.queue.push_back((server, failed));
                }
                let (near, far) = self.connect(server, target);
                self.queue.push_back((target, PeerInput::Accepted(LinkId(far))));
                self.queue.push_back((server, PeerInput::Connected { link: LinkId(near), to }));
            }
            Output::Listen(listens) => self.servers[server].listens = listens,
            Output::Send(link, packet) => {
                self.deliver(link.0, |end| PeerInput::Packet(LinkId(end), packet));
            }
            Output::CloseLink(link) => self.close(link.0, |end| PeerInput::Closed(LinkId(end))),
            Output::WriteEpoch { ticket, .. } => {
                self.queue.push_back((server, PeerInput::EpochWritten(ticket)));
            }
            // Who still comes for an election is turned away by the peer.
            Output::Learner { .. } | Output::Retire => {}
            other => panic!("server {server} wants {other:?}, which these tests do not need"),
        }
    }

    fn carry_out_election(&mut self, server: usize, output: ElectionOutput) {
        let input = |input| PeerInput::Election(input);
        match output {
            ElectionOutput::Connect { to, .. } => {
                let (near, far) = self.connect(server, to.0 as usize - 1);
                let conn = ElectionConn(far);
                self.queue.push_back((to.0 as usize - 1, input(ElectionInput::Accepted(conn))));
                let opened = ElectionInput::Opened { conn: ElectionConn(near), to };
                self.queue.push_back((server, input(opened)));
            }
            ElectionOutput::Greet { conn, then_close } => {
                let message = InitialMessage::Bare(ServerId(server as i64 + 1));
                self.deliver(conn.0, |end| {
                    input(ElectionInput::Initial(ElectionConn(end), message))
                });
                if then_close {
                    self.close(conn.0, |end| input(ElectionInput::Closed(ElectionConn(end))));
                }
            }
            ElectionOutput::Send(conn, payload) => {
                self.deliver(conn.0, |end| input(ElectionInput::Frame(ElectionConn(end), payload)));
                self.queue.push_back((server, input(ElectionInput::Drained(conn))));
            }
            ElectionOutput::Close(conn) => {
                self.close(conn.0, |end| input(ElectionInput::Closed(ElectionConn(end))));
            }
        }
    }

    /// Until nobody has anything to do.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for index in 0..self.servers.len() {
                is_quiet &= !self.work(index);
            }
            let Some((server, input)) = self.queue.pop_front() else {
                if is_quiet {
                    return;
                }
                continue;
            };
            let mut out = Vec::new();
            let Server { member, tree, .. } = &mut self.servers[server];
            member.step_peer(input, tree, &mut out);
            out.into_iter().for_each(|output| self.carry_out(server, output));
        }
    }

    /// Lets the log of a server write, and the Core apply.
    fn work(&mut self, index: usize) -> bool {
        let mut out = Vec::new();
        let Server { member, tree, mail, bytes, .. } = &mut self.servers[index];
        let mut has_worked = false;
        while let Some(batch) = member.core_mut().take_log_batch() {
            has_worked = true;
            let last = batch.last_zxid().expect("a batch is never empty");
            member.step(Input::Durable(last), tree, &mut out);
        }
        while member.core().has_work_to_apply() {
            has_worked = true;
            let mut batches: Vec<MailBatch> = Vec::new();
            let end = member.core_mut().apply(tree, &mut batches);
            if end.start_snapshot {
                member.step(Input::SnapshotFinished { took_ms: 0 }, tree, &mut out);
            }
            for batch in batches {
                for item in batch.items {
                    if let Mail::Reply { frame, .. } = &item {
                        bytes.push(batch.bytes[frame.start as usize..frame.end as usize].to_vec());
                    }
                    mail.push(item);
                }
            }
        }
        member.check_invariants(tree);
        out.into_iter().for_each(|output| self.carry_out(index, output));
        has_worked
    }

    fn step(&mut self, server: usize, input: Input) {
        let mut out = Vec::new();
        let Server { member, tree, .. } = &mut self.servers[server];
        member.step(input, tree, &mut out);
        out.into_iter().for_each(|output| self.carry_out(server, output));
    }

    /// Time passes; every Front reports that it heard nobody but those named.
    fn pass_hearing(&mut self, ms: u64, heard: &[(usize, SessionId)]) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.now_ms = (self.now_ms + 50).min(end);
            let (now, wall) = (Now::from_millis(self.now_ms), WallTime(self.now_ms as i64));
            for server in 0..self.servers.len() {
                self.step(server, Input::Tick { now, wall });
                let sessions: Vec<_> =
                    heard.iter().filter(|(at, _)| *at == server).map(|(_, s)| (*s, now)).collect();
                let report = ToCore::Touched { front: FRONT, until: now, sessions };
                self.step(server, Input::FromFront(report));
            }
            self.settle();
        }
    }

    fn pass(&mut self, ms: u64) {
        self.pass_hearing(ms, &[]);
    }

    fn say(&mut self, server: usize, word: ToCore) {
        self.step(server, Input::FromFront(word));
        self.settle();
    }

    fn mail(&mut self, server: usize) -> Vec<Mail> {
        std::mem::take(&mut self.servers[server].mail)
    }

    /// A client comes, with a session or for one; what it gets.
    fn come(&mut self, server: usize, conn: u64, session: SessionId) -> Option<SessionId> {
        self.mail(server);
        self.say(
            server,
            ToCore::Connect {
                conn: ConnRef { front: FRONT, conn: ConnId(conn) },
                session,
                password: password(session).into(),
                timeout_ms: 6000,
            },
        );
        self.mail(server).into_iter().find_map(|mail| match mail {
            Mail::Connected { conn: to, session, .. } if to == ConnId(conn) => Some(session),
            _ => None,
        })
    }

    fn request(&mut self, at: (usize, u64), session: SessionId, xid: i32, op: OpCode, body: &[u8]) {
        let world: Arc<[Id]> = Arc::new([]);
        self.say(
            at.0,
            ToCore::Request(Request {
                conn: ConnRef { front: FRONT, conn: ConnId(at.1) },
                session,
                xid: Xid(xid),
                op,
                body: body.into(),
                ids: world,
            }),
        );
    }

    /// The headers of the replies since the last call.
    fn replies(&mut self, server: usize) -> Vec<(i32, i32)> {
        let header = |frame: Vec<u8>| {
            let header: ReplyHeader = Reader::new(&frame[4..]).get().expect("a header");
            (header.xid, header.err)
        };
        std::mem::take(&mut self.servers[server].bytes).into_iter().map(header).collect()
    }

    fn has(&self, path: &str) -> [bool; 3] {
        [0, 1, 2].map(|server| self.servers[server].tree.node(path).is_some())
    }
}

fn create(path: &str, flags: i32) -> Vec<u8> {
    let acl = vec![AclEntry { perms: 31, scheme: Some("world".into()), id: Some("anyone".into()) }];
    to_bytes(&CreateRequest { path: Some(path.into()), data: None, acl: Some(acl), flags })
}

fn sync() -> Vec<u8> {
    to_bytes(&PathRequest { path: Some("/".into()) })
}

#[test]
fn requests_of_a_follower_are_answered_in_order() {
    let mut cluster = Cluster::new();
    let session = cluster.come(0, 1, SessionId::NONE).expect("a session");
    assert_eq!(session.0 >> 56, 1, "it carries the number of the server that made it");
    let at = (0, 1);
    cluster.request(at, session, 1, OpCode::Create, &create("/a", 0));
    cluster.request(at, session, 2, OpCode::Create, &create("/a", 0));
    // It cannot be decoded: no leader would answer it, and the order holds all the same.
    cluster.request(at, session, 3, OpCode::Create, b"\0\0");
    cluster.request(at, session, 4, OpCode::Sync, &sync());
    cluster.request(at, session, 5, OpCode::Create, &create("/e", 1));
    assert_eq!(cluster.replies(0), [(1, 0), (2, -110), (3, -5), (4, 0), (5, 0)]);
    assert_eq!(cluster.has("/e"), [true; 3]);
    cluster.request(at, session, 6, OpCode::CloseSession, &[]);
    assert_eq!(cluster.replies(0), [(6, 0)]);
    assert_eq!(cluster.has("/e"), [false; 3], "its ephemerals go with it");
}

#[test]
fn a_session_lives_by_what_its_server_hears_and_the_leader_alone_ends_it() {
    let mut cluster = Cluster::new();
    let session = cluster.come(0, 1, SessionId::NONE).expect("a session");
    cluster.request((0, 1), session, 1, OpCode::Create, &create("/e", 1));
    cluster.pass_hearing(30_000, &[(0, session)]);
    assert_eq!(cluster.has("/e"), [true; 3], "it was heard at the follower all the time");
    cluster.mail(0);
    cluster.pass(5500);
    assert_eq!(cluster.has("/e"), [true; 3], "not before its timeout");
    cluster.pass(6000);
    assert_eq!(cluster.has("/e"), [false; 3]);
    let is_closed = |mail: &Mail| {
        matches!(mail, Mail::Close { conn: ConnId(1), reason: CloseReason::SessionExpired })
    };
    assert!(cluster.mail(0).iter().any(is_closed), "its connection is closed");
    assert_eq!(cluster.come(1, 2, session), None, "and it is gone everywhere");
}

#[test]
fn a_session_moves_and_what_comes_late_by_its_old_server_is_refused() {
    let mut cluster = Cluster::new();
    let session = cluster.come(0, 1, SessionId::NONE).expect("a session");
    cluster.request((0, 1), session, 1, OpCode::Create, &create("/e", 1));
    for (to, conn) in [(1, 2), (2, 3), (0, 4)] {
        assert_eq!(cluster.come(to, conn, session), Some(session), "it moves to server {to}");
        cluster.request((to, conn), session, 10, OpCode::Create, &create(&format!("/{to}"), 0));
        assert_eq!(cluster.has(&format!("/{to}")), [true; 3]);
    }
    // Server 1 still has a connection that thinks the session is its own.
    cluster.mail(1);
    cluster.request((1, 2), session, 11, OpCode::Create, &create("/late", 0));
    assert_eq!(cluster.has("/late"), [false; 3]);
    let is_moved = |mail: &Mail| {
        matches!(mail, Mail::Close { conn: ConnId(2), reason: CloseReason::SessionMoved })
    };
    assert!(cluster.mail(1).iter().any(is_moved), "it is closed without a word");
    assert_eq!(cluster.has("/e"), [true; 3]);
    // Who does not know the password gets nowhere.
    let conn = ConnRef { front: FRONT, conn: ConnId(9) };
    let password = [7; 16].into();
    cluster.say(1, ToCore::Connect { conn, session, password, timeout_ms: 6000 });
    let is_refused = |mail: &Mail| matches!(mail, Mail::Expired { conn: ConnId(9) });
    assert!(cluster.mail(1).iter().any(is_refused));
}

#[test]
fn an_outage_of_the_ensemble_expires_nobody() {
    let mut cluster = Cluster::new();
    let session = cluster.come(0, 1, SessionId::NONE).expect("a session");
    cluster.request((0, 1), session, 1, OpCode::Create, &create("/e", 1));
    // The leader is cut off for much longer than the session's timeout, and nobody hears the client.
    cluster.cut = Some(2);
    cluster.pass(4000);
    cluster.mail(2);
    cluster.pass(40_000);
    let is_nobody = |mail: &Mail| matches!(mail, Mail::Serving(Serving::Nobody));
    assert!(cluster.mail(2).iter().any(is_nobody), "the old leader serves nobody any more");
    assert_eq!(cluster.role(2), Role::Looking);
    assert!(cluster.has("/e")[2], "and ends no session");
    cluster.cut = None;
    cluster.pass(2000);
}

#[test]
fn a_leader_that_steps_down_lets_its_clients_go_and_keeps_what_it_logged() {
    let mut cluster = Cluster::new();
    let session = cluster.come(2, 1, SessionId::NONE).expect("a session at the leader");
    cluster.request((2, 1), session, 1, OpCode::Create, &create("/a", 0));
    assert_eq!(cluster.replies(2), [(1, 0)]);
    cluster.mail(2);
    cluster.queue.push_back((2, PeerInput::StepDown));
    cluster.settle();
    let is_nobody = |mail: &Mail| matches!(mail, Mail::Serving(Serving::Nobody));
    assert!(cluster.mail(2).iter().any(is_nobody));
    cluster.pass(3000);
    let roles = [0, 1, 2].map(|server| cluster.role(server));
    assert!(matches!(roles[1], Role::Leading { .. }), "{roles:?}");
    assert_eq!(roles[2], Role::Looking, "though it would win every election");
    assert_eq!(cluster.has("/a"), [true; 3]);
    assert_eq!(cluster.come(0, 2, session), Some(session), "the session lives on");
}

fn local_sessions() -> NodeConfig {
    NodeConfig {
        local_sessions: true,
        local_sessions_upgrade: true,
        read_only_mode: true,
        ..NodeConfig::default()
    }
}

#[test]
fn a_local_session_costs_nothing_until_its_first_ephemeral() {
    let mut cluster = Cluster::with(local_sessions());
    for server in [0, 2] {
        let at = (server, 1);
        let before = cluster.servers[server].tree.last_zxid();
        let session = cluster.come(server, 1, SessionId::NONE).expect("a session");
        assert_eq!(cluster.servers[server].tree.last_zxid(), before, "no transaction");
        assert_eq!(cluster.come(1, 2, session), None, "nobody else knows it");
        assert_eq!(cluster.come(server, 1, session), Some(session), "its own server does");
        let path = format!("/plain{server}");
        cluster.request(at, session, 1, OpCode::Create, &create(&path, 0));
        assert_eq!(cluster.replies(server), [(1, 0)]);
        assert!(cluster.servers[1].tree.sessions().is_empty(), "it writes as it is");
        let path = format!("/ephemeral{server}");
        cluster.request(at, session, 2, OpCode::Create, &create(&path, 1));
        assert_eq!(cluster.replies(server), [(2, 0)]);
        assert_eq!(cluster.has(&path), [true; 3]);
        assert_eq!(cluster.servers[1].tree.sessions().len(), 1, "now everybody knows it");
        assert_eq!(cluster.come(1, 3, session), Some(session), "and it can move");
        cluster.request((1, 3), session, 3, OpCode::CloseSession, &[]);
        assert_eq!(cluster.has(&path), [false; 3]);
    }
}

#[test]
fn a_local_session_ends_where_it_lives() {
    let mut cluster = Cluster::with(local_sessions());
    let session = cluster.come(0, 1, SessionId::NONE).expect("a session");
    cluster.request((0, 1), session, 1, OpCode::CloseSession, &[]);
    assert_eq!(cluster.replies(0), [(1, 0)]);
    assert_eq!(cluster.come(0, 2, session), None);
    let session = cluster.come(0, 3, SessionId::NONE).expect("another");
    cluster.pass_hearing(10_000, &[(0, session)]);
    cluster.mail(0);
    cluster.pass(12_000);
    let is_closed = |mail: &Mail| {
        matches!(mail, Mail::Close { conn: ConnId(3), reason: CloseReason::SessionExpired })
    };
    assert!(cluster.mail(0).iter().any(is_closed), "silent for too long");
    assert_eq!(cluster.servers[0].tree.last_zxid(), Zxid::ZERO, "all without a transaction");
}

#[test]
fn without_upgrading_a_local_session_has_no_ephemerals() {
    let settings = NodeConfig { local_sessions_upgrade: false, ..local_sessions() };
    let mut cluster = Cluster::with(settings);
    for server in [0, 2] {
        let session = cluster.come(server, 1, SessionId::NONE).expect("a session");
        cluster.request((server, 1), session, 1, OpCode::Create, &create("/e", 1));
        assert_eq!(cluster.replies(server), [(1, -120)]);
        assert_eq!(cluster.has("/e"), [false; 3]);
    }
}

#[test]
fn without_a_leader_readers_are_served() {
    let mut cluster = Cluster::with(local_sessions());
    let global = cluster.come(1, 1, SessionId::NONE).expect("a session");
    cluster.request((1, 1), global, 1, OpCode::Create, &create("/e", 1));
    assert_eq!(cluster.has("/e"), [true; 3]);
    cluster.cut = Some(2);
    // The others elect a leader; the one that is cut off finds out, and waits a while.
    cluster.pass(20_000);
    assert_eq!(cluster.role(2), Role::Looking);
    assert!(cluster.servers[2].member.core().is_read_only());
    let is_said = |mail: &Mail| matches!(mail, Mail::Serving(Serving::Readers));
    assert!(cluster.mail(2).iter().any(is_said), "Fronts are told");
    let reader = cluster.come(2, 7, SessionId::NONE).expect("a session");
    cluster.request((2, 7), reader, 1, OpCode::Create, &create("/w", 0));
    cluster.request((2, 7), reader, 2, OpCode::Sync, &sync());
    cluster.request((2, 7), reader, 3, OpCode::CloseSession, &[]);
    assert_eq!(cluster.replies(2), [(1, -119), (2, -119), (3, 0)]);
    // Whether a global session lives nobody knows here: no word about it.
    let conn = ConnRef { front: FRONT, conn: ConnId(8) };
    let password = password(global).into();
    cluster.say(2, ToCore::Connect { conn, session: global, password, timeout_ms: 6000 });
    let is_refused = |mail: &Mail| {
        matches!(mail, Mail::Close { conn: ConnId(8), reason: CloseReason::NotServing })
    };
    assert!(cluster.mail(2).iter().any(is_refused));
    cluster.cut = None;
    cluster.pass(5000);
    assert!(!cluster.servers[2].member.core().is_read_only());
    assert_ne!(cluster.role(2), Role::Looking);
}
