//! Commands on a node and everything below it.

use std::collections::BTreeMap;

use oxikeeper_client::{Acl, Client, ExpectedVersion, Stat};
use oxikeeper_proto::NodeKind;
use serde_json::{Value, json};

use crate::command::Criteria;
use crate::fault::Fault;
use crate::output::Output;
use crate::progress::Progress;
use crate::run::nodes::show_stat;
use crate::text;
use crate::walk::{Met, Pipeline, WINDOW, Walk, Wanted, tree_order};

/// `ls -R`: parents before children, level by level; it ends at the first node that may not be read.
pub async fn list(output: &Output, client: &Client, root: &str) -> Result<(), Fault> {
    let mut walk = Walk::new(client, root, Wanted::default());
    while let Some(met) = walk.next().await {
        let met = met?;
        if met.path == root {
            output.item(root, || root.into())?;
        }
        for name in &met.children {
            let path = crate::walk::join(&met.path, name);
            output.item(&path, || path.as_str().into())?;
        }
    }
    Ok(())
}

/// Children before parents, with `batch` deletes on their way at a time.
pub async fn delete_all(
    output: &Output,
    client: &Client,
    root: &str,
    batch: usize,
) -> Result<(), Fault> {
    let progress = Progress::new("listing");
    let mut paths = Vec::new();
    let mut walk = Walk::new(client, root, Wanted { without_system: true, ..Wanted::default() });
    while let Some(met) = walk.next().await {
        paths.push(met?.path);
        progress.step();
    }
    progress.next("deleting", paths.len());
    let mut deletes = Pipeline::new(batch);
    let (mut deleted, mut failed) = (0_u64, None);
    let mut judge = |(path, result): (String, Result<(), _>)| {
        progress.step();
        match result {
            Ok(()) => deleted += 1,
            // Somebody was faster.
            Err(error) if oxikeeper_client::Error::is_no_node(&error) => {}
            Err(error) => {
                failed.get_or_insert(Fault::client(error, &path));
            }
        }
    };
    // The root of all stays.
    for path in paths.into_iter().rev().filter(|path| path != "/") {
        let reply = client.delete(&path, ExpectedVersion::Any);
        if let Some(done) = deletes.push(path, reply).await {
            judge(done);
        }
    }
    while let Some(done) = deletes.next().await {
        judge(done);
    }
    output.result(json!({ "deleted": deleted }));
    if let Some(first) = failed {
        let text = "Failed to delete some node(s) in the subtree!";
        return Err(Fault::Refused(format!("{text}\n{}", first.text())));
    }
    Ok(())
}

/// The same ACL for all.
pub async fn set_acl(
    output: &Output,
    client: &Client,
    root: &str,
    acl: &[Acl],
    with_stat: bool,
    version: ExpectedVersion,
) -> Result<(), Fault> {
    // All paths first: in a session a read waits for the writes before it.
    let progress = Progress::new("listing");
    let mut paths = Vec::new();
    let mut walk = Walk::new(client, root, Wanted::default());
    while let Some(met) = walk.next().await {
        paths.push(met?.path);
        progress.step();
    }
    progress.next("setting", paths.len());
    let mut sets = Pipeline::new(WINDOW);
    let mut changed = 0_u64;
    let mut judge = |(path, result): (String, Result<Stat, _>)| {
        progress.step();
        changed += 1;
        let stat = result.map_err(|error| Fault::client(error, &path))?;
        if with_stat {
            show_stat(output, &stat, true);
        }
        Ok(())
    };
    for path in paths {
        let reply = client.set_acl(&path, acl, version);
        if let Some(done) = sets.push(path, reply).await {
            judge(done)?;
        }
    }
    while let Some(done) = sets.next().await {
        judge(done)?;
    }
    output.result(json!({ "changed": changed }));
    Ok(())
}

/// What may not be read does not end the rest; it is said at the end.
#[derive(Default)]
struct Unread {
    first: Option<Fault>,
}

