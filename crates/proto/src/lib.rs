//! The words of ZooKeeper and their bytes: ids, paths, ACLs, stats, operations, error codes, and
//! every record of the client port, of the transaction log, of snapshots, and of the ports between
//! servers.
//!
//! Pure: no clock, socket, file, thread or randomness. A record is written once, with
//! [`record!`](crate::jute); encoding and decoding both follow from its field order.
//! Records that come from outside borrow from the buffer they were read into.

pub mod acl;
pub mod error_code;
pub mod id;
pub mod jute;
pub mod limits;
pub mod multi;
pub mod op;
pub mod path;
pub mod properties;
pub mod quorum;
pub mod replay;
pub mod reply;
pub mod request;
pub mod snapshot;
pub mod stat;
pub mod time;
pub mod txn;
pub mod watch;

pub use acl::{Acl, AclEntry, Id};
pub use error_code::ErrorCode;
pub use id::{ServerId, SessionId, Xid, Zxid};
pub use jute::{Decode, DecodeError, Encode, Reader};
pub use op::OpCode;
pub use stat::{NodeKind, Stat, StatPersisted};
pub use txn::{Txn, TxnDigest, TxnHeader};
