//! `diff`: what two subtrees, of one ensemble or two, have not in common.

use std::collections::BTreeMap;

use oxikeeper_client::{Acl, Client};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::fault::Fault;
use crate::progress::Progress;
use crate::run::subtree::ephemeral_owner;
use crate::shell::Shell;
use crate::text;
use crate::walk::{Met, Walk, Wanted, relative};

/// What is compared of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Face {
    data: Option<Vec<u8>>,
    acl: Vec<Acl>,
    is_ephemeral: bool,
}

impl Face {
    fn of(met: Met) -> Face {
        let mut acl = met.acl;
        acl.sort();
        Face { data: met.data, acl, is_ephemeral: ephemeral_owner(&met.stat).is_some() }
    }
}

/// Ends with a fault when there is a difference, so that scripts see it.
pub async fn diff(
    shell: &Shell,
    client: &Client,
    left: &str,
    right: &str,
    server: Option<&str>,
    acls: bool,
) -> Result<(), Fault> {
    let other = match server {
        Some(server) => {
            let connection = Connection::start(server, &shell.invocation, None)?;
            connection.ready(&shell.invocation).await?;
            Some(connection)
        }
        None => None,
    };
    let there = other.as_ref().map_or(client, |connection| &connection.client);
    let wanted = Wanted { data: true, acl: acls, depth: None, without_system: true };
    let progress = Progress::new("comparing");
    let mut known = BTreeMap::new();
    let mut walk = Walk::new(client, left, wanted);
    while let Some(met) = walk.next().await {
        let met = met?;
        known.insert(relative(left, &met.path).to_owned(), Face::of(met));
        progress.step();
    }
    let output = &shell.output;
    output.empty_list();
    let mut count = 0_u64;
    let mut tell = |mark: char, path: &str, what: &str| {
        count += 1;
        let path = if path.is_empty() { "." } else { path };
        let line = if what.is_empty() {
            format!("{mark} {path}")
        } else {
            format!("{mark} {path}: {what}")
        };
        let side = match mark {
            '-' => "left",
            '+' => "right",
            _ => "both",
        };
        let element = || -> Value { json!({ "path": path, "in": side, "difference": what }) };
        output.item(&line, element)
    };
    let mut walk = Walk::new(there, right, wanted);
    while let Some(met) = walk.next().await {
        let met = met?;
        progress.step();
        let path = relative(right, &met.path).to_owned();
        let theirs = Face::of(met);
        match known.remove(&path) {
            None => tell('+', &path, "")?,
            Some(ours) if ours == theirs => {}
            Some(ours) => tell('~', &path, &differences(&ours, &theirs).join("; "))?,
        }
    }
    for path in known.keys() {
        tell('-', path, "")?;
    }
    drop(progress);
    if let Some(connection) = other {
        connection.close().await;
    }
    match count {
        0 => Ok(()),
        _ => Err(Fault::Refused(format!("{count} differences"))),
    }
}

fn differences(left: &Face, right: &Face) -> Vec<String> {
    let mut found = Vec::new();
    if left.data != right.data {
        let size = |face: &Face| match &face.data {
            Some(data) => format!("{} bytes", data.len()),
            None => "none".to_owned(),
        };
        found.push(format!("data {} -> {}", size(left), size(right)));
    }
    if left.acl != right.acl {
        let shown = |face: &Face| text::acl_json(&face.acl).to_string();
        found.push(format!("ACL {} -> {}", shown(left), shown(right)));
    }
    if left.is_ephemeral != right.is_ephemeral {
        let shown = |face: &Face| if face.is_ephemeral { "ephemeral" } else { "lasting" };
        found.push(format!("{} -> {}", shown(left), shown(right)));
    }
    found
}
