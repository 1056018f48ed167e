//! `record-quorum [SCENARIO]`: records anew what Apache 3.9.5 servers say to one another, into
//! `fixtures/quorum` of the repository: all scenarios, or one.

use oxikeeper_interop::{record, server};

fn main() {
    let only = std::env::args().nth(1);
    record::quorum::record(&server::repository().join("fixtures"), only.as_deref());
}
