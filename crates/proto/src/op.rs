//! Operation codes.

macro_rules! op_codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal),* $(,)?) => {
        /// What a request asks for. Values are Apache's `ZooDefs.OpCode`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum OpCode { $($(#[$meta])* $name = $code),* }

        impl OpCode {
            /// Every operation, in order of declaration.
            pub const ALL: &'static [OpCode] = &[$(OpCode::$name),*];

            /// The operation of this number, if there is one.
            pub const fn from_wire(code: i32) -> Option<OpCode> {
                match code {
                    $($code => Some(OpCode::$name),)*
                    _ => None,
                }
            }
        }
    };
}

op_codes! {
    /// create: persistent, ephemeral, sequential; replies with the path.
    Create = 1,
    /// delete.
    Delete = 2,
    /// exists.
    Exists = 3,
    /// getData.
    GetData = 4,
    /// setData.
    SetData = 5,
    /// getACL.
    GetAcl = 6,
    /// setACL.
    SetAcl = 7,
    /// getChildren.
    GetChildren = 8,
    /// sync.
    Sync = 9,
    /// ping.
    Ping = 11,
    /// getChildren with the parent's stat.
    GetChildren2 = 12,
    /// check a version; only inside a multi.
    Check = 13,
    /// multi: a transaction of several writes.
    Multi = 14,
    /// create that also replies with the stat.
    Create2 = 15,
    /// reconfig.
    Reconfig = 16,
    /// checkWatches.
    CheckWatches = 17,
    /// removeWatches.
    RemoveWatches = 18,
    /// createContainer.
    CreateContainer = 19,
    /// deleteContainer; the server's own, to reap containers and TTL nodes.
    DeleteContainer = 20,
    /// createTTL.
    CreateTtl = 21,
    /// multiRead: several getData and getChildren.
    MultiRead = 22,
    /// auth.
    Auth = 100,
    /// setWatches.
    SetWatches = 101,
    /// sasl.
    Sasl = 102,
    /// getEphemerals.
    GetEphemerals = 103,
    /// getAllChildrenNumber.
    GetAllChildrenNumber = 104,
    /// setWatches2, with persistent watches.
    SetWatches2 = 105,
    /// addWatch.
    AddWatch = 106,
    /// whoAmI.
    WhoAmI = 107,
    /// createSession; made by the server itself.
    CreateSession = -10,
    /// closeSession.
    CloseSession = -11,
}

impl OpCode {
    /// The number on the wire.
    pub const fn to_wire(self) -> i32 {
        self as i32
    }
}
