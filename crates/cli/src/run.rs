//! What commands do with a server, a file per kind.

mod copy;
mod diff;
mod document;
mod ensemble;
mod nodes;
mod quota;
mod subtree;
mod watch;

use oxikeeper_client::Client;

use crate::command::Command;
use crate::fault::Fault;
use crate::shell::Shell;

/// Carries out a command that needs a session.
pub async fn run(shell: &mut Shell, client: &Client, command: Command) -> Result<(), Fault> {
    let output = shell.output.clone();
    let output = &output;
    match command {
        Command::Create { path, data, options, kind } => {
            nodes::create(shell, client, &path, data.as_deref(), &options, kind).await
        }
        Command::Get { path, stat, watch, form } => {
            nodes::get(shell, client, &path, stat, watch, form).await
        }
        Command::Set { path, data, stat, version } => {
            nodes::set(output, client, &path, &data, stat, version).await
        }
        Command::Stat { path, watch } => nodes::stat(shell, client, &path, watch).await,
        Command::Ls { path, is_recursive: true, .. } => subtree::list(output, client, &path).await,
        Command::Ls { path, stat, watch, .. } => nodes::ls(shell, client, &path, stat, watch).await,
        Command::Delete { path, version } => {
            client.delete(&path, version).await.map_err(|error| Fault::client(error, &path))
        }
        Command::DeleteAll { path, batch } => {
            subtree::delete_all(output, client, &path, batch).await
        }
        Command::GetAcl { path, stat } => nodes::get_acl(output, client, &path, stat).await,
        Command::SetAcl { path, acl, stat, version, is_recursive: false } => {
            nodes::set_acl(output, client, &path, &acl, stat, version).await
        }
        Command::SetAcl { path, acl, stat, version, is_recursive: true } => {
            subtree::set_acl(output, client, &path, &acl, stat, version).await
        }
        Command::AddAuth { scheme, auth } => client
            .add_auth(&scheme, auth)
            .await
            .map_err(|error| Fault::Client { error, path: None }),
        Command::WhoAmI => nodes::who_am_i(output, client).await,
        Command::Sync { path } => nodes::sync(output, client, &path).await,
        Command::GetEphemerals { prefix } => nodes::ephemerals(output, client, &prefix).await,
        Command::GetAllChildrenNumber { path } => nodes::count(output, client, &path).await,
        Command::ListQuota { path } => quota::list(output, client, &path).await,
        Command::SetQuota { path, limit, value } => {
            quota::set(output, client, &path, limit, value).await
        }
        Command::DelQuota { path, limit } => quota::delete(output, client, &path, limit).await,
        Command::AddWatch { path, mode } => watch::add(shell, client, &path, mode).await,
        Command::RemoveWatches { path, watcher, local } => {
            watch::remove(shell, client, &path, watcher, local).await
        }
        Command::Watch { path, mode, count } => {
            watch::follow(output, client, &path, mode, count).await
        }
        Command::Config { as_clients, watch, stat } => {
            ensemble::config(shell, client, as_clients, watch, stat).await
        }
        Command::Reconfig(change) => ensemble::reconfig(output, client, &change).await,
        Command::Tree { path, depth, stat } => {
            subtree::tree(output, client, &path, depth, stat).await
        }
        Command::Find { path, criteria } => subtree::find(output, client, &path, &criteria).await,
        Command::Du { path, depth } => subtree::du(output, client, &path, depth).await,
        Command::Export { path, file } => {
            copy::export(output, client, &path, file.as_deref()).await
        }
        Command::Import { file, path, rules } => {
            copy::import(output, client, &file, path.as_deref(), rules).await
        }
        Command::Cp { source, target, rules, is_recursive } => {
            copy::copy(output, client, &source, &target, rules, is_recursive).await
        }
        Command::Diff { left, right, server, acls } => {
            diff::diff(shell, client, &left, &right, server.as_deref(), acls).await
        }
        Command::Connect { .. }
        | Command::Close
        | Command::History
        | Command::Redo { .. }
        | Command::PrintWatches { .. }
        | Command::Quit
        | Command::Version
        | Command::Help { .. } => unreachable!("the shell carries these out itself"),
    }
}
