//! A command as it is understood: words and flags checked, nothing asked of a server yet.

use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use oxikeeper_client::{Acl, CreateOptions, ExpectedVersion, WatchMode, WatcherType};
use oxikeeper_proto::limits::TTL_MS_MAX;

use crate::acl;
use crate::fault::Fault;
use crate::options::Options;
use crate::syntax::{self, Syntax};

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Create {
        path: String,
        data: Option<Vec<u8>>,
        options: CreateOptions,
        kind: NewNode,
    },
    Get {
        path: String,
        stat: bool,
        watch: bool,
        form: DataForm,
    },
    Set {
        path: String,
        data: Vec<u8>,
        stat: bool,
        version: ExpectedVersion,
    },
    Stat {
        path: String,
        watch: bool,
    },
    Ls {
        path: String,
        stat: bool,
        watch: bool,
        is_recursive: bool,
    },
    Delete {
        path: String,
        version: ExpectedVersion,
    },
    DeleteAll {
        path: String,
        batch: usize,
    },
    GetAcl {
        path: String,
        stat: bool,
    },
    SetAcl {
        path: String,
        acl: Vec<Acl>,
        stat: bool,
        version: ExpectedVersion,
        is_recursive: bool,
    },
    AddAuth {
        scheme: String,
        auth: String,
    },
    WhoAmI,
    Sync {
        path: String,
    },
    GetEphemerals {
        prefix: String,
    },
    GetAllChildrenNumber {
        path: String,
    },
    ListQuota {
        path: String,
    },
    SetQuota {
        path: String,
        limit: Limit,
        value: i64,
    },
    DelQuota {
        path: String,
        limit: Option<Limit>,
    },
    AddWatch {
        path: String,
        mode: WatchMode,
    },
    RemoveWatches {
        path: String,
        watcher: WatcherType,
        local: bool,
    },
    Config {
        as_clients: bool,
        watch: bool,
        stat: bool,
    },
    Reconfig(Reconfig),
    Tree {
        path: String,
        depth: Option<usize>,
        stat: bool,
    },
    Find {
        path: String,
        criteria: Criteria,
    },
    Du {
        path: String,
        depth: usize,
    },
    Watch {
        path: String,
        mode: WatchMode,
        count: Option<u64>,
    },
    Export {
        path: String,
        file: Option<String>,
    },
    Import {
        file: String,
        path: Option<String>,
        rules: CopyRules,
    },
    Cp {
        source: String,
        target: String,
        rules: CopyRules,
        is_recursive: bool,
    },
    Diff {
        left: String,
        right: String,
        server: Option<String>,
        acls: bool,
    },
    Connect {
        server: Option<String>,
    },
    Close,
    History,
    Redo {
        number: usize,
    },
    /// `None` asks.
    PrintWatches {
        on: Option<bool>,
    },
    Quit,
    Version,
    Help {
        command: Option<String>,
    },
}

/// What goes with the session, and what does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewNode {
    /// It stays, for whatever time.
    Lasting,
    /// It goes with the session.
    Ephemeral,
}

/// How data is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataForm {
    Plain,
    Base64,
    Hex,
}

/// Which limit of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Count,
    Bytes,
    CountHard,
    BytesHard,
}

/// A change of the ensemble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconfig {
    pub add: Option<String>,
    pub remove: Option<String>,
    pub members: Option<String>,
    pub file: Option<String>,
    /// -1 is any.
    pub version: i64,
    pub stat: bool,
}

/// What `find` looks for: nodes for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Criteria {
    pub depth: Option<usize>,
    pub name: Option<String>,
    pub data: Option<String>,
    pub is_ephemeral: bool,
    pub is_empty: bool,
}

/// What `cp` and `import` do with what they meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyRules {
    /// Ephemeral nodes are created as persistent ones, not left out.
    pub takes_ephemerals: bool,
    /// What is there is overwritten.
    pub overwrites: bool,
}

/// What `deleteall` has on its way at a time unless told, as Apache's shell.
const BATCH_DEFAULT: usize = 1000;
/// However many are asked for: the client has bounds of its own.
const BATCH_MAX: usize = 10_000;

/// A command and what has to be said about the way it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What to do.
    pub command: Command,
    /// That its form is deprecated.
    pub note: Option<String>,
}

/// Understands words, of which the first is the command.
pub fn parse(words: &[String]) -> Result<Parsed, Fault> {
    let name = words.first().map_or("", String::as_str);
    let syntax = syntax::find(name).ok_or_else(|| Fault::UnknownCommand(name.to_owned()))?;
    let options = Options::parse(&syntax.flags, words).map_err(Fault::Usage)?;
    let given = Given { syntax, options };
    let note = given.deprecation();
    Ok(Parsed { command: given.command()?, note })
}

