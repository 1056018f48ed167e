//! Where the server runs, as `envi` tells it.
//!
//! Scripts read `zookeeper.version` and `host.name`; the keys of a JVM are there for parsers that
//! expect all of them. Source: operations reference, 2.3.

use std::env;
use std::fs;

/// `key=value` in Apache's order.
pub fn lines() -> Vec<(&'static str, String)> {
    let not_available = || "<NA>".to_owned();
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| not_available());
    let kernel = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.map_or_else(|_| not_available(), |text| text.trim().to_owned())
    };
    let directory = env::current_dir().map(|dir| dir.display().to_string());
    let memory = |key: &str| {
        let kib = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        });
        kib.map_or_else(not_available, |kib| format!("{}MB", kib / 1024))
    };
    vec![
        ("zookeeper.version", crate::version().to_owned()),
        ("host.name", kernel("hostname")),
        ("java.version", not_available()),
        ("java.vendor", not_available()),
        ("java.home", not_available()),
        ("java.class.path", not_available()),
        ("java.library.path", not_available()),
        ("java.io.tmpdir", env::temp_dir().display().to_string()),
        ("java.compiler", not_available()),
        ("os.name", "Linux".to_owned()),
        ("os.arch", env::consts::ARCH.to_owned()),
        ("os.version", kernel("osrelease")),
        ("user.name", variable("USER")),
        ("user.home", variable("HOME")),
        ("user.dir", directory.unwrap_or_else(|_| not_available())),
        ("os.memory.free", memory("MemAvailable")),
        ("os.memory.max", memory("MemTotal")),
        ("os.memory.total", memory("MemTotal")),
    ]
}
