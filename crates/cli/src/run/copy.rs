//! `export`, `import` and `cp`: subtrees on their way to a file, from one, and to another place.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use oxikeeper_client::{Client, CreateOptions, Created, Error, ErrorCode, ExpectedVersion, Reply};
use serde_json::json;

use crate::command::CopyRules;
use crate::fault::Fault;
use crate::output::Output;
use crate::progress::Progress;
use crate::run::document::{self, Node, Tally};
use crate::run::subtree::ephemeral_owner;
use crate::walk::{WINDOW, Walk, Wanted, absolute, relative};

const EVERYTHING: Wanted = Wanted { data: true, acl: true, depth: None, without_system: true };

/// Bytes of creates that may be on their way at a time.
const WINDOW_BYTES: usize = 8 << 20;

/// Nodes that are read before they are written elsewhere.
const PIECE: usize = 4096;

pub async fn export(
    output: &Output,
    client: &Client,
    root: &str,
    file: Option<&str>,
) -> Result<(), Fault> {
    let progress = Progress::new("exporting");
    let mut walk = Walk::new(client, root, EVERYTHING);
    // Nothing is written before it is known that there is something.
    let first = walk.next().await.transpose()?;
    let mut writer = match file {
        Some(file) => {
            let created = File::create(file).map_err(|error| file_fault(file, &error))?;
            Some(BufWriter::new(created))
        }
        None => None,
    };
    let mut put = |text: &str| match (&mut writer, file) {
        (Some(writer), Some(file)) => {
            writeln!(writer, "{text}").map_err(|error| file_fault(file, &error))
        }
        _ => {
            output.line(text);
            output.check()
        }
    };
    let mut count = 0_u64;
    let mut met = first;
    let is_streamed = file.is_some() || output.is_text();
    let mut nodes = Vec::new();
    if is_streamed {
        put(&document::head(root))?;
    }
    while let Some(this) = met {
        count += 1;
        progress.step();
        let node = document::node(root, &this);
        met = walk.next().await.transpose()?;
        if is_streamed {
            put(&format!("{node}{}", if met.is_some() { "," } else { "" }))?;
        } else {
            nodes.push(node);
        }
    }
    if is_streamed {
        put(document::TAIL)?;
    }
    if let (Some(mut writer), Some(file)) = (writer, file) {
        writer.flush().map_err(|error| file_fault(file, &error))?;
        output.line(&format!("{count} nodes written to {file}"));
        output.result(json!({ "nodes": count, "file": file }));
    } else if !is_streamed {
        let text = format!("{}{}", document::head(root), document::TAIL);
        let mut document: serde_json::Value =
            serde_json::from_str(&text).expect("head and tail are a document without nodes");
        document["nodes"] = nodes.into();
        output.result(document);
    }
    Ok(())
}

fn file_fault(file: &str, error: &io::Error) -> Fault {
    Fault::Refused(format!("{file}: {error}"))
}

pub async fn import(
    output: &Output,
    client: &Client,
    file: &str,
    target: Option<&str>,
    rules: CopyRules,
) -> Result<(), Fault> {
    let mut text = Vec::new();
    let read = if file == "-" {
        io::stdin().lock().read_to_end(&mut text)
    } else {
        File::open(file).and_then(|mut opened| opened.read_to_end(&mut text))
    };
    read.map_err(|error| file_fault(file, &error))?;
    let (root, nodes) =
        document::parse(&text).map_err(|why| Fault::Refused(format!("{file}: {why}")))?;
    drop(text);
    let target = target.unwrap_or(&root);
    let mut creates = Creates::begin(client, target, rules, "importing").await?;
    creates.progress.next("importing", nodes.len());
    for node in nodes {
        creates.put(node).await?;
    }
    creates.end(output).await
}

