//! A `zoo.cfg` of any bytes.

use oxikeeper_server::config::{Config, ConfigError, Flags};

use crate::{Target, Verdict};

/// See [`run`].
pub const TARGET: Target = Target {
    name: "config",
    run,
    // No piece holds a name for clients to connect to: it would be resolved.
    pieces: &[
        b"\nclientPort=2181\n",
        b"\ntickTime=",
        b"\nminSessionTimeout=",
        b"\nmaxSessionTimeout=",
        b"\nautopurge.snapRetainCount=",
        b"\nmaxClientCnxns=",
        b"\njute.maxbuffer=",
        b"\nsnapCount=",
        b"\npreAllocSize=",
        b"\nserver.1=127.0.0.1:1:2",
        b"\n4lw.commands.whitelist=*\n",
        b"[::1]:3:4",
        b"0x7fffffffffffffff",
        b"-9223372036854775808",
        b"2147483648",
        b"017",
        b"true",
        b"\\\n",
        b"\\u00e9",
        b"\\u12",
        b"\r\n",
        b"=",
        b":",
        b"\xff\xfe\0",
    ],
};

/// The bytes as a file, and once more as flags: a verdict with a reason, twice the same, and within
/// its ranges if it is accepted.
pub fn run(bytes: &[u8]) -> Verdict {
    let mut flags = Flags::default();
    let first = judge(bytes, &flags);
    assert_eq!(judge(bytes, &flags).is_ok(), first.is_ok(), "the same file, the same verdict");
    flags.take_variable(&String::from_utf8_lossy(bytes).replace('\n', " "));
    // Its verdict is its own; that there is one is what counts.
    let _ = judge(bytes, &flags);
    match first {
        Ok(_) => Verdict::Accepted,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal says why");
            Verdict::Refused
        }
    }
}

fn judge(bytes: &[u8], flags: &Flags) -> Result<Config, ConfigError> {
    let config = Config::parse(bytes, flags)?;
    let node = &config.node;
    assert!(node.tick_ms > 0, "a tick of {}", node.tick_ms);
    assert!(
        node.session_timeout_ms_min <= node.session_timeout_ms_max,
        "sessions from {} to {}",
        node.session_timeout_ms_min,
        node.session_timeout_ms_max
    );
    assert!(config.purge.retain >= 3, "purging keeps {}", config.purge.retain);
    assert!(node.frame_bytes_max >= 1, "frames of {} bytes", node.frame_bytes_max);
    assert!((1..=4).contains(&config.reactors), "{} reactors", config.reactors);
    assert!(!config.data_dir.as_os_str().is_empty(), "a directory without a name");
    Ok(config)
}
