//! The replicated state: the tree of znodes and the set of sessions, changed by `apply(txn)` alone.
//!
//! Pure: no clock, socket, file, thread or randomness.
