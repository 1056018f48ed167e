//! Every command's name, words and flags: what usage shows, what is parsed, what completion offers.

use crate::options::{Flag, Flags};

/// One command.
#[derive(Debug)]
pub struct Syntax {
    /// Its name.
    pub name: &'static str,
    /// What stands behind it, as usage shows it.
    pub words: &'static str,
    /// Its flags.
    pub flags: Flags,
    /// Whether wrong usage lists the flags as well.
    pub shows_flags: bool,
    /// One line of help.
    pub about: &'static str,
}

impl Syntax {
    /// The line that usage shows.
    pub fn line(&self) -> String {
        format!("{} {}", self.name, self.words)
    }

    /// What is said about wrong usage.
    pub fn usage(&self) -> String {
        if !self.shows_flags {
            return self.line();
        }
        // One blank line ends the list, as Apache's does.
        self.line() + "\n" + &self.flag_lines()
    }

    /// The flags, a line each, in the order of their names.
    pub fn flag_lines(&self) -> String {
        let shown =
            |flag: &Flag| format!("-{}{}", flag.name, if flag.takes_value { " <arg>" } else { "" });
        let width = self.flags.flags.iter().map(|flag| shown(flag).len()).max().unwrap_or(0);
        let line = |flag: &Flag| format!(" {:width$}   {}\n", shown(flag), flag.help);
        self.flags.flags.iter().map(line).collect()
    }
}

/// The command of a name.
pub fn find(name: &str) -> Option<&'static Syntax> {
    COMMANDS.iter().find(|syntax| syntax.name == name)
}

/// The list of all commands.
pub fn usage() -> String {
    let mut text =
        String::from("ZooKeeper -server host:port -client-configuration properties-file cmd args");
    for syntax in COMMANDS {
        text.push_str("\n\t");
        text.push_str(&syntax.line());
    }
    text
}

const fn flag(name: &'static str, help: &'static str) -> Flag {
    Flag { name, takes_value: false, help }
}

const fn value(name: &'static str, help: &'static str) -> Flag {
    Flag { name, takes_value: true, help }
}

const fn flags(flags: &'static [Flag]) -> Flags {
    Flags { flags, alternatives: &[], is_required: false }
}

const fn apaches(
    name: &'static str,
    words: &'static str,
    taken: &'static [Flag],
    about: &'static str,
) -> Syntax {
    Syntax { name, words, flags: flags(taken), shows_flags: false, about }
}

const fn ours(
    name: &'static str,
    words: &'static str,
    taken: &'static [Flag],
    about: &'static str,
) -> Syntax {
    Syntax { name, words, flags: flags(taken), shows_flags: true, about }
}

const QUOTAS: [&str; 4] = ["n", "b", "N", "B"];

