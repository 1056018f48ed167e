//! The replicated state: the tree of znodes and the set of sessions, changed by
//! [`Tree::apply`] alone.
//!
//! Compact: a node is a 24-byte entry, a packed immutable record with its last name and data, and
//! six to twelve bytes of an index from the hash of its full path. Paths are never stored.
//!
//! Pure: no clock, socket, file, thread or randomness.

mod acl_table;
mod apply;
mod arena;
mod change;
mod check;
mod chunked;
mod digest;
mod index;
mod loader;
mod node;
mod nodes;
mod quota;
mod record;
mod restore;
mod snapshot;
mod tree;

pub use change::{Applied, Change, ChangeKind, ChangeList, Outcome};
pub use digest::Content;
pub use loader::{LoadError, TreeLoader};
pub use node::Node;
pub use quota::{Quota, QuotaValues};
pub use restore::Restore;
pub use snapshot::{SnapshotWalk, WALK_BYTES};
pub use tree::{Tree, TreeOptions};
