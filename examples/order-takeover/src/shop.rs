//! The program that places orders, and wants to know what becomes of each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use oxikeeper_client::Client;
use oxikeeper_client::recipe::Group;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::order::{Order, Step};
use crate::paths::{LEDGER, ORDERS};

/// How long a process may take to answer before another one is asked.
const ANSWER: Duration = Duration::from_millis(500);

/// What the shop knows of an order.
struct Placed {
    through: String,
    quantity: u32,
}

/// See the module.
pub struct Shop {
    group: Group,
    placed: BTreeMap<String, Placed>,
    /// The longest that an order or an update has waited for its answer, all tries together.
    pub slowest: Duration,
}

impl Shop {
    /// One that has placed nothing yet.
    pub fn new(group: Group) -> Shop {
        Shop { group, placed: BTreeMap::new(), slowest: Duration::ZERO }
    }

    /// How many orders were placed.
    pub fn count(&self) -> usize {
        self.placed.len()
    }

    /// Places an order, with whoever answers; returns only when it is taken.
    pub async fn place(&mut self, quantity: u32) -> String {
        let id = format!("order-{:02}", self.placed.len() + 1);
        let through = self.ask(&format!("place {id} {quantity}")).await;
        self.placed.insert(id.clone(), Placed { through, quantity });
        id
    }

    /// Changes an order.
    pub async fn update(&mut self, id: &str, quantity: u32) {
        self.ask(&format!("update {id} {quantity}")).await;
        if let Some(placed) = self.placed.get_mut(id) {
            placed.quantity = quantity;
        }
    }

    /// Asks the members in turn until one says ok, and says who did.
    async fn ask(&mut self, request: &str) -> String {
        let began = Instant::now();
        loop {
            for (name, port) in self.group.members() {
                let port = String::from_utf8_lossy(&port).into_owned();
                let answer = tokio::time::timeout(ANSWER, converse(&port, request)).await;
                if let Ok(Ok(text)) = answer
                    && text.starts_with("ok ")
                {
                    self.slowest = self.slowest.max(began.elapsed());
                    return name;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends one member a request, and does not wait for the answer.
    pub async fn say(&self, name: &str, request: &str) -> std::io::Result<TcpStream> {
        let port = self.group.members().get(name).map(|port| port.to_vec()).unwrap_or_default();
        let mut stream = connect(&String::from_utf8_lossy(&port)).await?;
        stream.write_all(format!("{request}\n").as_bytes()).await?;
        Ok(stream)
    }

    /// Waits until everything is done, and tells the fate of each order. How many are lost, and how many were done
    /// twice.
    pub async fn fates(&self, client: &Client) -> Result<(usize, usize), oxikeeper_client::Error> {
        let mut orders = BTreeMap::new();
        for id in self.placed.keys() {
            loop {
                let (data, _, watch) = match client.get_data_watch(&format!("{ORDERS}/{id}")).await
                {
                    Err(error) if error.is_no_node() => break,
                    found => found?,
                };
                match Order::parse(&data) {
                    Some(order) if order.step == Step::Done => {
                        orders.insert(id, order);
                        break;
                    }
                    _ => drop(watch.await?),
                }
            }
        }
        let mut done: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in client.get_children(LEDGER).await? {
            let (data, _) = client.get_data(&format!("{LEDGER}/{entry}")).await?;
            let text = String::from_utf8_lossy(&data).into_owned();
            if let Some((id, by)) = text.split_once(' ') {
                done.entry(id.to_owned()).or_default().push(by.to_owned());
            }
        }
        let (mut lost, mut twice) = (0, 0);
        for (id, placed) in &self.placed {
            let by = done.get(id).map_or(&[][..], Vec::as_slice);
            let is_right = orders.get(id).is_some_and(|order| order.quantity == placed.quantity);
            lost += usize::from(by.is_empty() || !is_right);
            twice += usize::from(by.len() > 1);
            println!(
                "  {id}: quantity {}, placed through {}, done {} by {}",
                placed.quantity,
                placed.through,
                if by.len() == 1 { "once".to_owned() } else { format!("{} times", by.len()) },
                by.join(" and ")
            );
        }
        Ok((lost, twice))
    }
}

async fn connect(port: &str) -> std::io::Result<TcpStream> {
    TcpStream::connect(format!("127.0.0.1:{port}")).await
}

async fn converse(port: &str, request: &str) -> std::io::Result<String> {
    let mut stream = connect(port).await?;
    stream.write_all(format!("{request}\n").as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    Ok(answer)
}
