//! Orders that survive the death of the process that handles them. See the README beside this crate.
//!
//! Without arguments it is the director: it starts everything, breaks some of it, tells what happens and checks the end.
//! `node NAME CONNECT` is one of the application's processes.

mod node;
mod order;
mod paths;
mod servers;
mod shop;
mod stage;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use oxikeeper_client::recipe::{Group, Messenger};
use oxikeeper_client::{Client, CreateOptions};
use rustix::process::Signal;

use servers::Servers;
use shop::Shop;
use stage::{Process, Story};

/// Says something, for the director to hear.
#[macro_export]
macro_rules! narrate {
    ($($text:tt)*) => { println!($($text)*) };
}

/// How long a silent process is believed to be alive.
const SESSION_TIMEOUT: Duration = Duration::from_millis(1500);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [] => direct().await,
        [role, name, connect] if role == "node" => {
            let ended = node::run(name, connect, SESSION_TIMEOUT).await;
            ended.map(|()| true).map_err(|error| error.to_string().into())
        }
        _ => Err("no arguments are needed".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no order was lost, and none done twice.
async fn direct() -> Result<bool, Box<dyn std::error::Error>> {
    let story = Story::begin();
    let dir = tempfile::tempdir()?;
    story.tell("An ensemble of three servers.");
    let mut servers = Servers::start(dir.path()).await?;
    let connect = servers.connect_string();
    let client = Client::connect(&connect).await?;
    for path in [paths::ORDERS, paths::LEDGER] {
        client.create(path, b"", &CreateOptions::persistent()).await?;
    }
    let mut inbox = Messenger::open(&client, paths::MESSAGES, "shop").await?;
    let listener = story.clone();
    tokio::spawn(async move {
        while let Ok(message) = inbox.receive().await {
            let text = String::from_utf8_lossy(&message.data).into_owned();
            listener.tell(&format!("    shop reads: \"{text}\""));
            if message.done().await.is_err() {
                return;
            }
        }
    });

    story.tell("Two processes take orders: order1, which is asked first, and order2.");
    let order1 = Process::start(&story, "order1", &connect).await?;
    let _order2 = Process::start(&story, "order2", &connect).await?;
    let mut shop = Shop::new(Group::observe(&client, paths::MEMBERS).await?);
    shop_a_while(&mut shop, 20).await;
    story.tell(&format!("{} orders are placed, every third is updated.", shop.count()));

    story.tell("order1 is killed with -9 while it has orders to do and another one comes in.");
    let in_flight = shop.say("order1", "place order-21 2").await?;
    let killed = Instant::now();
    order1.signal(Signal::KILL)?;
    drop(in_flight);
    shop_a_while(&mut shop, 10).await;
    let taken = story.hear("TAKEN", killed).await?;
    let takeover = taken.duration_since(killed);
    story.tell(&format!(
        "Taken over {:.0} ms after the kill, of which {} ms are the session's timeout.",
        takeover.as_secs_f64() * 1e3,
        SESSION_TIMEOUT.as_millis()
    ));
    drop(order1);

    story.tell("order1 is started again. What was said while it was dead is in its inbox.");
    let began = Instant::now();
    let order1 = Process::start(&story, "order1", &connect).await?;
    story.hear("order1 reads", began).await?;
    shop_a_while(&mut shop, 12).await;
    let contested = shop.place(4).await;
    story.tell(&format!("order1 decides to write {contested}, and is stopped before it does."));
    let began = Instant::now();
    let _thought = shop.say("order1", &format!("think {contested} 1000")).await?;
    story.hear("has decided", began).await?;
    let stopped = Instant::now();
    order1.signal(Signal::STOP)?;
    story.hear("TAKEN", stopped).await?;
    story.tell("order1 goes on, and believes that these are its orders still.");
    order1.signal(Signal::CONT)?;
    story.hear("REFUSED", stopped).await?;

    shop.slowest = Duration::ZERO;
    let server = servers.kill_leader()?;
    story.tell(&format!("Server {server}, the leader of the ensemble, is killed with -9."));
    shop_a_while(&mut shop, 20).await;
    story.tell(&format!(
        "20 more orders: the slowest answer took {:.0} ms.",
        shop.slowest.as_secs_f64() * 1e3
    ));

    println!("The fates:");
    let (lost, twice) = shop.fates(&client).await?;
    println!(
        "{} orders: {lost} lost, {twice} done twice; takeover in {:.0} ms",
        shop.count(),
        takeover.as_secs_f64() * 1e3
    );
    Ok(lost == 0 && twice == 0)
}

/// Places so many orders, and updates every third.
async fn shop_a_while(shop: &mut Shop, count: usize) {
    for number in 0..count {
        let id = shop.place(1 + u32::try_from(number % 5).unwrap_or(0)).await;
        if number % 3 == 0 {
            shop.update(&id, 10).await;
        }
    }
}
