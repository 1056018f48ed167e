//! A server's life: from files to serving, and to a clean end.

use std::io::{self, IsTerminal};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use mio::{Poll, Waker};
use oxikeeper_node::core::Core;
use oxikeeper_node::front::Front;
use oxikeeper_node::mail::FrontId;
use oxikeeper_node::member::Member;
use oxikeeper_storage::{Dirs, LogPreparer, RealDisk, TxnLog};
use oxikeeper_tree::Tree;
use oxikeeper_zab::io::Input as PeerInput;
use oxikeeper_zab::peer::Peer;
use parking_lot::{Mutex, RwLock};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::acceptor::{Acceptor, ClientPort, listen};
use crate::admin;
use crate::awake::{Awake, Lookout};
use crate::clock::{self, Clock};
use crate::commands::{Commands, poke_all};
use crate::config::{Config, MetricsProvider, Note};
use crate::dir_lock;
use crate::engine::{Engine, Runner};
use crate::ensemble::{
    Driver, Ensemble, EnsembleFiles, FeedJob, Feeder, Found, Net, NetHandle, NetParts, Standing,
    prepare,
};
use crate::error::RunError;
use crate::files::{Files, Restored};
use crate::limits::ConnectionLimits;
use crate::log_writer::{LogAhead, LogJob, LogWriter, prepare_logs};
use crate::metrics::DiskStages;
use crate::open_files;
use crate::reactor::{Desk, Reactor, WAKER};
use crate::shared::{Counters, LastSnapshot, Mailbox, Shared};
use crate::signals::EndSignals;
use crate::snapshotter::Snapshotter;
use crate::words::Settings;

