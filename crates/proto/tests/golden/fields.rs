//! Our records in the form of Apache's `toString`: fields separated by commas, strings behind `'`,
//! buffers behind `#` as Java prints bytes, records in `s{}`, vectors in `v{}`.

use std::borrow::Cow;

use oxikeeper_proto::acl::{Acl, AclEntry, Id};
use oxikeeper_proto::multi::MultiHeader;
use oxikeeper_proto::reply::*;
use oxikeeper_proto::request::*;
use oxikeeper_proto::txn::*;
use oxikeeper_proto::watch::WatcherEvent;
use oxikeeper_proto::{SessionId, Stat, Zxid};

/// Text under construction.
pub struct Text {
    out: String,
    first: bool,
}

impl Text {
    fn part(&mut self, text: &str) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        self.out.push_str(text);
    }

    fn nested(&mut self, open: &str, inner: impl FnOnce(&mut Text)) {
        self.part(open);
        self.first = true;
        inner(self);
        self.out.push('}');
        self.first = false;
    }
}

/// A record's fields without braces, as Apache prints it at the top.
pub fn text(record: &impl Record) -> String {
    let mut text = Text { out: String::new(), first: true };
    record.fields(&mut text);
    text.out
}

/// Has fields.
pub trait Record {
    /// Appends them.
    fn fields(&self, text: &mut Text);
}

/// Can be a field.
pub trait Field {
    /// Appends it.
    fn field(&self, text: &mut Text);
}

impl<T: Record> Field for T {
    fn field(&self, text: &mut Text) {
        text.nested("s{", |text| self.fields(text));
    }
}

macro_rules! plain {
    ($($type:ty: $self:ident => $value:expr),* $(,)?) => {$(
        impl Field for $type {
            fn field(&self, text: &mut Text) {
                let $self = self;
                text.part(&$value.to_string());
            }
        }
    )*};
}

plain! {
    i32: n => n,
    i64: n => n,
    bool: b => if *b { "T" } else { "F" },
    Zxid: zxid => zxid.to_wire(),
    SessionId: id => id.0,
    [u8; 16]: bytes => buffer(bytes),
    Option<&[u8]>: bytes => bytes.map(buffer).unwrap_or_default(),
    Option<Cow<'_, str>>: text => text.as_deref().map(string).unwrap_or_default(),
    Cow<'_, str>: text => string(text),
    String: text => string(text),
}

/// Empty and null buffers look alike in this form; that they stay apart is seen in the bytes.
fn buffer(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    // Java widens the signed byte before it prints it.
    bytes.iter().fold("#".to_owned(), |text, &byte| text + &format!("{:x}", byte as i8 as i32))
}

fn string(text: &str) -> String {
    let mut out = "'".to_owned();
    for c in text.chars() {
        match c {
            '\0' | '\n' | '\r' | ',' | '}' | '%' => out.push_str(&format!("%{:02X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

impl<T: Field> Field for Vec<T> {
    fn field(&self, text: &mut Text) {
        text.nested("v{", |text| self.iter().for_each(|item| item.field(text)));
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn field(&self, text: &mut Text) {
        text.nested("v{", |text| self.iter().flatten().for_each(|item| item.field(text)));
    }
}

macro_rules! records {
    ($($type:ty { $($field:ident),* })*) => {$(
        impl Record for $type {
            fn fields(&self, text: &mut Text) {
                $(self.$field.field(text);)*
            }
        }
    )*};
}

records! {
    RequestHeader { xid, op }
    CreateRequest<'_> { path, data, acl, flags }
    CreateTtlRequest<'_> { path, data, acl, flags, ttl }
    PathVersionRequest<'_> { path, version }
    SetDataRequest<'_> { path, data, version }
    SetAclRequest<'_> { path, acl, version }
    WatchableRequest<'_> { path, watch }
    PathRequest<'_> { path }
    ReconfigRequest<'_> { joining_servers, leaving_servers, new_members, current_config_id }
    WatchesRequest<'_> { path, watcher_type }
    AddWatchRequest<'_> { path, mode }
    SetWatchesRequest<'_> { relative_zxid, data_watches, exist_watches, child_watches }
    SetWatches2Request<'_> {
        relative_zxid, data_watches, exist_watches, child_watches, persistent_watches,
        persistent_recursive_watches
    }
    AuthPacket<'_> { kind, scheme, auth }
    SaslRequest<'_> { token }
    MultiHeader { op, done, err }
    ReplyHeader { xid, zxid, err }
    PathReply<'_> { path }
    Create2Reply<'_> { path, stat }
    StatReply { stat }
    GetDataReply<'_> { data, stat }
    GetAclReply { acl, stat }
    GetChildrenReply<'_> { children }
    GetChildren2Reply<'_> { children, stat }
    GetEphemeralsReply<'_> { ephemerals }
    GetAllChildrenNumberReply { total_number }
    ClientInfo { auth_scheme, user }
    WhoAmIReply { client_info }
    ErrorReply { err }
    SaslReply<'_> { token }
    WatcherEvent<'_> { kind, state, path }
    Id { scheme, id }
    Acl { perms, id }
    Stat {
        czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, data_length,
        num_children, pzxid
    }
    TxnHeader { session, cxid, zxid, time_ms, kind }
    TxnDigest { version, tree_digest }
    CreateTxn<'_> { path, data, acl, ephemeral, parent_cversion }
    CreateContainerTxn<'_> { path, data, acl, parent_cversion }
    CreateTtlTxn<'_> { path, data, acl, parent_cversion, ttl_ms }
    DeleteTxn<'_> { path }
    SetDataTxn<'_> { path, data, version }
    SetAclTxn<'_> { path, acl, version }
    CheckTxn<'_> { path, version }
}

impl Record for AclEntry<'_> {
    fn fields(&self, text: &mut Text) {
        self.perms.field(text);
        text.nested("s{", |text| {
            self.scheme.field(text);
            self.id.field(text);
        });
    }
}

impl Record for ConnectRequest<'_> {
    fn fields(&self, text: &mut Text) {
        self.protocol_version.field(text);
        self.last_zxid_seen.field(text);
        self.timeout_ms.field(text);
        self.session.field(text);
        self.password.field(text);
        self.read_only.unwrap_or(false).field(text);
    }
}

impl Record for ConnectResponse {
    fn fields(&self, text: &mut Text) {
        self.protocol_version.field(text);
        self.timeout_ms.field(text);
        self.session.field(text);
        self.password.field(text);
        self.read_only.unwrap_or(false).field(text);
    }
}

impl Record for Txn<'_> {
    fn fields(&self, text: &mut Text) {
        match self {
            Txn::CreateSession(timeout_ms) => timeout_ms.field(text),
            Txn::CloseSession(paths) => paths.field(text),
            Txn::Error(code) => code.field(text),
            Txn::Create(body) | Txn::Create2(body) => body.fields(text),
            Txn::CreateContainer(body) => body.fields(text),
            Txn::CreateTtl(body) => body.fields(text),
            Txn::Delete(body) | Txn::DeleteContainer(body) => body.fields(text),
            Txn::SetData(body) | Txn::Reconfig(body) => body.fields(text),
            Txn::SetAcl(body) => body.fields(text),
            Txn::Check(body) => body.fields(text),
            Txn::Multi(_) => text.part("multi"),
        }
    }
}