struct Given {
    syntax: &'static Syntax,
    options: Options,
}

impl Given {
    fn command(&self) -> Result<Command, Fault> {
        let has = |flag| self.options.has(flag);
        Ok(match self.syntax.name {
            "create" => self.create()?,
            "get" => {
                let form = match (has("x"), has("b")) {
                    (true, _) => DataForm::Hex,
                    (false, true) => DataForm::Base64,
                    (false, false) => DataForm::Plain,
                };
                let watch = has("w") || self.is_old_watch();
                Command::Get { path: self.path()?, stat: has("s"), watch, form }
            }
            "set" => self.set()?,
            "stat" => Command::Stat { path: self.path()?, watch: has("w") || self.is_old_watch() },
            "ls" => Command::Ls {
                path: self.path()?,
                stat: has("s"),
                watch: has("w") || self.is_old_watch(),
                is_recursive: has("R"),
            },
            "delete" => {
                let path = self.path()?;
                let version = match self.options.word(2) {
                    Some(old) => number(old, "version must be an int value")?,
                    None => self.version()?,
                };
                Command::Delete { path, version: ExpectedVersion::from(version) }
            }
            "deleteall" => {
                let path = self.path()?;
                let batch = self.number_of("b", "-b argument must be an int value")?;
                let batch = batch.unwrap_or(BATCH_DEFAULT as i32).max(1) as usize;
                Command::DeleteAll { path, batch: batch.min(BATCH_MAX) }
            }
            "getAcl" => Command::GetAcl { path: self.path()?, stat: has("s") },
            "setAcl" => Command::SetAcl {
                path: self.path()?,
                version: ExpectedVersion::from(self.version()?),
                acl: self.acl(self.required(2)?)?,
                stat: has("s"),
                is_recursive: has("R"),
            },
            "addauth" => {
                Command::AddAuth { scheme: self.required(1)?.to_owned(), auth: self.auth()? }
            }
            "whoami" => Command::WhoAmI,
            "sync" => Command::Sync { path: self.path()? },
            "getEphemerals" => Command::GetEphemerals { prefix: self.path_or_root()? },
            "getAllChildrenNumber" => Command::GetAllChildrenNumber { path: self.path()? },
            "listquota" => Command::ListQuota { path: self.path()? },
            "setquota" => self.set_quota()?,
            "delquota" => Command::DelQuota {
                path: self.path()?,
                limit: self.options.alternative(&self.syntax.flags).map(limit),
            },
            "addWatch" => self.add_watch()?,
            "removewatches" => Command::RemoveWatches {
                path: self.path()?,
                watcher: self.watcher(),
                local: has("l"),
            },
            "config" => Command::Config { as_clients: has("c"), watch: has("w"), stat: has("s") },
            "reconfig" => Command::Reconfig(self.reconfig()?),
            "connect" => Command::Connect { server: self.options.word(1).map(str::to_owned) },
            "close" => Command::Close,
            "history" => Command::History,
            "redo" => {
                let number = self.required(1)?;
                let out_of_range = || Fault::Refused("Command index out of range".to_owned());
                Command::Redo { number: number.parse().map_err(|_| out_of_range())? }
            }
            "printwatches" => {
                Command::PrintWatches { on: self.options.word(1).map(|word| word == "on") }
            }
            "quit" => Command::Quit,
            "version" if self.options.words.len() > 1 => return Err(self.usage()),
            "version" => Command::Version,
            _ => return self.command_of_ours(),
        })
    }