pub async fn copy(
    output: &Output,
    client: &Client,
    source: &str,
    target: &str,
    rules: CopyRules,
    is_recursive: bool,
) -> Result<(), Fault> {
    let is_inside = target == source || source == "/" || target.starts_with(&format!("{source}/"));
    if is_recursive && is_inside {
        return Err(Fault::Refused(format!("{target} is inside {source}")));
    }
    let depth = if is_recursive { None } else { Some(0) };
    let mut walk = Walk::new(client, source, Wanted { depth, ..EVERYTHING });
    // The source is looked for before the target is touched.
    let mut next = walk.next().await.transpose()?;
    if let Some(met) = next.as_ref().filter(|met| !is_recursive && !met.children.is_empty()) {
        let text = format!("{} has children: cp -r copies them too", met.path);
        return Err(Fault::Refused(text));
    }
    let mut creates = Creates::begin(client, target, rules, "copying").await?;
    // In a session a read waits for the writes before it: the two take turns, in large pieces.
    let (mut piece, mut bytes) = (Vec::new(), 0);
    while let Some(met) = next {
        let is_ephemeral = ephemeral_owner(&met.stat).is_some();
        let path = relative(source, &met.path).to_owned();
        bytes += met.data.as_ref().map_or(0, Vec::len);
        piece.push(Node { path, data: met.data, acl: met.acl, is_ephemeral });
        next = walk.next().await.transpose()?;
        if next.is_none() || piece.len() >= PIECE || bytes >= WINDOW_BYTES {
            bytes = 0;
            for node in piece.drain(..) {
                creates.put(node).await?;
            }
            creates.drain().await?;
        }
    }
    creates.end(output).await
}

/// Creates on their way. A session's requests are carried out in order, so that a parent need not be
/// waited for before its children are sent.
struct Creates {
    client: Client,
    target: String,
    rules: CopyRules,
    waiting: VecDeque<(String, Node, Reply<Created>)>,
    /// Bytes of data in `waiting`.
    bytes: usize,
    tally: Tally,
    progress: Progress,
}

impl Creates {
    /// Fails if the target is there and is not to be overwritten.
    async fn begin(
        client: &Client,
        target: &str,
        rules: CopyRules,
        what: &'static str,
    ) -> Result<Creates, Fault> {
        let found = client.exists(target).await.map_err(|error| Fault::client(error, target))?;
        if found.is_some() && !rules.overwrites {
            let text = format!("Node already exists: {target} (-f overwrites)");
            return Err(Fault::Refused(text));
        }
        Ok(Creates {
            client: client.clone(),
            target: target.to_owned(),
            rules,
            waiting: VecDeque::new(),
            bytes: 0,
            tally: Tally::default(),
            progress: Progress::new(what),
        })
    }

    async fn put(&mut self, node: Node) -> Result<(), Fault> {
        if node.is_ephemeral && !self.rules.takes_ephemerals {
            self.tally.left_out += 1;
            self.progress.step();
            return Ok(());
        }
        let path = absolute(&self.target, &node.path);
        let options = CreateOptions::persistent().acl(node.acl.clone());
        let reply = self.client.create_raw(&path, node.data.as_deref(), &options);
        self.bytes += node.data.as_ref().map_or(0, Vec::len);
        self.waiting.push_back((path, node, reply));
        while self.waiting.len() >= WINDOW || self.bytes >= WINDOW_BYTES {
            self.wait().await?;
        }
        Ok(())
    }

    /// Waits for the oldest.
    async fn wait(&mut self) -> Result<(), Fault> {
        let Some((path, node, reply)) = self.waiting.pop_front() else { return Ok(()) };
        self.bytes -= node.data.as_ref().map_or(0, Vec::len);
        self.progress.step();
        match reply.await {
            Ok(_) => self.tally.created += 1,
            Err(Error::Refused(ErrorCode::NodeExists)) if self.rules.overwrites => {
                let data = node.data.unwrap_or_default();
                let set = self.client.set_data(&path, &data, ExpectedVersion::Any);
                let acl = self.client.set_acl(&path, &node.acl, ExpectedVersion::Any);
                set.await.map_err(|error| Fault::client(error, &path))?;
                acl.await.map_err(|error| Fault::client(error, &path))?;
                self.tally.overwritten += 1;
            }
            Err(error) => return Err(Fault::client(error, &path)),
        }
        Ok(())
    }

    /// Waits for all.
    async fn drain(&mut self) -> Result<(), Fault> {
        while !self.waiting.is_empty() {
            self.wait().await?;
        }
        Ok(())
    }

    async fn end(mut self, output: &Output) -> Result<(), Fault> {
        self.drain().await?;
        output.line(&self.tally.line());
        output.result(self.tally.json());
        Ok(())
    }
}
