//! `record-fixtures [FOLDER]`: records the golden bytes anew from Apache 3.9.5, into `fixtures` of
//! the repository unless told otherwise.

use oxikeeper_interop::{record, server};

fn main() {
    let folder = std::env::args_os().nth(1);
    record::record(&folder.map_or_else(|| server::repository().join("fixtures"), Into::into));
}
