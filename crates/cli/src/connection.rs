//! The shell's connection: one client, its state told and waited for, and why it does not come.

use std::time::Duration;

use oxikeeper_client::{Client, ConnectString, Error, RetryPolicy, State};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::fault::Fault;
use crate::invocation::Invocation;
use crate::watches::Teller;

/// How long a connection may take before it is asked whether anybody listens at all.
const PROBE_AFTER: Duration = Duration::from_millis(1000);
/// How long one host may take to answer that.
const PROBE_TIMEOUT: Duration = Duration::from_millis(2000);
/// How long a graceful end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A client that connects, or is connected.
pub struct Connection {
    /// The client.
    pub client: Client,
    /// What it was told to connect to.
    pub server: String,
    states: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Connection {
    /// Begins to connect. `tells` what becomes of the session.
    pub fn start(
        server: &str,
        invocation: &Invocation,
        tells: Option<Teller>,
    ) -> Result<Connection, Fault> {
        let client = Client::builder(server)
            .session_timeout(invocation.timeout)
            .allow_read_only(invocation.read_only)
            .retry(RetryPolicy::default().patience(invocation.timeout))
            .start()
            .map_err(|error| Fault::Client { error, path: None })?;
        let mut states = client.states();
        let (sender, receiver) = watch::channel(State::Connecting);
        let task = tokio::spawn(async move {
            let mut last = State::Connecting;
            while let Some(state) = states.next().await {
                if let Some(teller) = tells.as_ref().filter(|_| state != last) {
                    teller.tell_state(state);
                }
                last = state;
                // Told first: who waits for the state finds the event printed.
                sender.send_replace(state);
            }
        });
        Ok(Connection { client, server: server.to_owned(), states: receiver, task })
    }

    /// How it stands.
    pub fn state(&self) -> State {
        *self.states.borrow()
    }

    /// Waits until a server serves the session, at most for the timeout; unless told to wait for hosts
    /// that refuse, only as long as anybody listens.
    pub async fn ready(&self, invocation: &Invocation) -> Result<(), Fault> {
        let mut states = self.states.clone();
        let served =
            states.wait_for(|state| !matches!(state, State::Connecting | State::Suspended));
        let outcome = tokio::select! {
            outcome = timeout(invocation.timeout, served) => outcome,
            why = self.unreachable(), if !invocation.waits => return Err(Fault::Unreachable(why)),
        };
        let late = Error::Timeout(invocation.timeout);
        match outcome {
            Err(_) => Err(Fault::Client { error: late, path: None }),
            Ok(Err(_)) => Err(Fault::Client { error: Error::Closed, path: None }),
            Ok(Ok(state)) => match *state {
                State::Lost(_) => Err(Fault::Client { error: Error::Closed, path: None }),
                _ => Ok(()),
            },
        }
    }

    /// Ends when no host takes connections, with the reasons.
    async fn unreachable(&self) -> String {
        let hosts = ConnectString::parse(&self.server).map(|parsed| parsed.hosts);
        let hosts = hosts.unwrap_or_default();
        loop {
            sleep(PROBE_AFTER).await;
            let mut reasons = Vec::new();
            for host in &hosts {
                let connect = TcpStream::connect((host.name.as_str(), host.port));
                let reason = match timeout(PROBE_TIMEOUT, connect).await {
                    Ok(Ok(_)) => {
                        reasons.clear();
                        break;
                    }
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => format!("no answer within {} ms", PROBE_TIMEOUT.as_millis()),
                };
                reasons.push(format!("{}:{}: {reason}", host.name, host.port));
            }
            if !reasons.is_empty() {
                return format!("no server takes connections ({})", reasons.join("; "));
            }
        }
    }

    /// Ends the session, as far as a server can be told in a short time.
    pub async fn close(self) {
        if matches!(self.state(), State::Connected | State::ReadOnly) {
            // Whether it was told or not: the session ends, if only by its timeout.
            let _ = timeout(CLOSE_TIMEOUT, self.client.close()).await;
            let mut states = self.states.clone();
            let over = states.wait_for(|state| matches!(state, State::Lost(_)));
            let _ = timeout(CLOSE_TIMEOUT, over).await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
