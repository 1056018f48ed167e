//! A subtree as JSON: what `export` writes and `import` reads.
//!
//! ```json
//! {"format":"oxikeeper-export/1","root":"/app","nodes":[
//! {"path":"","data":"text","acl":[{"scheme":"world","id":"anyone","perms":"cdrwa"}]},
//! {"path":"/bin","data":"/w==","encoding":"base64","acl":[...]},
//! {"path":"/lock","data":null,"ephemeral":"0x1000","acl":[...]}
//! ]}
//! ```
//!
//! Paths are those below the root, parents before children. `encoding` stands where data is no text,
//! `ephemeral` (the session it went with) where a node was ephemeral.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxikeeper_client::Acl;
use oxikeeper_proto::{Id, path};
use serde_json::{Map, Value, json};

use crate::acl;
use crate::run::subtree::ephemeral_owner;
use crate::text;
use crate::walk::{Met, absolute, relative};

/// What the document calls itself.
const FORMAT: &str = "oxikeeper-export/1";

/// A node of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Below the root; empty for the root itself.
    pub path: String,
    /// `None` for a node that has none.
    pub data: Option<Vec<u8>>,
    /// Who may do what with it.
    pub acl: Vec<Acl>,
    /// Whether it went with a session.
    pub is_ephemeral: bool,
}

/// What stands before the nodes.
pub fn head(root: &str) -> String {
    format!("{{\"format\":\"{FORMAT}\",\"root\":{},\"nodes\":[", Value::from(root))
}

/// What stands behind them.
pub const TAIL: &str = "]}";

/// One node.
pub fn node(root: &str, met: &Met) -> Value {
    let mut value = Map::new();
    value.insert("path".to_owned(), relative(root, &met.path).into());
    let (data, encoding) = text::data_json(met.data.as_deref());
    value.insert("data".to_owned(), data);
    if encoding != "utf8" {
        value.insert("encoding".to_owned(), encoding.into());
    }
    if let Some(owner) = ephemeral_owner(&met.stat) {
        value.insert("ephemeral".to_owned(), owner.into());
    }
    value.insert("acl".to_owned(), text::acl_json(&met.acl));
    Value::Object(value)
}

/// Reads a document: its root and its nodes, checked: paths are valid, parents stand before children.
pub fn parse(text: &[u8]) -> Result<(String, Vec<Node>), String> {
    let document: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if document["format"] != FORMAT {
        return Err(format!("its \"format\" is not {FORMAT}"));
    }
    let root = document["root"].as_str().ok_or("it has no \"root\"")?;
    path::validate(root).map_err(|error| format!("root {root:?}: {error}"))?;
    let nodes = document["nodes"].as_array().ok_or("it has no \"nodes\"")?;
    let mut known = std::collections::HashSet::new();
    let mut read = Vec::with_capacity(nodes.len());
    for (number, value) in nodes.iter().enumerate() {
        let node = parse_node(value).map_err(|why| format!("node {number}: {why}"))?;
        let parent = node.path.rsplit_once('/').map(|(parent, _)| parent);
        if parent.is_some_and(|parent| !known.contains(parent)) {
            return Err(format!(
                "node {number}: the parent of {} does not stand before it",
                node.path
            ));
        }
        if !known.insert(node.path.clone()) {
            return Err(format!("node {number}: {:?} stands there twice", node.path));
        }
        read.push(node);
    }
    Ok((root.to_owned(), read))
}

fn parse_node(value: &Value) -> Result<Node, String> {
    let path = value["path"].as_str().ok_or("it has no \"path\"")?;
    path::validate(&absolute("/", path)).map_err(|error| format!("path {path:?}: {error}"))?;
    let data = match (&value["data"], value["encoding"].as_str().unwrap_or("utf8")) {
        (Value::Null, _) => None,
        (Value::String(text), "utf8") => Some(text.as_bytes().to_vec()),
        (Value::String(text), "base64") => {
            Some(STANDARD.decode(text).map_err(|error| format!("{path}: {error}"))?)
        }
        _ => return Err(format!("{path}: its data is no text, or of an unknown encoding")),
    };
    let acl = value["acl"].as_array().ok_or_else(|| format!("{path}: it has no \"acl\""))?;
    let acl = acl.iter().map(parse_entry).collect::<Result<Vec<Acl>, String>>();
    let acl = acl.map_err(|why| format!("{path}: {why}"))?;
    Ok(Node { path: path.to_owned(), data, acl, is_ephemeral: !value["ephemeral"].is_null() })
}

