//! Connections to hosts: names are resolved at each attempt, and every address is tried.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::Host;

/// A connection to a host, by the first of its addresses that answers.
pub(crate) async fn dial(host: Host, patience: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    let addresses: Vec<_> = lookup_host((host.name.as_str(), host.port)).await?.collect();
    // An address that does not answer leaves time for the others.
    let share = patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// Whether a host takes writes.
pub(crate) async fn takes_writes(host: Host, patience: Duration) -> bool {
    let ask = async {
        let stream = dial(host, patience).await?;
        write_all(&stream, b"isro").await?;
        let mut answer = [0; 2];
        read_exact(&stream, &mut answer).await?;
        io::Result::Ok(&answer == b"rw")
    };
    matches!(timeout(patience, ask).await, Ok(Ok(true)))
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn read_exact(stream: &TcpStream, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.readable().await?;
        match stream.try_read(bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes = &mut bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
