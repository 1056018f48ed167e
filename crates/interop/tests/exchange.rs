//! Apache 3.9.5 and 3.8.0 start on directories we wrote, and we on theirs, after a kill -9.

use oxikeeper_interop::exchange::hand_over;
use oxikeeper_interop::server::Kind;

#[test]
fn apache_starts_on_ours_and_we_on_apaches() {
    for version in ["3.9.5", "3.8.0"] {
        let apache = Kind::Apache(version);
        for (from, to) in [(Kind::Oxikeeper, apache), (apache, Kind::Oxikeeper)] {
            let dir = tempfile::tempdir().expect("a temporary directory");
            hand_over(from, to, dir.path());
            println!("{} -> {}: the same tree and digest", from.name(), to.name());
        }
    }
}

#[test]
fn we_start_on_our_own() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    hand_over(Kind::Oxikeeper, Kind::Oxikeeper, dir.path());
}