    fn command_of_ours(&self) -> Result<Command, Fault> {
        let has = |flag| self.options.has(flag);
        let depth = self.number_of("d", "-d argument must be a number")?;
        let rules = CopyRules { takes_ephemerals: has("e"), overwrites: has("f") };
        Ok(match self.syntax.name {
            "help" => Command::Help { command: self.options.word(1).map(str::to_owned) },
            "tree" => Command::Tree { path: self.path_or_root()?, depth, stat: has("s") },
            "du" => Command::Du { path: self.path_or_root()?, depth: depth.unwrap_or(1) },
            "find" => {
                let value = |flag| self.options.value(flag).map(str::to_owned);
                let criteria = Criteria {
                    depth,
                    name: value("name"),
                    data: value("data"),
                    is_ephemeral: has("ephemeral"),
                    is_empty: has("empty"),
                };
                Command::Find { path: self.path_or_root()?, criteria }
            }
            "watch" => Command::Watch {
                path: self.path()?,
                mode: if has("r") { WatchMode::PersistentRecursive } else { WatchMode::Persistent },
                count: self.number_of("n", "-n argument must be a number")?,
            },
            "export" => Command::Export {
                path: self.path()?,
                file: self.options.word(2).map(str::to_owned),
            },
            "import" => {
                let path = self.options.word(2).map(|path| self.checked(path)).transpose()?;
                Command::Import { file: self.required(1)?.to_owned(), path, rules }
            }
            "cp" => Command::Cp {
                source: self.path()?,
                target: self.checked(self.required(2)?)?,
                rules,
                is_recursive: has("r"),
            },
            "diff" => Command::Diff {
                left: self.path()?,
                right: self.checked(self.required(2)?)?,
                server: self.options.value("server").map(str::to_owned),
                acls: has("a"),
            },
            name => unreachable!("{name} has a syntax and no meaning"),
        })
    }

    fn usage(&self) -> Fault {
        Fault::Usage(self.syntax.usage())
    }

    /// The n-th word behind the command; wrong usage without it.
    fn required(&self, n: usize) -> Result<&str, Fault> {
        self.options.word(n).ok_or_else(|| self.usage())
    }

    fn checked(&self, path: &str) -> Result<String, Fault> {
        crate::fault::check_path(path)?;
        Ok(path.to_owned())
    }

    fn path(&self) -> Result<String, Fault> {
        self.checked(self.required(1)?)
    }

    fn path_or_root(&self) -> Result<String, Fault> {
        self.checked(self.options.word(1).unwrap_or("/"))
    }

    /// `ls path watch` and its like: any second word, as Apache's shell.
    fn is_old_watch(&self) -> bool {
        self.options.word(2).is_some()
    }

    fn deprecation(&self) -> Option<String> {
        self.options.word(2)?;
        let (old, new) = match self.syntax.name {
            "ls" => ("ls path [watch]", "ls [-w] path"),
            "get" => ("get path [watch]", "get [-s] [-w] path"),
            "stat" => ("stat path [watch]", "stat [-w] path"),
            "delete" => ("delete path [version]", "delete [-v version] path"),
            _ => return None,
        };
        Some(format!("'{old}' has been deprecated. Please use '{new}' instead."))
    }

    fn number_of<N: FromStr>(&self, flag: &str, complaint: &str) -> Result<Option<N>, Fault> {
        self.options.value(flag).map(|text| number(text, complaint)).transpose()
    }

    /// The value of `-v`; -1 is any version.
    fn version(&self) -> Result<i32, Fault> {
        Ok(self.number_of("v", "-v argument must be an int value")?.unwrap_or(-1))
    }

    fn acl(&self, text: &str) -> Result<Vec<Acl>, Fault> {
        acl::parse(text).map_err(|why| Fault::Refused(format!("{why}\nAcl is not valid : null")))
    }

    /// What follows the scheme. Only `ip` needs nothing.
    fn auth(&self) -> Result<String, Fault> {
        match (self.options.word(1), self.options.word(2)) {
            (_, Some(auth)) => Ok(auth.to_owned()),
            (Some("ip"), None) => Ok(String::new()),
            _ => Err(self.usage()),
        }
    }

    fn create(&self) -> Result<Command, Fault> {
        let has = |flag| self.options.has(flag);
        let path = self.required(1)?.to_owned();
        let refused = |text: &str| Err(Fault::Refused(text.to_owned()));
        let (s, e, c) = (has("s"), has("e"), has("c"));
        if c && (e || s) {
            return refused(
                "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.",
            );
        }
        let ttl_ms: Option<i64> = self.number_of("t", "-t argument must be a long value")?;
        let options = match ttl_ms {
            Some(_) if e => return refused("TTLs cannot be used with Ephemeral znodes"),
            Some(_) if c => return refused("TTLs cannot be used with Container znodes"),
            Some(ms) if !(1..=TTL_MS_MAX).contains(&ms) => {
                let text = format!("ttl must be positive and cannot be larger than: {TTL_MS_MAX}");
                return refused(&text);
            }
            Some(ms) => {
                let ttl = Duration::from_millis(ms as u64);
                if s { CreateOptions::sequential_ttl(ttl) } else { CreateOptions::ttl(ttl) }
            }
            None => match (s, e) {
                _ if c => CreateOptions::container(),
                (false, false) => CreateOptions::persistent(),
                (false, true) => CreateOptions::ephemeral(),
                (true, false) => CreateOptions::persistent_sequential(),
                (true, true) => CreateOptions::ephemeral_sequential(),
            },
        };
        let options = match self.options.word(3) {
            Some(text) => options.acl(self.acl(text)?),
            None => options,
        };
        // A server appends digits to a sequential path: before that it may end with a slash.
        self.checked(&if s { format!("{path}1") } else { path.clone() })?;
        let data = self.options.word(2).map(|data| data.as_bytes().to_vec());
        let kind = if e { NewNode::Ephemeral } else { NewNode::Lasting };
        Ok(Command::Create { path, data, options, kind })
    }

