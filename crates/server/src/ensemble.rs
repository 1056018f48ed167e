//! A server's place in an ensemble: what the peer wants done, on sockets and files.
//!
//! ```text
//!  engine (whoever runs the Core) --Output--> Driver --+--> net: the thread of the election and quorum ports
//!                                                      +--> log writer: epoch files, cuts, received snapshots
//!                                                      +--> feeder: log and snapshots for learners
//!  engine <--Input------------------------------------ each of them
//! ```

mod config_files;
mod connection;
mod dial;
mod disk;
mod driver;
mod feeder;
mod members;
mod net;
mod outlet;
mod setup;
mod standing;

pub use self::disk::{DiskJob, EnsembleFiles};
pub use self::driver::{Driver, Unsent};
pub use self::feeder::{FeedJob, Feeder};
pub use self::net::{Net, NetHandle, NetParts, Order, prepare};
pub use self::outlet::Outlet;
pub use self::setup::{Ensemble, Found};
pub use self::standing::{Mode, SharedStanding, Standing};