/// A server as a process: the log's set-up, the server, and its exit code.
pub fn main(config: Config) -> ExitCode {
    let filter = EnvFilter::try_from_env("OXIKEEPER_LOG").unwrap_or_else(|_| "info".into());
    let color = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(color)
        // Where a line cannot be written, a line about that cannot be written either, and trying
        // would end the process: its log may be a closed pipe or lie on a full disk.
        .log_internal_errors(false)
        .init();
    // A thread that panics has met a broken invariant: the process ends, and recovery is the way
    // back.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    for note in &config.notes {
        match note {
            Note::Warning(text) => warn!("{text}"),
            Note::Error(text) => error!("{text}"),
        }
    }
    #[cfg(feature = "mutations")]
    arm_mutation();
    match run(config) {
        Ok(code) => code,
        Err(error) => {
            error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Injects the defect that `OXIKEEPER_MUTATION` names.
#[cfg(feature = "mutations")]
fn arm_mutation() {
    use oxikeeper_node::mutation::{Mutation, arm_everywhere};
    let Ok(name) = std::env::var("OXIKEEPER_MUTATION") else { return };
    let named = Mutation::ALL.iter().find(|mutation| format!("{mutation:?}") == name);
    arm_everywhere(*named.unwrap_or_else(|| panic!("{name} is no defect that can be injected")));
    warn!("a defect is injected: {name}");
}

/// Runs a server until a signal ends it.
///
/// # Errors
/// What keeps it from serving.
pub fn run(config: Config) -> Result<ExitCode, RunError> {
    let clock = Clock::start();
    let listener = listen(&config)?;
    let ensemble = Ensemble::of(&config)?;
    let admin = admin::listen(&config)?;
    let system = |what| move |error| RunError::System(what, error);
    let mut signals = EndSignals::take().map_err(system("signals"))?;
    let disk = Arc::new(RealDisk);
    let dirs = Dirs::new(&config.data_dir, &config.data_log_dir);
    dirs.prepare(&*disk, config.datadir_autocreate)
        .map_err(|source| RunError::directories(source, &config.data_dir, &config.data_log_dir))?;
    let _lock = dir_lock::take(&config.data_dir)?;
    let began = clock.now();
    let files = Files {
        disk: Arc::clone(&disk),
        dirs: dirs.clone(),
        recover: config.recover,
        tree: config.tree,
        compression: config.compression,
        clock,
    };
    let may_begin = ensemble.as_ref().is_none_or(|ensemble| ensemble.may_begin_empty);
    // Alone, nobody can send what is missing: the operator has to decide.
    let has_others = ensemble.as_ref().is_some_and(Ensemble::has_others);
    let restored = match has_others {
        true => files.restore_in_ensemble(may_begin)?,
        false => files.restore(may_begin)?,
    };
    let Restored { mut tree, replayed, snapshot, snapshot_took, logs_took, .. } = restored;
    let peer = match &ensemble {
        None => None,
        Some(ensemble) => {
            let (text, version) = ensemble.config_node();
            tree.set_config(&text, version);
            let Restored { is_new, is_incomplete, .. } = restored;
            let found = Found { last: tree.last_zxid(), is_new, is_incomplete };
            Some(ensemble.peer(&files, found, clock.now())?)
        }
    };
    let counters = Counters {
        disk: Mutex::new(load_stages(clock.now().since(began), snapshot_took, logs_took, replayed)),
        last_snapshot: Mutex::new(snapshot.as_deref().and_then(LastSnapshot::found)),
        ..Counters::default()
    };
    let started =
        Started { clock, config, files, counters, replayed, ensemble: ensemble.zip(peer) };
    let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let zxid = tree.last_zxid();
    let server = Server::start(started, tree, listener, admin)?;
    info!(
        version = crate::version(),
        address = address.map_or_else(|| "none".to_owned(), |address| address.to_string()),
        data_dir = %server.data_dir.display(),
        %zxid,
        replayed,
        ms = clock.now().millis(),
        "serving"
    );
    let signal = signals.wait();
    server.end();
    Ok(ExitCode::from(128 + signal as u8))
}

fn load_stages(all: Duration, snapshot: Duration, logs: Duration, txns: u64) -> DiskStages {
    let mut stages = DiskStages::default();
    stages.load_us.count(all.as_micros() as u64);
    stages.load_snapshot_us.count(snapshot.as_micros() as u64);
    stages.load_logs_us.count(logs.as_micros() as u64);
    stages.load_txns.count(txns);
    stages
}

struct Started {
    clock: Clock,
    config: Config,
    files: Files<RealDisk>,
    counters: Counters,
    /// Transactions that came from logs.
    replayed: u64,
    ensemble: Option<(Ensemble, Peer)>,
}

/// The threads of a running server.
struct Server {
    shared: Arc<Shared>,
    log: thread::JoinHandle<()>,
    data_dir: std::path::PathBuf,
    end_patience: Duration,
}

impl Server {
    fn start(
        started: Started,
        tree: Tree,
        listener: Option<TcpListener>,
        admin: admin::Listeners,
    ) -> Result<Server, RunError> {
        let Started { clock, config, files, counters, replayed, ensemble } = started;
        let (disk, dirs) = (Arc::clone(&files.disk), files.dirs.clone());
        let admin_dirs = dirs.clone();
        let system = |what| move |error| RunError::System(what, error);
        let node = Arc::new(config.node.clone());
        let polls: Vec<Poll> = (0..config.reactors)
            .map(|_| Poll::new())
            .collect::<io::Result<_>>()
            .map_err(system("epoll"))?;
        let mailboxes: Vec<Arc<Mailbox>> = polls
            .iter()
            .map(|poll| Ok(Arc::new(Mailbox::new(Waker::new(poll.registry(), WAKER)?))))
            .collect::<io::Result<_>>()
            .map_err(system("epoll"))?;
        let front_count = u16::try_from(polls.len()).expect("few reactors");
        let mut core = Core::new(Arc::clone(&node), &tree, front_count, clock.now());
        if replayed > 0 {
            // The next start then has less to replay.
            core.want_snapshot();
        }
        let last_zxid = tree.last_zxid();
        let (log_sender, log_receiver) = mpsc::channel();
        let (walk_sender, walk_receiver) = mpsc::channel();
        let members = ensemble.as_ref().map(|(ensemble, _)| ensemble.members());
        let standing = Arc::new(Mutex::new(Standing::new(members)));
        let mut seated = None;
        let (member, driver) = match ensemble {
            None => (Member::standalone(core), None),
            Some((ensemble, peer)) => {
                let (poll, net) = prepare().map_err(system("epoll"))?;
                let (feed, feeds) = mpsc::channel();
                let driver = Driver {
                    net: Arc::clone(&net),
                    log: log_sender.clone(),
                    feeder: feed.clone(),
                    my_id: ensemble.seat.my_id,
                    standing: Arc::clone(&standing),
                };
                seated = Some(Seated { ensemble, poll, net, feed, feeds });
                (Member::new(core, peer), Some(driver))
            }
        };
        let files_of_log = EnsembleFiles {
            files: files.clone(),
            log: config.log,
            commit_log_count: seated.as_ref().map_or(0, |s| s.ensemble.commit_log_count()),
            config: seated.as_ref().map(|s| s.ensemble.config_node()).unwrap_or_default(),
            config_files: seated.as_ref().and_then(|s| s.ensemble.config_files.clone()),
        };
        let log_for_net = log_sender.clone();
        let shared = Arc::new(Shared {
            tree: RwLock::new(tree),
            engine: Engine::new(member, clock, driver, log_sender, walk_sender),
            mailboxes,
            counters,
            standing,
            ensemble: config.node.ensemble.then(|| config.ensemble.clone()),
            client_port: ClientPort::default(),
            stopping: AtomicBool::new(false),
        });
        let awake = Arc::new(Awake::start(config.awake, clock)?);
        let (wanted, is_wanted) = mpsc::channel();
        let (is_ready, ready) = mpsc::channel();
        let log = LogWriter {
            log: TxnLog::new(Arc::clone(&disk), dirs.clone(), config.log, last_zxid),
            shared: Arc::clone(&shared),
            clock,
            warn_after: config.fsync_warning,
            ahead: LogAhead { wanted, ready, is_asked: false },
            files: files_of_log,
            is_in_ensemble: seated.is_some(),
            lookout: Lookout::new(Arc::clone(&awake)),
        };
        let preparer = LogPreparer::new(Arc::clone(&disk), dirs.clone(), config.log);
        spawn("log-ahead", move || prepare_logs(preparer, &is_wanted, &is_ready, clock))?;
        let log = spawn("log", move || {
            if let Err(error) = log.run(&log_receiver) {
                error!("the transaction log failed, nothing can be acknowledged any more: {error}");
                std::process::exit(1);
            }
        })?;
        let snapshotter = Snapshotter {
            disk,
            dirs,
            compression: config.compression,
            digest_enabled: node.digest_enabled,
            shared: Arc::clone(&shared),
            clock,
            purge: config.purge,
        };
        spawn("snapshot", move || snapshotter.run(&walk_receiver))?;
        if let Some(seated) = seated {
            seated.start(&config, files, Arc::clone(&shared), log_for_net, clock)?;
        }
        let open_files = open_files::shares(admin.count());
        let limits = Arc::new(ConnectionLimits::new(
            config.connections_per_ip_max,
            config.connections_max,
            open_files.clients,
        ));
        let admin_limits = Arc::clone(&limits);
        let desks: Vec<Arc<Desk>> = polls.iter().map(|_| Arc::default()).collect();
        let settings = Settings {
            dirs: Dirs::new(&config.data_dir, &config.data_log_dir),
            tick_ms: u64::from(node.tick_ms),
            connections_per_ip_max: config.connections_per_ip_max,
            session_timeout_ms_min: node.session_timeout_ms_min,
            session_timeout_ms_max: node.session_timeout_ms_max,
            listen_backlog: config.listen_backlog,
        };
        // As Apache's providers: a counter of Prometheus never falls.
        let resets_everything = matches!(config.metrics, MetricsProvider::Default);
        let commands = Arc::new(Commands::new(
            desks.clone(),
            settings,
            clock,
            Arc::clone(&limits),
            resets_everything,
        ));
        for (index, poll) in (0..front_count).zip(polls) {
            let reactor = Reactor::new(
                Front::new(FrontId(index), Arc::clone(&node)),
                poll,
                Arc::clone(&shared.mailboxes[usize::from(index)]),
                Arc::clone(&desks[usize::from(index)]),
                Arc::clone(&shared),
                Arc::clone(&commands),
                Arc::clone(&limits),
                Lookout::new(Arc::clone(&awake)),
                clock,
            );
            spawn(&format!("reactor-{index}"), move || {
                if let Err(error) = reactor.run() {
                    error!("a reactor failed: {error}");
                    std::process::exit(1);
                }
            })?;
        }
        let acceptor = Acceptor {
            listener,
            desks,
            shared: Arc::clone(&shared),
            limits,
            keep_alive: config.client_keep_alive,
            backlog: config.listen_backlog,
        };
        spawn("accept", move || acceptor.run())?;
        admin::start(
            admin,
            &config,
            node,
            admin_dirs,
            Arc::clone(&shared),
            commands,
            admin_limits,
            open_files.admin_port,
            clock,
        );
        let data_dir = config.data_dir;
        Ok(Server { shared, log, data_dir, end_patience: config.end_patience })
    }

    /// Takes no more requests, makes what was taken durable, and ends.
    fn end(self) {
        let patience = self.end_patience;
        // A leader lets go first: the others need not find out that it is gone.
        self.shared.run_core([PeerInput::StepDown], Runner::Reactor);
        self.shared.stopping.store(true, Ordering::SeqCst);
        poke_all(&self.shared);
        let (sender, receiver) = mpsc::channel();
        let joined = spawn("end", move || {
            if self.shared.engine.finish(&self.shared) {
                let _ = self.log.join();
            } else {
                warn!("writes that waited for room on the log's disk did not happen");
            }
            let _ = sender.send(());
        });
        if joined.is_err() || receiver.recv_timeout(patience).is_err() {
            warn!("the log did not come to its end in time; nothing acknowledged is lost");
        }
    }
}

pub(crate) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, RunError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| RunError::System("threads", error))
}