fn parse_entry(value: &Value) -> Result<Acl, String> {
    let word =
        |name: &str| value[name].as_str().ok_or_else(|| format!("an ACL without \"{name}\""));
    Ok(Acl { perms: acl::parse_perms(word("perms")?)?, id: Id::new(word("scheme")?, word("id")?) })
}

/// What became of a copy or an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Nodes that were created.
    pub created: u64,
    /// Nodes that were there and were set.
    pub overwritten: u64,
    /// Ephemeral nodes that were left out.
    pub left_out: u64,
}

impl Tally {
    /// As a line.
    pub fn line(&self) -> String {
        format!(
            "{} created, {} overwritten, {} ephemeral left out",
            self.created, self.overwritten, self.left_out
        )
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "created": self.created,
            "overwritten": self.overwritten,
            "ephemeralLeftOut": self.left_out,
        })
    }
}

#[cfg(test)]
mod tests {
    use oxikeeper_client::{Stat, Zxid};

    use super::*;

    fn met(path: &str, data: Option<&[u8]>, owner: i64) -> Met {
        let stat = Stat {
            czxid: Zxid::ZERO,
            mzxid: Zxid::ZERO,
            ctime: 0,
            mtime: 0,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: owner,
            data_length: 0,
            num_children: 0,
            pzxid: Zxid::ZERO,
        };
        let acl = acl::parse("world:anyone:r,digest:bob:x:cdrwa").unwrap();
        let data = data.map(<[u8]>::to_vec);
        Met { path: path.to_owned(), depth: 0, stat, children: Vec::new(), data, acl }
    }

    #[test]
    fn what_is_written_is_read() {
        let nodes = [
            met("/app", None, 0),
            met("/app/ü", Some("two\nlines \"q\"".as_bytes()), 0),
            met("/app/ü/bin", Some(b"\xff\0"), 0),
            met("/app/e", Some(b""), 0x1000),
        ];
        let lines: Vec<String> = nodes.iter().map(|met| node("/app", met).to_string()).collect();
        let text = format!("{}{}{TAIL}", head("/app"), lines.join(","));
        let (root, read) = parse(text.as_bytes()).expect("a document");
        assert_eq!(root, "/app");
        let paths: Vec<&str> = read.iter().map(|node| node.path.as_str()).collect();
        assert_eq!(paths, ["", "/ü", "/ü/bin", "/e"]);
        for (written, read) in nodes.iter().zip(&read) {
            assert_eq!((&written.data, &written.acl), (&read.data, &read.acl));
        }
        assert!(read[3].is_ephemeral && !read[2].is_ephemeral);
    }

    #[test]
    fn what_is_no_document() {
        let document = |nodes: &str| {
            format!("{{\"format\":\"{FORMAT}\",\"root\":\"/a\",\"nodes\":[{nodes}]}}")
        };
        let node = |rest: &str| format!("{{\"data\":null,\"acl\":[],{rest}}}");
        assert!(parse(document(&node("\"path\":\"\"")).as_bytes()).is_ok());
        let cases = [
            ("{".to_owned(), "EOF"),
            ("[]".to_owned(), "format"),
            ("{\"format\":\"oxikeeper-export/9\"}".to_owned(), "format"),
            (document("{}"), "path"),
            (document(&node("\"path\":\"/a/../b\"")), "relative"),
            (document(&node("\"path\":\"/a/b\"")), "does not stand before it"),
            (document(&node("\"path\":\"\",\"data\":5")), "no text"),
            (document(&node("\"path\":\"\",\"data\":\"!\",\"encoding\":\"base64\"")), "node 0"),
            (document("{\"path\":\"\",\"data\":null}"), "acl"),
            (format!("{}{0}", document("")), "trailing"),
        ];
        for (text, why) in cases {
            let error = parse(text.as_bytes()).expect_err(&text);
            assert!(error.contains(why), "{text}: {error}");
        }
        let twice = format!("{0},{0}", node("\"path\":\"\""));
        assert!(parse(document(&twice).as_bytes()).expect_err("twice").contains("twice"));
    }
}