    fn set(&self) -> Result<Command, Fault> {
        let text = self.required(2)?;
        let data = if self.options.has("b") {
            let refused = |why| Fault::Refused(format!("data is not base64: {why}"));
            LENIENT.decode(text).map_err(refused)?
        } else {
            text.as_bytes().to_vec()
        };
        let version = ExpectedVersion::from(self.version()?);
        Ok(Command::Set { path: self.path()?, data, stat: self.options.has("s"), version })
    }

    fn set_quota(&self) -> Result<Command, Fault> {
        let path = self.required(1)?.to_owned();
        let name = self.options.alternative(&self.syntax.flags).ok_or_else(|| self.usage())?;
        let limit = limit(name);
        let complaint = "NumberFormatException happens when parsing the option value";
        let value: i64 = self.number_of(name, complaint)?.ok_or_else(|| self.usage())?;
        let is_count = matches!(limit, Limit::Count | Limit::CountHard);
        if is_count && (value < 1 || value > i64::from(i32::MAX)) {
            let text =
                if value < 1 { "the num quota must be greater than zero" } else { complaint };
            return Err(Fault::Refused(text.to_owned()));
        }
        if value < 0 {
            let text = "the bytes quota must be greater than or equal to zero";
            return Err(Fault::Refused(text.to_owned()));
        }
        self.checked(&path)?;
        Ok(Command::SetQuota { path, limit, value })
    }

    fn add_watch(&self) -> Result<Command, Fault> {
        let mode = match self.options.value("m") {
            None | Some("PERSISTENT_RECURSIVE") => WatchMode::PersistentRecursive,
            Some("PERSISTENT") => WatchMode::Persistent,
            Some(_) => return Err(self.usage()),
        };
        Ok(Command::AddWatch { path: self.path()?, mode })
    }

    fn watcher(&self) -> WatcherType {
        let kinds = [
            ("c", WatcherType::Children),
            ("d", WatcherType::Data),
            ("p", WatcherType::Persistent),
            ("r", WatcherType::PersistentRecursive),
        ];
        let given = kinds.iter().find(|(flag, _)| self.options.has(flag));
        given.map_or(WatcherType::Any, |(_, kind)| *kind)
    }

    fn reconfig(&self) -> Result<Reconfig, Fault> {
        let value = |flag: &str| self.options.value(flag).map(|text| text.to_lowercase());
        let complaint = "-v must be followed by a long (configuration version)";
        let change = Reconfig {
            add: value("add"),
            remove: value("remove"),
            members: value("members"),
            file: self.options.value("file").map(str::to_owned),
            version: self.number_of("v", complaint)?.unwrap_or(-1),
            stat: self.options.has("s"),
        };
        let is_whole = change.members.is_some() || change.file.is_some();
        let is_part = change.add.is_some() || change.remove.is_some();
        if !is_whole && !is_part {
            return Err(self.usage());
        }
        if is_whole && is_part {
            return Err(Fault::Usage(
                "Can't use -file or -members together with -add or -remove (mixing incremental and \
                 non-incremental modes is not allowed)"
                    .to_owned(),
            ));
        }
        if change.members.is_some() && change.file.is_some() {
            return Err(Fault::Usage(
                "Can't use -file and -members together (conflicting non-incremental modes)"
                    .to_owned(),
            ));
        }
        Ok(change)
    }
}

/// Padding may be missing, and bits behind the last byte are not looked at: as Java decodes.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn limit(flag: &str) -> Limit {
    match flag {
        "n" => Limit::Count,
        "b" => Limit::Bytes,
        "N" => Limit::CountHard,
        _ => Limit::BytesHard,
    }
}

fn number<N: FromStr>(text: &str, complaint: &str) -> Result<N, Fault> {
    text.parse().map_err(|_| Fault::Refused(complaint.to_owned()))
}

#[cfg(test)]
mod tests;
