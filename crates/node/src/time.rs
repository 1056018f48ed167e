//! Time as the machines see it: an input, never a question.

pub use oxikeeper_proto::time::{Now, WallTime};
