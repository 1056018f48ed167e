//! The ensemble's configuration.

use oxikeeper_client::{Client, WatcherType};
use oxikeeper_proto::path::CONFIG;
use oxikeeper_proto::quorum::config_text::ConfigText;
use serde_json::json;

use crate::command::Reconfig;
use crate::fault::Fault;
use crate::output::Output;
use crate::shell::Shell;
use crate::text;

pub async fn config(
    shell: &mut Shell,
    client: &Client,
    as_clients: bool,
    watch: bool,
    with_stat: bool,
) -> Result<(), Fault> {
    let fault = |error| Fault::client(error, CONFIG);
    let (data, stat) = if watch && !shell.watches.has(CONFIG, WatcherType::Data) {
        let (data, stat, watch) = client.get_config_watch().await.map_err(fault)?;
        shell.watches.add_one_shot(CONFIG, WatcherType::Data, watch);
        (data, stat)
    } else {
        client.get_config().await.map_err(fault)?
    };
    let config = String::from_utf8_lossy(&data);
    let clients = client_line(&config);
    let output = &shell.output;
    output.line(if as_clients { &clients } else { &config });
    if with_stat {
        output.line(&text::stat_lines(&stat));
    }
    output.result(json!({
        "config": config,
        "clientConnectString": clients.split_once(' ').map_or("", |(_, hosts)| hosts),
        "stat": text::stat_json(&stat),
    }));
    Ok(())
}

/// Version, a blank, and where clients find the servers.
fn client_line(config: &str) -> String {
    // A server that serves alone has none.
    let Ok(config) = ConfigText::parse(config) else { return " ".to_owned() };
    let hosts: Vec<String> = config
        .servers
        .values()
        .filter_map(|server| server.client.as_ref())
        .map(|client| format!("{}:{}", client.host.as_deref().unwrap_or("0.0.0.0"), client.port))
        .collect();
    format!("{:x} {}", config.version, hosts.join(","))
}

pub async fn reconfig(output: &Output, client: &Client, change: &Reconfig) -> Result<(), Fault> {
    let members = match &change.file {
        Some(file) => Some(server_lines(file)?),
        None => change.members.clone(),
    };
    let done = client.reconfig(
        change.add.as_deref(),
        change.remove.as_deref(),
        members.as_deref(),
        change.version,
    );
    // Apache's client names an empty path here.
    let (data, stat) = done.await.map_err(|error| Fault::client(error, ""))?;
    let config = String::from_utf8_lossy(&data);
    output.line(&format!("Committed new configuration:\n{config}"));
    if change.stat {
        output.line(&text::stat_lines(&stat));
    }
    output.result(json!({ "config": config, "stat": text::stat_json(&stat) }));
    Ok(())
}

/// What a file says of servers, groups and weights; all else in it is passed over.
fn server_lines(file: &str) -> Result<String, Fault> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Fault::Refused(format!("Error processing {file}: {error}")))?;
    let is_wanted =
        |line: &&str| ["server.", "group.", "weight."].iter().any(|key| line.starts_with(key));
    let lines: Vec<&str> = text.lines().map(str::trim).filter(is_wanted).collect();
    if lines.is_empty() {
        return Err(Fault::Refused(format!("Error processing {file}: no server lines")));
    }
    Ok(lines.join("\n"))
}
