//! How a client is made.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::client::Handle;
use crate::driver::Driver;
use crate::session::{Config, Session};
use crate::shared::{Shared, StateStream};
use crate::{
    Client, ConnectString, Error, Limits, LostReason, Result, RetryPolicy, SessionId, State,
};

/// The session timeout asked for by default.
const SESSION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// An attempt to connect has at least this long.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_millis(500);

/// What a client is to be: of [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before connect or start"]
pub struct Builder {
    connect_string: String,
    session_timeout: Duration,
    connect_timeout: Option<Duration>,
    allow_read_only: bool,
    auths: Vec<(String, Vec<u8>)>,
    resume: Option<(SessionId, [u8; 16])>,
    retry: RetryPolicy,
    limits: Limits,
    seed: Option<u64>,
}

impl Builder {
    pub(crate) fn new(connect_string: &str) -> Builder {
        Builder {
            connect_string: connect_string.to_owned(),
            session_timeout: SESSION_TIMEOUT_DEFAULT,
            connect_timeout: None,
            allow_read_only: false,
            auths: Vec::new(),
            resume: None,
            retry: RetryPolicy::default(),
            limits: Limits::default(),
            seed: None,
        }
    }

    /// How long the session is to outlive a silent client, 10 s by default. The server clamps it, to 2 to
    /// 20 of its ticks unless configured; [`session`](Client::session) tells what was granted.
    pub fn session_timeout(mut self, timeout: Duration) -> Builder {
        self.session_timeout = timeout;
        self
    }

    /// How long one host may take from the first packet until it has accepted the session, by default
    /// the session timeout shared among the hosts, half a second at least.
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Whether a server that has lost its ensemble will do: it answers reads, perhaps stale ones, and
    /// refuses writes. Meanwhile one that takes writes is looked for.
    pub fn allow_read_only(mut self, allow: bool) -> Builder {
        self.allow_read_only = allow;
        self
    }

    /// An identity, proven on every connection before anything else.
    pub fn auth(mut self, scheme: impl Into<String>, auth: impl AsRef<[u8]>) -> Builder {
        self.auths.push((scheme.into(), auth.as_ref().to_vec()));
        self
    }

    /// Takes over an earlier session, as [`session`](Client::session) told it. Another client that has it
    /// loses its connection. Its watches are not taken over.
    pub fn resume(mut self, session: SessionId, password: [u8; 16]) -> Builder {
        self.resume = Some((session, password));
        self
    }

    /// What is sent again when a connection breaks.
    pub fn retry(mut self, policy: RetryPolicy) -> Builder {
        self.retry = policy;
        self
    }

    /// What the client keeps at most.
    pub fn limits(mut self, limits: Limits) -> Builder {
        self.limits = limits;
        self
    }

    /// The largest request that is sent: the `jute.maxbuffer` of the servers, by default theirs.
    pub fn frame_bytes_max(mut self, bytes: usize) -> Builder {
        self.limits.request_bytes_max = bytes;
        self.limits.reply_bytes_max = self.limits.reply_bytes_max.max(4 * bytes);
        self
    }

    /// Decides the order in which hosts are tried, instead of chance.
    pub fn seed(mut self, seed: u64) -> Builder {
        self.seed = Some(seed);
        self
    }

    /// Waits until the session is there; [`Error::Timeout`] if it is not within the session timeout.
    pub async fn connect(self) -> Result<Client> {
        let patience = self.session_timeout;
        let client = self.start()?;
        let mut states = client.states();
        match timeout(patience, connected(&mut states)).await {
            Ok(result) => result.map(|()| client),
            Err(_) => Err(Error::Timeout(patience)),
        }
    }

    /// The client at once, connecting in the background for as long as it takes.
    ///
    /// # Errors
    /// [`Error::InvalidConnectString`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<Client> {
        let ConnectString { hosts, chroot } = ConnectString::parse(&self.connect_string)?;
        let share = self.session_timeout / u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        let connect_timeout = self.connect_timeout.unwrap_or(share.max(CONNECT_TIMEOUT_MIN));
        let events_max = self.limits.events_max;
        let config = Config {
            hosts: hosts.len(),
            chroot,
            session_timeout: self.session_timeout,
            connect_timeout,
            allow_read_only: self.allow_read_only,
            auths: self.auths,
            resume: self.resume,
            retry: self.retry,
            limits: self.limits,
        };
        let seed = self.seed.unwrap_or_else(random);
        let shared = Arc::new(Shared::new(Session::new(config, seed), events_max));
        tokio::spawn(Driver::new(shared.clone(), hosts, connect_timeout).run());
        Ok(Client::new(Handle::new(shared)))
    }
}

async fn connected(states: &mut StateStream) -> Result<()> {
    while let Some(state) = states.next().await {
        match state {
            State::Connecting | State::Suspended => {}
            State::Connected | State::ReadOnly => return Ok(()),
            State::Lost(LostReason::Expired) => return Err(Error::SessionExpired),
            State::Lost(LostReason::AuthFailed) => return Err(Error::AuthFailed),
            State::Lost(LostReason::Closed) => return Err(Error::Closed),
        }
    }
    Err(Error::Closed)
}

/// Chance, from the keys of the standard library's hash tables.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}
