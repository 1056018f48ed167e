//! The files in which a server keeps a membership that changes: `zoo.cfg.dynamic.<version>`, to which
//! `zoo.cfg` points, `zoo.cfg.dynamic.next` for one that is proposed, and `zoo.cfg.bak`.
//!
//! As Apache's, but for one thing: what `zoo.cfg` says otherwise stays as it was written, comments and
//! order too. Source: operations reference, 1.4; quorum-protocol reference, 8.4.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::properties;
use oxikeeper_proto::quorum::ConfigText;
use oxikeeper_storage::{Disk, DiskFile};
use oxikeeper_zab::io::ConfigStep;

use crate::config::is_dynamic;

/// See the module's head.
#[derive(Clone, Debug)]
pub struct ConfigFiles {
    /// `zoo.cfg`, by its whole path.
    file: PathBuf,
    my_id: ServerId,
}

impl ConfigFiles {
    /// Beside this `zoo.cfg`.
    ///
    /// # Errors
    /// It has no whole path.
    pub fn beside(file: &Path, my_id: ServerId) -> io::Result<ConfigFiles> {
        Ok(ConfigFiles { file: std::fs::canonicalize(file)?, my_id })
    }

    /// Keeps a copy of `zoo.cfg` as it was before the server edits it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn back_up<D: Disk>(&self, disk: &D) -> io::Result<()> {
        replace(disk, &self.with_suffix(".bak"), &read(disk, &self.file)?)
    }

    /// The configuration that was proposed last and not committed, as far as this server knew when it
    /// ended.
    ///
    /// # Errors
    /// What the disk says, or that the file holds no configuration.
    pub fn proposed<D: Disk>(&self, disk: &D) -> io::Result<Option<ConfigText>> {
        match read(disk, &self.next()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(bytes) => {
                let parsed = ConfigText::parse(&String::from_utf8_lossy(&bytes));
                parsed.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// Writes down what has become of a configuration.
    ///
    /// # Errors
    /// What the disk says. What was written before stays.
    pub fn keep<D: Disk>(&self, disk: &D, config: &ConfigText, step: ConfigStep) -> io::Result<()> {
        match step {
            ConfigStep::Proposed => {
                let text = format!("{}\nversion={:x}", body(config), config.version);
                replace(disk, &self.next(), text.as_bytes())
            }
            ConfigStep::Committed { .. } => {
                let dynamic = self.with_suffix(&format!(".dynamic.{:x}", config.version));
                replace(disk, &dynamic, body(config).as_bytes())?;
                // A client address that the server line carries stands there alone.
                let mine = config.servers.get(&self.my_id);
                let has_client = mine.is_some_and(|line| line.client.is_some());
                let edited = pointing(&read(disk, &self.file)?, &dynamic, has_client);
                replace(disk, &self.file, &edited)?;
                // One that is newer than this is still proposed.
                match self.proposed(disk) {
                    Ok(Some(proposed)) if proposed.version > config.version => Ok(()),
                    Ok(None) => Ok(()),
                    _ => self.forget_proposed(disk),
                }
            }
            ConfigStep::Withdrawn => self.forget_proposed(disk),
        }
    }

    fn forget_proposed<D: Disk>(&self, disk: &D) -> io::Result<()> {
        match disk.remove(&self.next()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => disk.sync_dir(dir_of(&self.file)),
        }
    }

    fn next(&self) -> PathBuf {
        self.with_suffix(".dynamic.next")
    }

    fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(suffix);
        name.into()
    }
}

/// The lines of a configuration but for its version, in the order of their bytes, no newline at the end.
fn body(config: &ConfigText) -> String {
    let text = config.without_version();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// `zoo.cfg` without the members, and with the place where they stand.
fn pointing(bytes: &[u8], dynamic: &Path, drops_client_port: bool) -> Vec<u8> {
    let goes = |key: &str| {
        let is_client = ["clientPort", "clientPortAddress"].contains(&key);
        is_dynamic(key)
            || ["dynamicConfigFile", "peerType"].contains(&key)
            || (drops_client_port && is_client)
    };
    // It was readable at the start; if it has been broken since, nothing of it is taken away.
    let parsed = properties::parse(bytes).unwrap_or_default();
    let first_lines: BTreeSet<usize> =
        parsed.into_iter().filter(|property| goes(&property.key)).map(|found| found.line).collect();
    let mut edited = Vec::with_capacity(bytes.len());
    let mut goes_on = false;
    for (line, number) in bytes.split_inclusive(|&byte| byte == b'\n').zip(1..) {
        if goes_on || first_lines.contains(&number) {
            let text = line.trim_ascii_end();
            goes_on = text.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
        } else {
            edited.extend_from_slice(line);
        }
    }
    if !edited.is_empty() && !edited.ends_with(b"\n") {
        edited.push(b'\n');
    }
    // In properties a backslash escapes.
    let pointer = dynamic.display().to_string().replace('\\', "\\\\");
    edited.extend_from_slice(format!("dynamicConfigFile={pointer}\n").as_bytes());
    edited
}

fn read<D: Disk>(disk: &D, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut bytes = vec![0; file.len()? as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(filled as u64, &mut bytes[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Puts a file in the place of another, whole or not at all.
fn replace<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let file = disk.create(&temporary)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir_of(path))
}

fn dir_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use oxikeeper_storage::RealDisk;

    use super::*;

    const STATIC: &str = "# ours\ntickTime=1000\nserver.1=a:1:2\nserver.2=b:1:\\\n  2\nclientPort=5\n\
                          clientPortListenBacklog=9\npeerType=participant\n# the end";
    const MEMBERS: &str =
        "server.10=j:1:2:participant;0.0.0.0:5\nserver.9=i:1:2:observer\nversion=10000000a";

    fn files(dir: &Path) -> ConfigFiles {
        std::fs::write(dir.join("zoo.cfg"), STATIC).expect("a file");
        ConfigFiles::beside(&dir.join("zoo.cfg"), ServerId(10)).expect("it is there")
    }

    #[test]
    fn the_files_are_apaches() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = files(dir.path());
        let config = ConfigText::parse(MEMBERS).expect("a configuration");
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).ok();
        files.back_up(&RealDisk).expect("a copy");
        assert_eq!(text("zoo.cfg.bak").as_deref(), Some(STATIC));
        files.keep(&RealDisk, &config, ConfigStep::Proposed).expect("written");
        assert_eq!(text("zoo.cfg.dynamic.next").as_deref(), Some(MEMBERS));
        let proposed = files.proposed(&RealDisk).expect("readable").expect("there");
        assert_eq!(proposed.version, config.version);
        files.keep(&RealDisk, &config, ConfigStep::Committed { in_log: true }).expect("written");
        assert_eq!(text("zoo.cfg.dynamic.next"), None);
        let (members, _) = MEMBERS.rsplit_once('\n').expect("a version");
        assert_eq!(text("zoo.cfg.dynamic.10000000a").as_deref(), Some(members));
        let whole = std::fs::canonicalize(dir.path()).expect("a path");
        let expected = format!(
            "# ours\ntickTime=1000\nclientPortListenBacklog=9\n# the end\n\
             dynamicConfigFile={}/zoo.cfg.dynamic.10000000a\n",
            whole.display()
        );
        assert_eq!(text("zoo.cfg"), Some(expected.clone()));
        // Once more, and nothing is there twice.
        files.keep(&RealDisk, &config, ConfigStep::Committed { in_log: true }).expect("written");
        assert_eq!(text("zoo.cfg"), Some(expected));
        assert!(files.proposed(&RealDisk).expect("nothing there").is_none());
    }

    #[test]
    fn a_client_port_stays_where_the_line_names_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = files(dir.path());
        let plain = ConfigText::parse("server.10=j:1:2\nversion=7").expect("a configuration");
        let newer = ConfigText::parse("server.10=j:1:3\nversion=8").expect("a configuration");
        files.keep(&RealDisk, &newer, ConfigStep::Proposed).expect("written");
        files.keep(&RealDisk, &plain, ConfigStep::Committed { in_log: false }).expect("written");
        let text = std::fs::read_to_string(dir.path().join("zoo.cfg")).expect("a file");
        assert!(text.contains("\nclientPort=5\n") && !text.contains("server."), "{text}");
        let proposed = files.proposed(&RealDisk).expect("readable").expect("the newer one stays");
        assert_eq!(proposed.version, 8);
        files.keep(&RealDisk, &plain, ConfigStep::Withdrawn).expect("removed");
        files.keep(&RealDisk, &plain, ConfigStep::Withdrawn).expect("it is gone already");
        assert!(files.proposed(&RealDisk).expect("nothing there").is_none());
    }
}
