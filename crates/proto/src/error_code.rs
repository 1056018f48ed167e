//! Error codes as replies carry them.

macro_rules! error_codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal),* $(,)?) => {
        /// A code of Apache's `KeeperException.Code` that a server may answer with.
        /// Codes above -100 are system errors, below it API errors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum ErrorCode { $($(#[$meta])* $name = $code),* }

        impl ErrorCode {
            /// Every code, in order of declaration.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The code on the wire, if it is one of ours.
            pub const fn from_wire(code: i32) -> Option<ErrorCode> {
                match code {
                    $($code => Some(ErrorCode::$name),)*
                    _ => None,
                }
            }
        }
    };
}

error_codes! {
    /// Success.
    Ok = 0,
    /// Only inside the reply of a failed multi: not executed because an earlier operation failed.
    RuntimeInconsistency = -2,
    /// The request could not be decoded, or failed in an unforeseen way.
    MarshallingError = -5,
    /// The operation is unknown or switched off.
    Unimplemented = -6,
    /// The request was not carried out in time. Every client knows the code and may try again; we
    /// answer it while the log's disk is full.
    OperationTimeout = -7,
    /// An argument is not valid.
    BadArguments = -8,
    /// No quorum of the new configuration is connected.
    NewConfigNoQuorum = -13,
    /// Another reconfiguration is in progress.
    ReconfigInProgress = -14,
    /// The node does not exist.
    NoNode = -101,
    /// Permission denied.
    NoAuth = -102,
    /// The expected version does not match.
    BadVersion = -103,
    /// Ephemeral nodes have no children.
    NoChildrenForEphemerals = -108,
    /// The node exists.
    NodeExists = -110,
    /// The node has children.
    NotEmpty = -111,
    /// The session is gone or closing.
    SessionExpired = -112,
    /// The ACL is not valid.
    InvalidAcl = -114,
    /// Authentication failed; the connection closes.
    AuthFailed = -115,
    /// The session is owned by another server; never sent, the connection closes instead.
    SessionMoved = -118,
    /// A write on a read-only server.
    NotReadOnly = -119,
    /// An ephemeral node on a session known to one server only.
    EphemeralOnLocalSession = -120,
    /// No such watch.
    NoWatcher = -121,
    /// Reconfiguration is switched off.
    ReconfigDisabled = -123,
    /// The connection must authenticate first; it closes.
    SessionClosedRequireSaslAuth = -124,
    /// A quota would be exceeded.
    QuotaExceeded = -125,
    /// The request waited too long in the throttle queue.
    ThrottledOp = -127,
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn to_wire(self) -> i32 {
        self as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_wire() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(code.to_wire()), Some(code));
        }
        assert_eq!(ErrorCode::from_wire(-126), None);
    }
}
