//! A TCP proxy that cuts connections, or lets nothing through for a while.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the connections of a proxy fare.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// Connections of an earlier number are cut.
    generation: u64,
    /// Nothing gets through.
    is_stuck: bool,
}

/// A proxy for one server.
pub struct Proxy {
    address: SocketAddr,
    fate: watch::Sender<Fate>,
}

impl Proxy {
    /// Listens on a free port of the loopback.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start(server: SocketAddr) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (fate, follow) = watch::channel(Fate::default());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let follow = follow.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    let generation = follow.borrow().generation;
                    let (client_read, client_write) = client.into_split();
                    let (server_read, server_write) = server.into_split();
                    // Either direction's end is the end of both: what is dropped is closed.
                    tokio::select! {
                        () = carry(client_read, server_write, follow.clone(), generation) => {}
                        () = carry(server_read, client_write, follow, generation) => {}
                    }
                });
            }
        });
        Ok(Proxy { address, fate })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections of now.
    pub fn cut(&self) {
        self.fate.send_modify(|fate| fate.generation += 1);
    }

    /// From now on nothing gets through, or everything that has waited.
    pub fn set_stuck(&self, is_stuck: bool) {
        self.fate.send_modify(|fate| fate.is_stuck = is_stuck);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut fate: watch::Receiver<Fate>,
    generation: u64,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Fate { generation: now, is_stuck } = *fate.borrow_and_update();
        if now != generation {
            return;
        }
        tokio::select! {
            changed = fate.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            read = from.read(&mut buffer), if !is_stuck => match read {
                Ok(count) if count > 0 => {
                    if to.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }
}
