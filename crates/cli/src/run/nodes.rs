//! Commands on one node.

use oxikeeper_client::{
    Acl, Client, CreateOptions, Error, ErrorCode, ExpectedVersion, Stat, WatcherType,
};
use serde_json::json;

use crate::command::{DataForm, NewNode};
use crate::fault::Fault;
use crate::output::Output;
use crate::shell::Shell;
use crate::text;

pub async fn create(
    shell: &mut Shell,
    client: &Client,
    path: &str,
    data: Option<&[u8]>,
    options: &CreateOptions,
    kind: NewNode,
) -> Result<(), Fault> {
    let created = client.create_raw(path, data, options).await;
    let created = created.map_err(|error| Fault::client(error, path))?;
    if kind == NewNode::Ephemeral {
        shell.has_ephemerals = true;
    }
    // On standard error, where scripts of Apache's shell look for it; in JSON it is the result.
    if shell.output.is_text() {
        shell.output.note(&format!("Created {}", created.path));
    }
    shell.output.result(json!({ "path": created.path, "stat": text::stat_json(&created.stat) }));
    Ok(())
}

pub async fn get(
    shell: &mut Shell,
    client: &Client,
    path: &str,
    with_stat: bool,
    watch: bool,
    form: DataForm,
) -> Result<(), Fault> {
    let fault = |error| Fault::client(error, path);
    let (data, stat) = if watch && !shell.watches.has(path, WatcherType::Data) {
        // The watch first: what is read behind it is not older.
        let watched = client.get_data_watch(path);
        let read = client.get_data_raw(path);
        let (_, _, watch) = watched.await.map_err(fault)?;
        shell.watches.add_one_shot(path, WatcherType::Data, watch);
        read.await.map_err(fault)?
    } else {
        client.get_data_raw(path).await.map_err(fault)?
    };
    let output = &shell.output;
    match (form, data.as_deref()) {
        (_, None) => output.line("null"),
        (DataForm::Plain, Some(data)) if output.is_terminal() => {
            output.line(&text::harmless(&String::from_utf8_lossy(data)));
        }
        (DataForm::Plain, Some(data)) => output.bytes(data),
        (DataForm::Base64, Some(data)) => output.line(&text::base64(data)),
        (DataForm::Hex, Some(data)) => output.line(&text::hex_dump(data)),
    }
    let (value, encoding) = match (form, data.as_deref()) {
        (DataForm::Base64, Some(data)) => (text::base64(data).into(), "base64"),
        (_, data) => text::data_json(data),
    };
    let answer = json!({ "data": value, "encoding": encoding, "stat": text::stat_json(&stat) });
    output.result(answer);
    if with_stat {
        output.line(&text::stat_lines(&stat));
    }
    Ok(())
}

pub async fn set(
    output: &Output,
    client: &Client,
    path: &str,
    data: &[u8],
    with_stat: bool,
    version: ExpectedVersion,
) -> Result<(), Fault> {
    let stat = client.set_data(path, data, version).await;
    show_stat(output, &stat.map_err(|error| Fault::client(error, path))?, with_stat);
    Ok(())
}

/// Statistics: always in JSON, as text where asked for.
pub fn show_stat(output: &Output, stat: &Stat, as_text: bool) {
    if as_text {
        output.line(&text::stat_lines(stat));
    }
    output.result(json!({ "stat": text::stat_json(stat) }));
}

pub async fn stat(
    shell: &mut Shell,
    client: &Client,
    path: &str,
    watch: bool,
) -> Result<(), Fault> {
    let fault = |error| Fault::client(error, path);
    let found = if watch && !shell.watches.has(path, WatcherType::Data) {
        let (found, watch) = client.exists_watch(path).await.map_err(fault)?;
        // Also for a node that is not there: its creation is an event.
        shell.watches.add_one_shot(path, WatcherType::Data, watch);
        found
    } else {
        client.exists(path).await.map_err(fault)?
    };
    let stat = found.ok_or_else(|| fault(Error::Refused(ErrorCode::NoNode)))?;
    show_stat(&shell.output, &stat, true);
    Ok(())
}

pub async fn ls(
    shell: &mut Shell,
    client: &Client,
    path: &str,
    with_stat: bool,
    watch: bool,
) -> Result<(), Fault> {
    let fault = |error| Fault::client(error, path);
    let (mut names, stat) = if watch && !shell.watches.has(path, WatcherType::Children) {
        let (names, stat, watch) = client.get_children_and_stat_watch(path).await.map_err(fault)?;
        shell.watches.add_one_shot(path, WatcherType::Children, watch);
        (names, stat)
    } else {
        client.get_children_and_stat(path).await.map_err(fault)?
    };
    names.sort_unstable();
    let output = &shell.output;
    output.line(&text::bracketed(&names));
    if with_stat {
        output.line(&text::stat_lines(&stat));
    }
    output.result(json!({ "children": names, "stat": text::stat_json(&stat) }));
    Ok(())
}

pub async fn get_acl(
    output: &Output,
    client: &Client,
    path: &str,
    with_stat: bool,
) -> Result<(), Fault> {
    let (acl, stat) = client.get_acl(path).await.map_err(|error| Fault::client(error, path))?;
    output.line(&text::acl_lines(&acl));
    if with_stat {
        output.line(&text::stat_lines(&stat));
    }
    output.result(json!({ "acl": text::acl_json(&acl), "stat": text::stat_json(&stat) }));
    Ok(())
}

pub async fn set_acl(
    output: &Output,
    client: &Client,
    path: &str,
    acl: &[Acl],
    with_stat: bool,
    version: ExpectedVersion,
) -> Result<(), Fault> {
    let stat = client.set_acl(path, acl, version).await;
    show_stat(output, &stat.map_err(|error| Fault::client(error, path))?, with_stat);
    Ok(())
}

pub async fn who_am_i(output: &Output, client: &Client) -> Result<(), Fault> {
    let found = client.who_am_i().await.map_err(|error| Fault::Client { error, path: None })?;
    output.line("Auth scheme: User");
    output.empty_list();
    let mut identities = Vec::new();
    for identity in found {
        output.line(&format!("{}: {}", identity.auth_scheme, identity.user));
        identities.push(json!({ "scheme": identity.auth_scheme, "user": identity.user }));
    }
    output.result(identities.into());
    Ok(())
}

pub async fn sync(output: &Output, client: &Client, path: &str) -> Result<(), Fault> {
    match client.sync(path).await {
        Ok(()) => {
            output.line("Sync is OK");
            Ok(())
        }
        Err(Error::Refused(code)) => {
            Err(Fault::Refused(format!("Sync has failed. rc={}", code.to_wire())))
        }
        Err(error) => Err(Fault::client(error, path)),
    }
}

pub async fn ephemerals(output: &Output, client: &Client, prefix: &str) -> Result<(), Fault> {
    let paths = client.get_ephemerals(prefix).await;
    let mut paths = paths.map_err(|error| Fault::client(error, prefix))?;
    paths.sort_unstable();
    output.line(&text::bracketed(&paths));
    output.result(paths.into());
    Ok(())
}

pub async fn count(output: &Output, client: &Client, path: &str) -> Result<(), Fault> {
    let count = client.get_all_children_number(path).await;
    let count = count.map_err(|error| Fault::client(error, path))?;
    output.line(&count.to_string());
    output.result(count.into());
    Ok(())
}
