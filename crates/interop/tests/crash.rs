//! A slice of the rounds of kill -9 for every run of the gate.

use oxikeeper_interop::crash::run;

#[test]
fn nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let outcome = run(dir.path(), 12, 7);
    assert_eq!(outcome.violations, Vec::<String>::new());
    assert_eq!(outcome.rounds, 12);
    assert!(outcome.acknowledged > 500, "{outcome:?}: too few to mean anything");
    assert!(outcome.resumed > 20, "{outcome:?}");
}
