//! One measurement: prepare, connect, load, look at the server before and after.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, connect_all, resolve_all};
use crate::connection::Connection;
use crate::error::BenchError;
use crate::options::{Options, Workload};
use crate::plan::{FAN_OUT, Plan, key_path, list_path};
use crate::process::usage;
use crate::recorder::Recorder;
use crate::report::Report;
use crate::worker::{Task, Worker};

type WorkerResult = Result<(Recorder, Vec<Connection>), BenchError>;

/// Runs a measurement from preparation to cleaning.
///
/// # Errors
/// Whatever keeps it from being one. Replies with error codes are counted in the report instead.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    options.check()?;
    let addresses = resolve_all(&options.server)?;
    let fresh = format!("{}/r{:08x}", options.prefix(), std::process::id());
    prepare(options, &addresses, &fresh)?;
    let report = measure(options, &addresses, &fresh)?;
    if options.clean {
        Client::connect(addresses[0])?.delete_all(&options.root)?;
    }
    Ok(report)
}

fn prepare(options: &Options, addresses: &[SocketAddr], fresh: &str) -> Result<(), BenchError> {
    if options.workload == Workload::Idle {
        return Ok(());
    }
    let mut client = Client::connect(addresses[0])?;
    let prefix = options.prefix();
    // The root may lie below others that are not there.
    let parts = prefix.match_indices('/').skip(1).map(|(at, _)| prefix[..at].to_owned());
    if !prefix.is_empty() {
        client.exist(parts.chain([prefix.to_owned()]))?;
    }
    if options.workload == Workload::Create {
        client.exist([fresh.to_owned()].into_iter())?;
    }
    if options.no_setup {
        return Ok(());
    }
    let value = vec![b'v'; options.size];
    let total = options.count().unwrap_or(0);
    match options.workload {
        Workload::Get | Workload::Set | Workload::Mixed | Workload::Multi => {
            client.ensure((0..options.keys).map(|key| key_path(prefix, key)), &value)
        }
        Workload::GetChildren => {
            let list = list_path(prefix);
            let children = (0..options.children).map(|child| format!("{list}/c{child:09}"));
            client.ensure([list.clone()].into_iter().chain(children), &[])
        }
        Workload::Delete => fill(options, addresses, total),
        Workload::Watches if options.shared => fill(options, addresses, total),
        Workload::Watches => fill(options, addresses, total * options.connections as u64),
        Workload::Create | Workload::Fill | Workload::Idle => Ok(()),
    }
}

/// Makes a filled tree; nodes that are there already stay.
fn fill(options: &Options, addresses: &[SocketAddr], count: u64) -> Result<(), BenchError> {
    let connections = options.connections.min(50).min(count.div_ceil(FAN_OUT).max(1) as usize);
    let fill = Options {
        workload: Workload::Fill,
        connections,
        threads: 1,
        pipeline: 16,
        count: Some(count),
        rate: None,
        pid: None,
        ..options.clone()
    };
    measure(&fill, addresses, "").map(|_| ())
}

fn measure(options: &Options, addresses: &[SocketAddr], fresh: &str) -> Result<Report, BenchError> {
    let look =
        || Ok::<_, BenchError>((options.pid.map(usage).transpose()?, usage(std::process::id())?));
    let unconnected = look()?;
    let streams = connect_all(addresses, options.connections, options.session_timeout)?;
    let window = window(options);
    let connected = look()?;
    let origin = Instant::now();
    let at = |ns: u64| origin + Duration::from_nanos(ns);
    let (sender, results) = mpsc::channel::<WorkerResult>();
    for (index, (streams, places)) in deal(streams, options.threads).into_iter().enumerate() {
        let plan = Plan::new(options, fresh, places);
        let worker = Worker::new(task(options, origin, window, index), streams, plan)?;
        let sender = sender.clone();
        // Whoever does not wait any more has failed already.
        thread::spawn(move || drop(sender.send(worker.run())));
    }
    drop(sender);
    let mut finished = Vec::new();
    let before = if options.workload == Workload::Idle {
        unconnected
    } else if window.0 == 0 {
        connected
    } else {
        wait(&results, &mut finished, at(window.0))?;
        look()?
    };
    let mut after = None;
    if window.1 != u64::MAX {
        wait(&results, &mut finished, at(window.1))?;
        after = Some(look()?);
    }
    let mut merged: Option<Recorder> = None;
    // Connections stay open until the server has been looked at.
    let mut connections = Vec::new();
    for result in finished.into_iter().chain(results) {
        let (recorder, open) = result?;
        connections.extend(open);
        match &mut merged {
            Some(merged) => merged.merge(&recorder),
            None => merged = Some(recorder),
        }
    }
    thread::sleep(options.settle());
    let after = match after {
        Some(after) => after,
        None => look()?,
    };
    Ok(Report {
        options: options.clone(),
        began: at(window.0),
        recorder: merged.expect("there is at least one worker"),
        server: before.0.zip(after.0),
        own: (before.1, after.1),
    })
}

/// When things begin to count and cease to, nanoseconds since the origin.
fn window(options: &Options) -> (u64, u64) {
    let from = options.warm_up().as_nanos() as u64;
    let to = match options.count() {
        Some(_) if options.workload != Workload::Idle => u64::MAX,
        _ => from + Duration::from_secs_f64(options.duration).as_nanos() as u64,
    };
    (from, to)
}

/// Shares connections out; each worker also learns their places among all.
fn deal(streams: Vec<TcpStream>, threads: usize) -> Vec<(Vec<TcpStream>, Vec<u64>)> {
    let mut hands: Vec<(Vec<TcpStream>, Vec<u64>)> = Vec::new();
    hands.resize_with(threads, Default::default);
    for (place, stream) in streams.into_iter().enumerate() {
        let (streams, places) = &mut hands[place % threads];
        streams.push(stream);
        places.push(place as u64);
    }
    hands
}

fn task(options: &Options, origin: Instant, window: (u64, u64), index: usize) -> Task {
    let threads = options.threads as u64;
    let is_limited = !matches!(
        options.workload,
        Workload::Fill | Workload::Delete | Workload::Watches | Workload::Idle
    );
    let limit = options.count().filter(|_| is_limited).map(|count| {
        // The first workers take what does not divide.
        count / threads + u64::from((index as u64) < count % threads)
    });
    Task {
        origin,
        window,
        limit,
        depth: options.pipeline,
        rate: options.rate.map(|rate| rate / options.threads as f64),
        ping_every_ns: options.session_timeout.max(0) as u64 * 1_000_000 / 3,
        is_idle: options.workload == Workload::Idle,
    }
}

/// Waits until a time, or until a worker ends early; a worker that fails ends everything.
fn wait(
    results: &mpsc::Receiver<WorkerResult>,
    finished: &mut Vec<WorkerResult>,
    until: Instant,
) -> Result<(), BenchError> {
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match results.recv_timeout(left) {
            Ok(Err(error)) => return Err(error),
            Ok(result) => finished.push(result),
            Err(mpsc::RecvTimeoutError::Timeout) => return Ok(()),
            // All are done.
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
    Ok(())
}