/// All commands, in the order of usage.
pub static COMMANDS: &[Syntax] = &[
    apaches(
        "addWatch",
        "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is \
         PERSISTENT_RECURSIVE",
        &[value("m", "PERSISTENT or PERSISTENT_RECURSIVE")],
        "print every event of a node or a subtree from now on",
    ),
    apaches(
        "addauth",
        "scheme auth",
        &[],
        "authenticate, for example: addauth digest user:password",
    ),
    apaches("close", "", &[], "end the session"),
    apaches(
        "config",
        "[-c] [-w] [-s]",
        &[
            flag("c", "client connection string"),
            flag("s", "print stats as well"),
            flag("w", "watch for changes"),
        ],
        "the ensemble's configuration",
    ),
    apaches("connect", "host:port", &[], "begin a session with another server"),
    ours(
        "cp",
        "-r [-e] [-f] source target",
        &[
            flag("e", "copy ephemeral nodes too, as persistent ones"),
            flag("f", "overwrite what is there"),
            flag("r", "with everything below it"),
        ],
        "copy a node, or with -r a subtree",
    ),
    apaches(
        "create",
        "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
        &[
            flag("c", "container"),
            flag("e", "ephemeral"),
            flag("s", "sequential"),
            value("t", "time to live in milliseconds"),
        ],
        "create a node",
    ),
    apaches(
        "delete",
        "[-v version] path",
        &[value("v", "version")],
        "delete a node without children",
    ),
    apaches(
        "deleteall",
        "path [-b batch size]",
        &[value("b", "how many deletes are on their way at a time")],
        "delete a node and everything below it",
    ),
    Syntax {
        name: "delquota",
        words: "[-n|-b|-N|-B] path",
        flags: Flags {
            flags: &[
                flag("n", "num soft quota"),
                flag("b", "bytes soft quota"),
                flag("N", "num hard quota"),
                flag("B", "bytes hard quota"),
            ],
            alternatives: &QUOTAS,
            is_required: false,
        },
        shows_flags: false,
        about: "remove a quota, or one limit of it",
    },
    ours(
        "diff",
        "[-a] [-server host:port] left right",
        &[
            flag("a", "compare ACLs as well"),
            value("server", "the right subtree is on this ensemble"),
        ],
        "compare two subtrees; ends with 1 when they differ",
    ),
    ours(
        "du",
        "[-d depth] [path]",
        &[value("d", "show nodes down to this depth; 1 if not given")],
        "bytes of data and nodes below each child",
    ),
    ours(
        "export",
        "path [file]",
        &[],
        "write a subtree as JSON, with ACLs; ephemeral nodes are marked",
    ),
    ours(
        "find",
        "[-d depth] [-name glob] [-data text] [-ephemeral] [-empty] [path]",
        &[
            value("d", "look down to this depth"),
            value("data", "data contains this text"),
            flag("empty", "no children and no data"),
            flag("ephemeral", "ephemeral nodes"),
            value("name", "the last part of the path matches: * any, ? one character"),
        ],
        "paths below a node that match all that is given",
    ),
    Syntax {
        shows_flags: true,
        ..apaches(
            "get",
            "[-s] [-w] [-b] [-x] path",
            &[
                flag("b", "Output data in base64 format"),
                flag("s", "Print znode stats additionally"),
                flag("w", "Watch for changes on the znode"),
                flag("x", "Output data in hexdump format"),
            ],
            "a node's data",
        )
    },
    apaches("getAcl", "[-s] path", &[flag("s", "stats")], "who may do what with a node"),
    apaches("getAllChildrenNumber", "path", &[], "how many nodes are below a node"),
    apaches("getEphemerals", "path", &[], "ephemeral nodes of this session below a path"),
    ours("help", "[command]", &[], "all commands, or one of them"),
    apaches("history", "", &[], "the last commands with their numbers"),
    ours(
        "import",
        "[-e] [-f] file [path]",
        &[
            flag("e", "create ephemeral nodes too, as persistent ones"),
            flag("f", "overwrite what is there"),
        ],
        "create what export has written; - is standard input",
    ),
    apaches("listquota", "path", &[], "a node's quota and what is used of it"),
    apaches(
        "ls",
        "[-s] [-w] [-R] path",
        &[flag("R", "recursive"), flag("s", "stats"), flag("w", "watch")],
        "a node's children",
    ),
    apaches("printwatches", "on|off", &[], "whether events are printed"),
    apaches("quit", "", &[], "end the session and the shell"),
    apaches(
        "reconfig",
        "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | \
         [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
        &[
            value("add", "servers to add"),
            value("file", "a file with all server lines"),
            value("members", "all servers"),
            value("remove", "ids of servers to remove"),
            flag("s", "stats"),
            value("v", "version of the configuration that is changed"),
        ],
        "change the ensemble's configuration",
    ),
    apaches("redo", "cmdno", &[], "a command of the history once more"),
    apaches(
        "removewatches",
        "path [-c|-d|-a] [-l]",
        &[
            flag("a", "any watcher type"),
            flag("c", "child watcher type"),
            flag("d", "data watcher type"),
            flag("l", "remove locally when there is no server connection"),
            flag("p", "persistent watcher type"),
            flag("r", "persistent recursive watcher type"),
        ],
        "remove watches of this shell",
    ),
    Syntax {
        shows_flags: true,
        ..apaches(
            "set",
            "path data [-s] [-v version] [-b]",
            &[
                flag("b", "Supply data in base64 format"),
                flag("s", "Print znode stats additionally"),
                value("v", "Set with an expected version"),
            ],
            "set a node's data",
        )
    },
    apaches(
        "setAcl",
        "[-s] [-v version] [-R] path acl",
        &[flag("R", "recursive"), flag("s", "stats"), value("v", "version")],
        "set who may do what with a node",
    ),
    Syntax {
        name: "setquota",
        words: "-n|-b|-N|-B val path",
        flags: Flags {
            flags: &[
                value("n", "num soft quota"),
                value("b", "bytes soft quota"),
                value("N", "num hard quota"),
                value("B", "bytes hard quota"),
            ],
            alternatives: &QUOTAS,
            is_required: true,
        },
        shows_flags: false,
        about: "limit the nodes or bytes below a node",
    },
    apaches("stat", "[-w] path", &[flag("w", "watch")], "a node's statistics"),
    apaches("sync", "path", &[], "wait until this server has everything that was committed before"),
    ours(
        "tree",
        "[-d depth] [-s] [path]",
        &[
            value("d", "show nodes down to this depth"),
            flag("s", "bytes of data and ephemeral owners"),
        ],
        "a subtree, drawn",
    ),
    apaches("version", "", &[], "this shell's version"),
    ours(
        "watch",
        "[-r] [-n count] path",
        &[value("n", "end after so many events"), flag("r", "the whole subtree")],
        "print events, a line each, until Ctrl-C",
    ),
    apaches("whoami", "", &[], "who this session is known as"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_sorted_and_found() {
        let names: Vec<&str> = COMMANDS.iter().map(|syntax| syntax.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert!(names.iter().all(|name| find(name).is_some()));
    }

    #[test]
    fn usage_as_apache_prints_it() {
        let expected = "set path data [-s] [-v version] [-b]
 -b         Supply data in base64 format
 -s         Print znode stats additionally
 -v <arg>   Set with an expected version
";
        assert_eq!(find("set").expect("there").usage(), expected);
        assert_eq!(find("ls").expect("there").usage(), "ls [-s] [-w] [-R] path");
        assert!(usage().contains("\n\tclose \n\tconfig [-c] [-w] [-s]\n"));
    }
}
