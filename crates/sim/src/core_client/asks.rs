//! What the clients with a session core ask for.

use std::time::Duration;

use oxikeeper_client::session::{MultiRead, Request, Transaction};
use oxikeeper_client::{Acl, CreateOptions, ExpectedVersion, Id, WatchMode, WatcherType, perms};

use crate::model::DIGEST_ID;
use crate::rng::Rng;

/// A request that owns what it is made of.
pub(super) enum Ask {
    Create(String, Vec<u8>, CreateOptions),
    Delete(String, ExpectedVersion),
    SetData(String, Vec<u8>, ExpectedVersion),
    SetAcl(String, Vec<Acl>, ExpectedVersion),
    Exists(String, bool),
    GetData(String, bool),
    GetChildren(String, bool),
    GetAcl(String),
    Sync(String),
    Ephemerals(String),
    AllChildren(String),
    WhoAmI,
    Transaction(Transaction),
    MultiRead(MultiRead),
    AddWatch(String, WatchMode),
    RemoveWatches(String, WatcherType),
    Close,
}

fn path(rng: &mut Rng) -> String {
    let top = rng.below(4);
    match rng.below(100) {
        0..=39 => format!("/n{top}"),
        40..=84 => format!("/n{top}/x{}", rng.below(3)),
        85..=97 => format!("/n{top}/x{}/y{}", rng.below(4), rng.below(2)),
        98 => "/".to_owned(),
        _ => "/bad/".to_owned(),
    }
}

fn version(rng: &mut Rng) -> ExpectedVersion {
    (*rng.pick(&[-1, -1, -1, -1, 0, 0, 1, 2])).into()
}

fn data(rng: &mut Rng) -> Vec<u8> {
    let length = if rng.chance(50) { 5_000 } else { rng.index(9) };
    vec![rng.draw() as u8; length]
}

fn acl(rng: &mut Rng) -> Vec<Acl> {
    match rng.below(20) {
        0 => vec![Acl { perms: perms::ALL, id: Id::new("digest", DIGEST_ID) }],
        1 => vec![Acl { perms: perms::READ | perms::ADMIN, id: Id::anyone() }],
        _ => vec![Acl::open()],
    }
}

fn options(rng: &mut Rng) -> CreateOptions {
    let options = match rng.below(10) {
        0..=3 => CreateOptions::persistent(),
        4..=5 => CreateOptions::ephemeral(),
        6 => CreateOptions::persistent_sequential(),
        7 => CreateOptions::ephemeral_sequential(),
        8 => CreateOptions::container(),
        _ => CreateOptions::ttl(Duration::from_millis(rng.between(300, 5_000))),
    };
    options.acl(acl(rng))
}

fn transaction(rng: &mut Rng) -> Transaction {
    let mut transaction = Transaction::default();
    for _ in 0..rng.below(4) {
        match rng.below(4) {
            0 => transaction.check(path(rng), version(rng)),
            1 => transaction.create(path(rng), data(rng), options(rng)),
            2 => transaction.set_data(path(rng), data(rng), version(rng)),
            _ => transaction.delete(path(rng), version(rng)),
        }
    }
    transaction
}

fn multi_read(rng: &mut Rng) -> MultiRead {
    let mut reads = MultiRead::default();
    for _ in 0..rng.below(4) {
        if rng.chance(500) { reads.get_data(path(rng)) } else { reads.get_children(path(rng)) }
    }
    reads
}

/// Anything but the end of the session.
pub(super) fn draw(rng: &mut Rng) -> Ask {
    let watches = rng.chance(400);
    match rng.below(100) {
        0..=21 => Ask::Create(path(rng), data(rng), options(rng)),
        22..=27 => Ask::Delete(path(rng), version(rng)),
        28..=39 => Ask::SetData(path(rng), data(rng), version(rng)),
        40..=41 => {
            // The root stays open, or a run would soon have nothing to do.
            Ask::SetAcl(format!("/n{}", rng.below(4)), acl(rng), version(rng))
        }
        42..=49 => Ask::Transaction(transaction(rng)),
        50..=57 => Ask::Exists(path(rng), watches),
        58..=67 => Ask::GetData(path(rng), watches),
        68..=75 => Ask::GetChildren(path(rng), watches),
        76..=77 => Ask::GetAcl(path(rng)),
        78..=80 => Ask::Sync(path(rng)),
        81..=82 => Ask::Ephemerals("/".to_owned()),
        83..=84 => Ask::AllChildren(path(rng)),
        85..=86 => Ask::WhoAmI,
        87..=90 => Ask::MultiRead(multi_read(rng)),
        91..=93 => Ask::AddWatch(path(rng), WatchMode::Persistent),
        94..=96 => Ask::AddWatch(path(rng), WatchMode::PersistentRecursive),
        _ => {
            let kinds = [WatcherType::Any, WatcherType::Data, WatcherType::PersistentRecursive];
            Ask::RemoveWatches(path(rng), *rng.pick(&kinds))
        }
    }
}

impl Ask {
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Ask::Create(..)
                | Ask::Delete(..)
                | Ask::SetData(..)
                | Ask::SetAcl(..)
                | Ask::Transaction(_)
        )
    }

    pub fn leaves_watch(&self) -> bool {
        match self {
            Ask::Exists(_, watch) | Ask::GetData(_, watch) | Ask::GetChildren(_, watch) => *watch,
            Ask::AddWatch(..) => true,
            _ => false,
        }
    }

    /// Lends itself as a request.
    pub fn with<T>(&self, use_it: impl FnOnce(&Request<'_>) -> T) -> T {
        use_it(&match self {
            Ask::Create(path, data, options) => Request::Create { path, data: Some(data), options },
            Ask::Delete(path, version) => Request::Delete { path, version: *version },
            Ask::SetData(path, data, version) => {
                Request::SetData { path, data: Some(data), version: *version }
            }
            Ask::SetAcl(path, acl, version) => Request::SetAcl { path, acl, version: *version },
            Ask::Exists(path, _) => Request::Exists(path),
            Ask::GetData(path, _) => Request::GetData(path),
            Ask::GetChildren(path, _) => Request::GetChildren(path),
            Ask::GetAcl(path) => Request::GetAcl(path),
            Ask::Sync(path) => Request::Sync(path),
            Ask::Ephemerals(prefix) => Request::GetEphemerals(prefix),
            Ask::AllChildren(path) => Request::GetAllChildrenNumber(path),
            Ask::WhoAmI => Request::WhoAmI,
            Ask::Transaction(transaction) => Request::Transaction(transaction),
            Ask::MultiRead(reads) => Request::MultiRead(reads),
            Ask::AddWatch(path, mode) => Request::AddWatch { path, mode: *mode },
            Ask::RemoveWatches(path, kind) => {
                Request::RemoveWatches { path, kind: *kind, local: false }
            }
            Ask::Close => Request::Close,
        })
    }
}
