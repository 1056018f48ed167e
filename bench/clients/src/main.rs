//! So many tasks share one session, each with so many requests on their way: it sends the next one when its
//! oldest is answered.
//!
//!     bench-clients (ours|zookeeper-client) host:port (get|set) TASKS DEPTH SECONDS (one|many)
//!
//! Prints operations per second. `one` is a runtime of one thread, `many` of as many as there are
//! processors.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use oxikeeper_client::{CreateOptions, ExpectedVersion};
use zookeeper_client::{Acls, CreateMode};

const PATH: &str = "/bench-clients";
const DATA: [u8; 100] = [b'x'; 100];

/// How much is asked at once.
#[derive(Clone, Copy)]
struct Size {
    tasks: usize,
    /// Of each task.
    depth: usize,
}

/// Not measured.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [client, address, operation, tasks, depth, seconds, threads] = arguments.as_slice() else {
        eprintln!("usage: bench-clients CLIENT host:port get|set TASKS DEPTH SECONDS one|many");
        std::process::exit(2);
    };
    let runtime = match threads.as_str() {
        "one" => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
    }
    .expect("a runtime");
    let size = Size {
        tasks: tasks.parse().expect("a number of tasks"),
        depth: depth.parse().expect("a number of requests"),
    };
    let time = Duration::from_secs(seconds.parse().expect("a number of seconds"));
    let is_get = operation == "get";
    let rate = runtime.block_on(async {
        match client.as_str() {
            "ours" => ours(address, is_get, size, time).await,
            _ => theirs(address, is_get, size, time).await,
        }
    });
    println!("{rate:.0}");
}

async fn ours(address: &str, is_get: bool, size: Size, time: Duration) -> f64 {
    let client = oxikeeper_client::Client::connect(address).await.expect("a session");
    // It may be there.
    let _ = client.create(PATH, &DATA, &CreateOptions::persistent()).await;
    measure(size.tasks, time, |until| {
        let client = client.clone();
        Box::pin(async move {
            if is_get {
                pipeline(size.depth, until, || client.get_data(PATH)).await
            } else {
                pipeline(size.depth, until, || client.set_data(PATH, &DATA, ExpectedVersion::Any))
                    .await
            }
        })
    })
    .await
}

async fn theirs(address: &str, is_get: bool, size: Size, time: Duration) -> f64 {
    let client = zookeeper_client::Client::connect(address).await.expect("a session");
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    // It may be there.
    let _ = client.create(PATH, &DATA, &options).await;
    measure(size.tasks, time, |until| {
        let client = client.clone();
        Box::pin(async move {
            if is_get {
                pipeline(size.depth, until, || client.get_data(PATH)).await
            } else {
                pipeline(size.depth, until, || client.set_data(PATH, &DATA, None)).await
            }
        })
    })
    .await
}

/// One task's requests until it is time, so many on their way at once: how many.
async fn pipeline<F, T, E>(depth: usize, until: Instant, ask: impl Fn() -> F) -> u64
where
    F: Future<Output = Result<T, E>>,
    E: std::fmt::Debug,
{
    // Both clients send when the future is made.
    let mut asked: VecDeque<Pin<Box<F>>> = (0..depth).map(|_| Box::pin(ask())).collect();
    let mut count = 0;
    while let Some(oldest) = asked.pop_front() {
        oldest.await.expect("an answer");
        count += 1;
        if Instant::now() < until {
            asked.push_back(Box::pin(ask()));
        }
    }
    count
}

type Counting = Pin<Box<dyn Future<Output = u64> + Send>>;

/// Operations per second of all tasks together.
async fn measure(tasks: usize, time: Duration, task: impl Fn(Instant) -> Counting) -> f64 {
    run(tasks, WARM_UP, &task).await;
    let start = Instant::now();
    let count = run(tasks, time, &task).await;
    count as f64 / start.elapsed().as_secs_f64()
}

async fn run(tasks: usize, time: Duration, task: &impl Fn(Instant) -> Counting) -> u64 {
    let until = Instant::now() + time;
    let running: Vec<_> = (0..tasks).map(|_| tokio::spawn(task(until))).collect();
    let mut count = 0;
    for task in running {
        count += task.await.expect("no task panics");
    }
    count
}
