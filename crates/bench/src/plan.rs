//! Which request comes next on which connection.

use oxikeeper_proto::OpCode;
use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::request::{
    CreateRequest, PathVersionRequest, SetDataRequest, WatchableRequest,
};

use crate::client::open_acl;
use crate::options::{Options, Workload};
use crate::recorder::Kind;
use crate::template::{MARKER, NUMBER_MAX, Template};

/// Children of one parent in a filled tree.
pub const FAN_OUT: u64 = 1000;

/// The requests of the connections of one worker.
pub struct Plan {
    shape: Shape,
    /// Place of each of the worker's connections among all of them.
    places: Vec<u64>,
    /// Connections of all workers.
    connections: u64,
    /// How far each connection has come; what that means depends on the shape.
    progress: Vec<u64>,
    random: u64,
}

enum Shape {
    Keys { get: Template, set: Template, keys: u32, writes: u32 },
    Children { list: Template },
    Multi { multi: Template, keys: u32, batch: u32 },
    Fill { parent: Template, child: Template, multi: Template, batch: u32, total: u64 },
    Leaves { request: Template, kind: Kind, each: Leaves },
    Idle,
}

/// Which leaves of a filled tree a connection visits.
enum Leaves {
    /// Every connection its share of so many.
    ShareOf(u64),
    /// Every connection so many of its own.
    Own(u64),
    /// Every connection the same.
    Same(u64),
}

/// Path of a key; the name has ten characters.
pub fn key_path(prefix: &str, number: u32) -> String {
    format!("{prefix}/k{number:09}")
}

/// Path of the node whose children are listed.
pub fn list_path(prefix: &str) -> String {
    format!("{prefix}/list")
}

impl Plan {
    /// The plan for the connections at these places among all of them.
    ///
    /// `fresh` is the node below which `create` works; nothing is there yet.
    pub fn new(options: &Options, fresh: &str, places: Vec<u64>) -> Plan {
        let random = 0x9e37_79b9_7f4a_7c15 ^ places.first().map_or(0, |place| place + 1);
        Plan {
            shape: Shape::new(options, fresh),
            progress: vec![0; places.len()],
            places,
            connections: options.connections as u64,
            random,
        }
    }

    /// Appends the next request of a connection; says what it is and how many operations are in it.
    /// `None` when the connection has done its part.
    pub fn put(&mut self, connection: usize, xid: i32, out: &mut Vec<u8>) -> Option<(Kind, u32)> {
        let (place, connections) = (self.places[connection], self.connections);
        let progress = &mut self.progress[connection];
        let random = &mut self.random;
        match &self.shape {
            Shape::Keys { get, set, keys, writes } => {
                let bits = next_random(random);
                let key = below(bits as u32, *keys);
                let (template, kind) = match below((bits >> 32) as u32, 100) < *writes {
                    true => (set, Kind::Set),
                    false => (get, Kind::Get),
                };
                template.put(out, xid, |_| key);
                Some((kind, 1))
            }
            Shape::Children { list } => {
                list.put(out, xid, |_| 0);
                Some((Kind::GetChildren, 1))
            }
            Shape::Multi { multi, keys, batch } => {
                // Neighbours, so that none comes twice in one multi.
                let first = below(next_random(random) as u32, *keys);
                multi.put(out, xid, |hole| (first + hole as u32) % keys);
                Some((Kind::Multi, *batch))
            }
            Shape::Fill { parent, child, multi, batch, total } => {
                // Steps of a parent: 0 creates it, the others a child or a multi of them.
                let round = *progress / (FAN_OUT + 1);
                let step = *progress % (FAN_OUT + 1);
                let number = round * connections + place;
                let first = number * FAN_OUT;
                if first >= *total || number > u64::from(NUMBER_MAX) {
                    return None;
                }
                let children = FAN_OUT.min(total - first);
                let parent_number = number as u32;
                if step == 0 {
                    parent.put(out, xid, |_| parent_number);
                    *progress += 1;
                    return Some((Kind::Create, 1));
                }
                let done = step - 1;
                let leaf = (first + done) as u32;
                let (kind, items) = if *batch > 1 && children - done >= u64::from(*batch) {
                    multi.put(out, xid, |hole| match hole % 2 {
                        0 => parent_number,
                        _ => leaf + hole as u32 / 2,
                    });
                    (Kind::Multi, *batch)
                } else {
                    child.put(out, xid, |hole| [parent_number, leaf][hole]);
                    (Kind::Create, 1)
                };
                let done = done + u64::from(items);
                *progress = if done == children {
                    (round + 1) * (FAN_OUT + 1)
                } else {
                    *progress + u64::from(items)
                };
                Some((kind, items))
            }
            Shape::Leaves { request, kind, each } => {
                let (leaf, is_over) = match each {
                    Leaves::ShareOf(total) => {
                        let leaf = *progress * connections + place;
                        (leaf, leaf >= *total)
                    }
                    Leaves::Own(count) => (place * count + *progress, *progress >= *count),
                    Leaves::Same(count) => (*progress, *progress >= *count),
                };
                if is_over {
                    return None;
                }
                request.put(out, xid, |hole| [(leaf / FAN_OUT) as u32, leaf as u32][hole]);
                *progress += 1;
                Some((*kind, 1))
            }
            Shape::Idle => None,
        }
    }
}

