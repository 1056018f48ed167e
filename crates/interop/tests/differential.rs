//! A slice of the differential test for every run of the gate. Needs Apache 3.9.5, and fails
//! without it.

use oxikeeper_interop::differential::run;
use oxikeeper_interop::server::Kind;

#[test]
fn replies_equal_those_of_apache() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let outcome = run(dir.path(), Kind::Oxikeeper, 20_261_123, 12_000);
    assert!(outcome.requests >= 12_000 || !outcome.differences.is_empty());
    assert!(outcome.events > 100, "{} events: too few to mean anything", outcome.events);
    println!("{} requests, {} events\n{}", outcome.requests, outcome.events, outcome.used);
    assert_eq!(outcome.differences, Vec::<String>::new());
    assert_eq!(outcome.never_sent(), [], "every operation is sent");
}
