//! The `oxikeeper` binary.

fn main() {}
