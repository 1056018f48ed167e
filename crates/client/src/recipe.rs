//! Recipes: what applications build on znodes, built once and with care.
//!
//! | recipe | type |
//! |---|---|
//! | one at a time | [`Lock`], with a [fencing token](fence) |
//! | many readers or one writer | [`ReadWriteLock`] |
//! | at most N at a time | [`Semaphore`] |
//! | one that leads | [`Latch`] (stays leader), [`Selector`] (leads for the length of a function) |
//! | wait for a signal, for one another | [`Barrier`], [`DoubleBarrier`] |
//! | work for whoever is free | [`Queue`], with priorities |
//! | a number, a value | [`Counter`], [`AtomicValue`] |
//! | who is there | [`Group`], [`Discovery`], [`PersistentEphemeral`] |
//! | a copy of a subtree, of one node | [`TreeCache`], [`ConfigHolder`] |
//! | states that members have and should have | [`Reconciliation`] |
//! | words from member to member | [`Messenger`] |
//!
//! # What all of them keep
//!
//! 1. **No ghosts.** A node that stands for somebody is ephemeral and carries a GUID in its name. A create whose
//!    answer was lost is found again by it; a future that is dropped while it waits withdraws its node in
//!    the background, also when the create was still on its way.
//! 2. **Doubt is visible at once.** [`Hold::is_valid`] is false as soon as the connection is in doubt, and [`Hold::lost`]
//!    ends then. It is false too in a process that was stopped for longer than its session may be
//!    silent, before it has heard from any server.
//! 3. **Doubt is not enough.** Between the look at `is_valid` and the write that follows a process may
//!    be stopped for any time. What must not be done by two is done under the [fence]: by a
//!    transaction that the server refuses once the holder's node is gone, or with the token, which grows
//!    from holder to holder, where the data are kept elsewhere.
//! 4. **Nothing is done twice in secret.** Where a lost answer leaves open whether a write happened, the recipe
//!    finds out (see [`Counter`]), or says so by an error with
//!    [`may_have_happened`](crate::Error::may_have_happened).
//!
//! # Clients and sessions
//!
//! What belongs to one session, a held lock for example, takes a [`Client`](crate::Client) and ends with its session. What
//! is there for as long as the process, a membership or a cache, takes [`Sessions`]: a client that is replaced by a new
//! one when its session has expired. A `Client` will do as well; then the recipe ends with its session.
//!
//! # Beside Curator
//!
//! Where Curator's layout of nodes is what people use, it is ours: locks, read-write locks, semaphores (`V2`), latches, selectors,
//! barriers, queues, counters, group members and service instances of both take part in the same
//! thing. Reconciliation and messages are ours alone. Each module says its layout.

mod barrier;
mod cache;
mod config_holder;
mod counter;
mod discovery;
mod double_barrier;
mod election;
pub mod fence;
mod group;
mod guard;
mod line;
mod lock;
mod messages;
mod once;
mod patience;
mod persistent_ephemeral;
mod place;
mod queue;
mod read_write_lock;
mod reconciliation;
mod semaphore;
mod sessions;

pub use barrier::Barrier;
pub use cache::{CacheState, Entry, TreeCache};
pub use config_holder::{ConfigHolder, Versioned};
pub use counter::{AtomicValue, Counter};
pub use discovery::{Discovery, Registration, ServiceInstance};
pub use double_barrier::{DoubleBarrier, Inside};
pub use election::{Latch, Selector};
pub use fence::{Fence, FencingToken};
pub use group::Group;
pub use guard::{Guard, Hold, Standing};
pub use lock::Lock;
pub use messages::{Message, MessageId, Messenger};
pub use patience::connected;
pub use persistent_ephemeral::PersistentEphemeral;
pub use queue::{Item, Queue};
pub use read_write_lock::ReadWriteLock;
pub use reconciliation::{Desired, Progress, Reconciliation, Wait};
pub use semaphore::Semaphore;
pub use sessions::Sessions;