/// A server of an ensemble whose threads are about to run.
struct Seated {
    ensemble: Ensemble,
    poll: Poll,
    net: Arc<NetHandle>,
    feed: mpsc::Sender<FeedJob>,
    feeds: mpsc::Receiver<FeedJob>,
}

impl Seated {
    fn start(
        self,
        config: &Config,
        files: Files<RealDisk>,
        shared: Arc<Shared>,
        log: mpsc::Sender<LogJob>,
        clock: Clock,
    ) -> Result<(), RunError> {
        let feeder = Feeder {
            files,
            size_factor: config.ensemble.snapshot_size_factor,
            shared: Arc::clone(&shared),
            clock,
            patience: self.ensemble.patience(),
        };
        let feeds = self.feeds;
        spawn("feeder", move || feeder.run(&feeds))?;
        let parts = NetParts {
            seat: Arc::clone(&self.ensemble.seat),
            shared,
            clock,
            log,
            feeder: self.feed,
            tree: config.tree,
        };
        let net = Net::new(self.poll, self.net, self.ensemble.listeners, parts)
            .map_err(|error| RunError::System("epoll", error))?;
        spawn("quorum", move || {
            if let Err(error) = net.run() {
                error!("the thread of the quorum port failed: {error}");
                std::process::exit(1);
            }
        })?;
        Ok(())
    }
}

/// The seed of everything that need not repeat.
pub(crate) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(clock::wall().0)
}