impl Shape {
    fn new(options: &Options, fresh: &str) -> Shape {
        let prefix = options.prefix();
        let value = vec![b'v'; options.size];
        let key = format!("{prefix}/k{MARKER}");
        match options.workload {
            Workload::Get | Workload::Set | Workload::Mixed => Shape::Keys {
                get: get(&key, false),
                set: Template::new(OpCode::SetData, &set_body(&key, &value)),
                keys: options.keys,
                writes: match options.workload {
                    Workload::Get => 0,
                    Workload::Set => 100,
                    _ => options.writes,
                },
            },
            Workload::GetChildren => {
                let path = list_path(prefix);
                let body = WatchableRequest { path: Some(path.into()), watch: false };
                Shape::Children { list: Template::new(OpCode::GetChildren2, &body) }
            }
            Workload::Multi => {
                let batch = options.batch();
                let ops = (0..batch).map(|_| MultiOp::SetData(set_body(&key, &value)));
                let body = MultiRequest { ops: ops.collect() };
                let multi = Template::new(OpCode::Multi, &body);
                Shape::Multi { multi, keys: options.keys, batch }
            }
            Workload::Create => Shape::fill(fresh, &value, 1, u64::from(NUMBER_MAX)),
            Workload::Fill => {
                Shape::fill(prefix, &value, options.batch(), options.count().unwrap_or(0))
            }
            Workload::Delete => {
                let path = leaf_path(prefix);
                let body = PathVersionRequest { path: Some(path.into()), version: -1 };
                Shape::Leaves {
                    request: Template::new(OpCode::Delete, &body),
                    kind: Kind::Delete,
                    each: Leaves::ShareOf(options.count().unwrap_or(0)),
                }
            }
            Workload::Watches => {
                let count = options.count().unwrap_or(0);
                Shape::Leaves {
                    request: get(&leaf_path(prefix), true),
                    kind: Kind::Get,
                    each: if options.shared { Leaves::Same(count) } else { Leaves::Own(count) },
                }
            }
            Workload::Idle => Shape::Idle,
        }
    }

    fn fill(prefix: &str, value: &[u8], batch: u32, total: u64) -> Shape {
        let (parent, leaf) = (format!("{prefix}/p{MARKER}"), leaf_path(prefix));
        let ops = (0..batch).map(|_| MultiOp::Create(OpCode::Create, create_body(&leaf, value)));
        Shape::Fill {
            parent: Template::new(OpCode::Create, &create_body(&parent, &[])),
            child: Template::new(OpCode::Create, &create_body(&leaf, value)),
            multi: Template::new(OpCode::Multi, &MultiRequest { ops: ops.collect() }),
            batch,
            total,
        }
    }
}

fn leaf_path(prefix: &str) -> String {
    format!("{prefix}/p{MARKER}/n{MARKER}")
}

fn get(path: &str, watch: bool) -> Template {
    Template::new(OpCode::GetData, &WatchableRequest { path: Some(path.into()), watch })
}

fn set_body<'a>(path: &'a str, value: &'a [u8]) -> SetDataRequest<'a> {
    SetDataRequest { path: Some(path.into()), data: Some(value), version: -1 }
}

fn create_body<'a>(path: &'a str, value: &'a [u8]) -> CreateRequest<'a> {
    CreateRequest { path: Some(path.into()), data: Some(value), acl: open_acl(), flags: 0 }
}

/// splitmix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number below `bound`, without a division.
fn below(bits: u32, bound: u32) -> u32 {
    ((u64::from(bits) * u64::from(bound)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use oxikeeper_proto::{Decode, Reader};

    use super::*;

    /// Runs a plan of two workers with three connections to its end; the creates that it makes.
    fn creates(count: u64, batch: u32) -> (Vec<String>, u64) {
        let mut options = Options::new(Workload::Fill, "x");
        (options.connections, options.count, options.batch) = (3, Some(count), Some(batch));
        options.root = "/".to_owned();
        let (mut paths, mut items) = (Vec::new(), 0);
        for places in [vec![0, 2], vec![1]] {
            let mut plan = Plan::new(&options, "/", places.clone());
            for connection in 0..places.len() {
                let mut out = Vec::new();
                while let Some((kind, count)) = plan.put(connection, 1, &mut out) {
                    items += u64::from(count);
                    let mut reader = Reader::new(&out[12..]);
                    if kind == Kind::Multi {
                        for op in MultiRequest::decode(&mut reader).expect("a multi").ops {
                            paths.push(op.path().expect("it has one").to_owned());
                        }
                    } else {
                        let create: CreateRequest<'_> = reader.get().expect("a create");
                        paths.push(create.path.expect("it has one").into_owned());
                    }
                    out.clear();
                }
            }
        }
        (paths, items)
    }

    #[test]
    fn a_fill_makes_every_node_once_and_parents_first() {
        for (count, batch) in [(5230, 1), (5230, 7), (4000, 500), (999, 1000), (1000, 1000)] {
            let (paths, items) = creates(count, batch);
            let parents = count.div_ceil(FAN_OUT);
            assert_eq!(items, count + parents, "{count} by {batch}");
            let mut seen = BTreeSet::new();
            for path in &paths {
                let parent = path.rsplit_once('/').expect("a path").0;
                assert!(parent.is_empty() || seen.contains(parent), "{path} before its parent");
                assert!(seen.insert(path.as_str()), "{path} twice");
            }
            assert_eq!(seen.len() as u64, count + parents);
            let last = format!("/p{:09}/n{:09}", parents - 1, count - 1);
            assert!(seen.contains(last.as_str()), "no {last}");
        }
    }

    #[test]
    fn a_mixed_load_has_its_share_of_writes() {
        let mut options = Options::new(Workload::Mixed, "x");
        options.connections = 1;
        let mut plan = Plan::new(&options, "/", vec![0]);
        let mut out = Vec::new();
        let kinds = (0..10_000).map(|_| plan.put(0, 1, &mut out).expect("endless").0);
        let writes = kinds.filter(|kind| *kind == Kind::Set).count();
        assert!((900..1100).contains(&writes), "{writes} of 10,000");
    }
}