impl Unread {
    fn pass(&mut self, met: Result<Met, Fault>) -> Result<Option<Met>, Fault> {
        match met {
            Ok(met) => Ok(Some(met)),
            Err(fault) if fault.is_refusal() => {
                self.first.get_or_insert(fault);
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    fn end(self) -> Result<(), Fault> {
        self.first.map_or(Ok(()), Err)
    }
}

/// A drawing: a line per node, branches before its name.
pub async fn tree(
    output: &Output,
    client: &Client,
    root: &str,
    depth: Option<usize>,
    with_stat: bool,
) -> Result<(), Fault> {
    let progress = Progress::new("reading");
    let mut nodes = Vec::new();
    let mut unread = Unread::default();
    let mut walk = Walk::new(client, root, Wanted { depth, ..Wanted::default() });
    while let Some(met) = walk.next().await {
        let Some(met) = unread.pass(met)? else { continue };
        nodes.push((met.path, met.depth, met.stat));
        progress.step();
    }
    drop(progress);
    nodes.sort_by(|left, right| tree_order(&left.0).cmp(&tree_order(&right.0)));
    let ends = last_of_siblings(&nodes.iter().map(|(_, depth, _)| *depth).collect::<Vec<_>>());
    // Whether the ancestor of each depth has more siblings to come.
    let mut open = Vec::new();
    for ((path, depth, stat), is_last) in nodes.iter().zip(ends) {
        open.truncate(depth.saturating_sub(1));
        let mut line: String =
            open.iter().map(|is_open| if *is_open { "│   " } else { "    " }).collect();
        if *depth > 0 {
            line.push_str(if is_last { "└── " } else { "├── " });
            open.push(!is_last);
        }
        let name = if *depth == 0 { path } else { path.rsplit('/').next().unwrap_or(path) };
        line.push_str(name);
        if with_stat {
            line.push_str(&format!("  {} bytes", stat.data_length));
            if let Some(owner) = ephemeral_owner(stat) {
                line.push_str(&format!(", ephemeral of {owner}"));
            }
        }
        output.item(
            &line,
            || json!({ "path": path, "depth": depth, "stat": text::stat_json(stat) }),
        )?;
    }
    unread.end()
}

/// For nodes in the order of a drawing, by their depths: whether each is the last of its siblings.
fn last_of_siblings(depths: &[usize]) -> Vec<bool> {
    let mut ends = vec![true; depths.len()];
    // Which depths have a sibling behind the place that is looked at.
    let mut seen: Vec<bool> = Vec::new();
    for (place, depth) in depths.iter().enumerate().rev() {
        seen.resize(depth + 1, false);
        ends[place] = !std::mem::replace(&mut seen[*depth], true);
    }
    ends
}

/// The session that an ephemeral node goes with.
pub fn ephemeral_owner(stat: &Stat) -> Option<String> {
    match NodeKind::from_owner(stat.ephemeral_owner, false) {
        NodeKind::Ephemeral(session) => Some(format!("{:#x}", session.0)),
        _ => None,
    }
}

pub async fn find(
    output: &Output,
    client: &Client,
    root: &str,
    criteria: &Criteria,
) -> Result<(), Fault> {
    output.empty_list();
    let wanted =
        Wanted { data: criteria.data.is_some(), depth: criteria.depth, ..Wanted::default() };
    let mut walk = Walk::new(client, root, wanted);
    let mut unread = Unread::default();
    while let Some(met) = walk.next().await {
        let Some(met) = unread.pass(met)? else { continue };
        let name = met.path.rsplit('/').next().unwrap_or_default();
        let contains = |text: &str| {
            let data = met.data.as_deref().unwrap_or_default();
            text.is_empty() || data.windows(text.len()).any(|part| part == text.as_bytes())
        };
        let is_found = criteria.name.as_ref().is_none_or(|glob| matches(glob, name))
            && criteria.data.as_deref().is_none_or(contains)
            && (!criteria.is_ephemeral || ephemeral_owner(&met.stat).is_some())
            && (!criteria.is_empty || met.stat.num_children == 0 && met.stat.data_length == 0);
        if is_found {
            output.item(&met.path, || met.path.as_str().into())?;
        }
    }
    unread.end()
}

/// Whether a name matches: `*` is any characters, `?` one.
fn matches(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut at, mut place) = (0, 0);
    // Where to go on when what follows the last star does not match.
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[place] => {
                at += 1;
                place += 1;
            }
            _ => match &mut star {
                Some((star, from)) => {
                    *from += 1;
                    (at, place) = (*star + 1, *from);
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|c| *c == '*')
}

#[derive(Clone, Copy, Default)]
struct Sum {
    bytes: u64,
    nodes: u64,
}

/// Bytes of data and nodes, of each node down to a depth with everything below it.
pub async fn du(output: &Output, client: &Client, root: &str, depth: usize) -> Result<(), Fault> {
    let progress = Progress::new("adding up");
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let mut unread = Unread::default();
    let mut walk = Walk::new(client, root, Wanted::default());
    while let Some(met) = walk.next().await {
        let Some(met) = unread.pass(met)? else { continue };
        progress.step();
        // The node, then its parents up to the root of the walk.
        let mut path = met.path.as_str();
        for at in (0..=met.depth).rev() {
            if at <= depth {
                let sum = sums.entry(path.to_owned()).or_default();
                sum.bytes += u64::try_from(met.stat.data_length).unwrap_or(0);
                sum.nodes += 1;
            }
            path = oxikeeper_proto::path::parent(path);
        }
    }
    drop(progress);
    let mut sums: Vec<(String, Sum)> = sums.into_iter().collect();
    sums.sort_by(|left, right| tree_order(&left.0).cmp(&tree_order(&right.0)));
    for (path, Sum { bytes, nodes }) in sums {
        let element = || -> Value { json!({ "path": path, "bytes": bytes, "nodes": nodes }) };
        output.item(&format!("{bytes:>12} bytes {nodes:>8} nodes  {path}"), element)?;
    }
    unread.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, name) in
            [("*", ""), ("*", "a"), ("a*c", "abbc"), ("?b*", "ab"), ("*-*", "a-b-c"), ("ü?", "üß")]
        {
            assert!(matches(glob, name), "{glob} {name}");
        }
        for (glob, name) in [("", "a"), ("?", ""), ("a*c", "abcd"), ("a", "ab"), ("*a", "ab")] {
            assert!(!matches(glob, name), "{glob} {name}");
        }
    }

    #[test]
    fn the_last_of_siblings() {
        // /, /a, /a/b, /a/c, /d
        assert_eq!(last_of_siblings(&[0, 1, 2, 2, 1]), [true, false, false, true, true]);
    }
}
