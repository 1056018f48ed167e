//! A client of ZooKeeper: Apache's servers from 3.5 on, and Oxikeeper.
//!
//! ```no_run
//! use oxikeeper_client::{Client, CreateOptions};
//!
//! # async fn example() -> Result<(), oxikeeper_client::Error> {
//! let client = Client::connect("localhost:2181/app").await?;
//! client.create("/task", b"data", &CreateOptions::persistent()).await?;
//! let (data, stat) = client.get_data("/task").await?;
//! assert_eq!((data.as_slice(), stat.version), (b"data".as_slice(), 0));
//! client.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! | for | look at |
//! |---|---|
//! | connecting, sessions, closing | [`Client`], [`Builder`] |
//! | what an error means, whether a write may have happened | [`Error`] |
//! | what is sent again and what is not | [`RetryPolicy`] |
//! | one change, once | [`OneShotWatch`] |
//! | all changes of a node or a subtree | [`WatchStream`] |
//! | the state of the session | [`State`], [`StateStream`] |
//! | locks, elections, queues, caches and what else is built on znodes | [`recipe`] |
//! | the machine inside, without sockets or tokio | [`session`] |

mod chroot;
mod connect_string;
mod error;
mod hosts;
mod options;
pub mod session;

#[cfg(feature = "tokio")]
mod builder;
#[cfg(feature = "tokio")]
mod client;
#[cfg(feature = "tokio")]
mod dial;
#[cfg(feature = "tokio")]
mod driver;
#[cfg(feature = "tokio")]
mod protected;
#[cfg(feature = "tokio")]
pub mod recipe;
#[cfg(feature = "tokio")]
mod reply;
#[cfg(feature = "tokio")]
mod shared;
#[cfg(feature = "tokio")]
mod transaction;
#[cfg(feature = "tokio")]
mod watch;

pub use chroot::Chroot;
pub use connect_string::{ConnectString, Host, PORT_DEFAULT};
pub use error::{Error, Outcome};
pub use options::{
    CreateOptions, Created, EventKind, ExpectedVersion, Limits, LostReason, RetryPolicy,
    SessionInfo, State, WatchMode, WatchedEvent,
};
pub use session::{ReadResult, TxnResult};

#[cfg(feature = "tokio")]
pub use {
    builder::Builder,
    client::Client,
    reply::Reply,
    shared::StateStream,
    transaction::{MultiReadBuilder, TransactionBuilder},
    watch::{OneShotWatch, WatchStream},
};

pub use oxikeeper_proto::acl::{Acl, Id, perms};
pub use oxikeeper_proto::reply::ClientInfo;
pub use oxikeeper_proto::watch::WatcherType;
pub use oxikeeper_proto::{ErrorCode, SessionId, Stat, Zxid};

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
