use super::*;
use ChangeKind::{Created, DataChanged, Deleted};
use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};

fn events(table: &mut WatchTable, kind: ChangeKind, path: &str) -> Vec<(Slot, EventType, String)> {
    let mut events = Vec::new();
    table.trigger(kind, path, |slot, event, path, _| {
        events.push((slot, event, path.to_owned()));
    });
    events
}

#[test]
fn one_shot_watches_fire_once() {
    let mut table = WatchTable::new(0);
    table.add(1, "/a", DATA);
    table.add(1, "/a", DATA);
    assert_eq!(events(&mut table, DataChanged, "/a"), [(1, NodeDataChanged, "/a".into())]);
    assert_eq!(events(&mut table, DataChanged, "/a"), []);
    assert!(table.is_empty());
}

#[test]
fn a_deletion_is_told_once_per_connection() {
    let mut table = WatchTable::new(0);
    table.add(1, "/a", DATA);
    table.add(1, "/a", CHILD);
    table.add(1, "/a", PERSISTENT);
    table.add(2, "/a", CHILD);
    let told = events(&mut table, Deleted, "/a");
    assert_eq!(told, [(1, NodeDeleted, "/a".into()), (2, NodeDeleted, "/a".into())]);
    assert_eq!(table.modes(1, "/a"), PERSISTENT);
    assert_eq!(table.modes(2, "/a"), 0);
}

#[test]
fn recursive_watches_see_descendants_but_no_lists() {
    let mut table = WatchTable::new(0);
    table.add(1, "/a", RECURSIVE);
    table.add(2, "/", RECURSIVE);
    table.add(1, "/a", CHILD);
    let told = events(&mut table, Created, "/a/b");
    assert_eq!(
        told,
        [
            (1, NodeCreated, "/a/b".into()),
            (2, NodeCreated, "/a/b".into()),
            (1, NodeChildrenChanged, "/a".into()),
        ]
    );
    assert_eq!(events(&mut table, DataChanged, "/ab"), [(2, NodeDataChanged, "/ab".into())]);
}

#[test]
fn persistent_watches_stay_until_removed() {
    let mut table = WatchTable::new(0);
    table.add(1, "/a", PERSISTENT);
    for _ in 0..2 {
        assert_eq!(events(&mut table, Created, "/a"), [(1, NodeCreated, "/a".into())]);
        let told = events(&mut table, Created, "/a/b");
        assert_eq!(told, [(1, NodeChildrenChanged, "/a".into())]);
    }
    assert!(!table.remove(1, "/a", DATA));
    assert!(table.remove(1, "/a", PERSISTENT));
    assert!(table.is_empty());
}

#[test]
fn a_closed_connection_leaves_nothing_behind() {
    let mut table = WatchTable::new(0);
    for path in ["/a", "/b", "/c"] {
        table.add(1, path, DATA | RECURSIVE);
        table.add(2, path, CHILD);
    }
    table.remove_slot(1);
    assert_eq!(table.len(), 3);
    assert_eq!(table.recursive_count, 0);
    assert_eq!(events(&mut table, DataChanged, "/a"), []);
    table.remove_slot(2);
    assert!(table.is_empty());
    table.check();
}

#[test]
fn a_herd_is_told_in_one_pass_and_leaves_nothing_behind() {
    let mut table = WatchTable::new(0);
    // In an order that is not theirs.
    for slot in (0..1000).map(|i| i * 7 % 1000) {
        table.add(slot, "/a", DATA);
        if slot % 10 == 0 {
            table.add(slot, "/a", PERSISTENT);
        }
    }
    table.check();
    assert_eq!(table.len(), 1000);
    let told = events(&mut table, DataChanged, "/a");
    assert_eq!(told.len(), 1000);
    assert!(told.is_sorted());
    table.check();
    assert_eq!(table.len(), 100);
    assert_eq!(events(&mut table, DataChanged, "/a").len(), 100);
    for slot in 0..1000 {
        table.remove_slot(slot);
    }
    table.check();
    assert!(table.is_empty());
}

#[test]
fn whatever_happens_both_directions_agree() {
    let mut state = 1u64;
    let mut draw = |bound: u64| {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (state >> 33) % bound
    };
    let paths = ["/", "/a", "/a/b", "/a/b/c", "/d"];
    for _ in 0..50 {
        let mut table = WatchTable::new(7);
        for _ in 0..400 {
            let path = paths[draw(5) as usize];
            let (slot, modes) = (draw(6) as Slot, draw(16) as u8);
            match draw(8) {
                0..=3 => {
                    let mode = 1 << draw(4);
                    table.add(slot, path, mode);
                    assert_eq!(table.modes(slot, path) & mode, mode);
                }
                4 => {
                    let had = table.modes(slot, path);
                    assert_eq!(table.remove(slot, path, modes), had & modes != 0);
                    assert_eq!(table.modes(slot, path), had & !modes);
                }
                5 => table.remove_slot(slot),
                6 => drop(events(&mut table, Deleted, path)),
                _ => drop(events(&mut table, DataChanged, path)),
            }
            table.check();
        }
    }
}
