//! What Apache's scripts do before they start a server: they let a shell read `zookeeper-env.sh` and
//! `java.env` beside `zoo.cfg`, and hand the JVM the flags that come of it.
//!
//! `bin/zkServer.sh` does the same and says so with `OXIKEEPER_ENV_READ`. A server that is started
//! without it reads the files itself, and runs no shell over it: lines `NAME=value` are understood,
//! with quotes, `export` and `$NAME`. A file with anything else is not taken in part: if it may set
//! flags the start ends, since they may be about who gets in.
//!
//! Source: operations reference, 1.1 and 5.4.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{ConfigError, Place};
use super::flags::Flags;

/// The files, in the order in which they are read.
const FILES: [&str; 2] = ["zookeeper-env.sh", "java.env"];
/// Set, to anything, when a script has read them already.
const READ: &str = "OXIKEEPER_ENV_READ";
/// What a line may hold that makes a file matter.
const FLAG_WORDS: [&str; 2] = ["JVMFLAGS", "-D"];

/// Flags from the environment and from the files beside a `zoo.cfg`, which see the environment and
/// may change it.
///
/// # Errors
/// A file that takes a shell, and may set flags.
pub fn flags(
    config_dir: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Flags, ConfigError> {
    let mut variables: BTreeMap<String, String> = environment.collect();
    let mut flags = Flags::default();
    if let Some(dir) = config_dir
        && !variables.contains_key(READ)
    {
        for file in FILES {
            read(&dir.join(file), &mut variables, &mut flags)?;
        }
    }
    if variables.get("ZOO_DATADIR_AUTOCREATE_DISABLE").is_some_and(|value| !value.is_empty()) {
        flags.take("-Dzookeeper.datadir.autocreate=false");
    }
    // The later ones win, as in the command line that Apache's script builds.
    for name in ["SERVER_JVMFLAGS", "JVMFLAGS"] {
        flags.take_variable(variables.get(name).map_or("", String::as_str));
    }
    if variables.contains_key("JMXPORT") {
        flags.warnings.push("JMXPORT has no effect: there is no JMX".into());
    }
    Ok(flags)
}

fn read(
    path: &Path,
    variables: &mut BTreeMap<String, String>,
    flags: &mut Flags,
) -> Result<(), ConfigError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    let text = String::from_utf8_lossy(&bytes);
    match evaluate(&text, variables) {
        Ok(changed) => {
            *variables = changed;
            Ok(())
        }
        Err(line) if FLAG_WORDS.iter().any(|word| text.contains(word)) => {
            Err(ConfigError::invalid(
                Place::File(path.to_owned(), line),
                "it takes a shell to read this line, and the file may set flags",
                "start the server with bin/zkServer.sh, or keep to lines NAME=value",
            ))
        }
        Err(line) => {
            let path = path.display();
            flags.warnings.push(format!(
                "{path} line {line}: it takes a shell to read this; the file is passed over"
            ));
            Ok(())
        }
    }
}

/// The variables after all assignments; or the line, counted from 1, that is none.
fn evaluate(
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, usize> {
    let mut variables = variables.clone();
    let mut lines = text.lines().zip(1..);
    while let Some((first, number)) = lines.next() {
        let mut line = first.trim_start().to_owned();
        // A backslash at the end joins lines, and so does an open quote.
        loop {
            match assignment(&line, &variables) {
                Parsed::Assignment(name, value) => {
                    variables.insert(name, value);
                    break;
                }
                Parsed::Nothing => break,
                Parsed::Unfinished => match lines.next() {
                    Some((next, _)) => {
                        if line.ends_with('\\') {
                            line.pop();
                        } else {
                            line.push('\n');
                        }
                        line.push_str(next);
                    }
                    None => return Err(number),
                },
                Parsed::Shell => return Err(number),
            }
        }
    }
    Ok(variables)
}

enum Parsed {
    Assignment(String, String),
    /// A blank line, a comment, an export of what is there.
    Nothing,
    /// It goes on in the next line.
    Unfinished,
    /// Something else.
    Shell,
}

fn assignment(line: &str, variables: &BTreeMap<String, String>) -> Parsed {
    let line = line.trim_end_matches('\r');
    if line.trim().is_empty() || line.starts_with('#') {
        return Parsed::Nothing;
    }
    let (is_export, rest) = match line.strip_prefix("export ") {
        Some(rest) => (true, rest.trim_start()),
        None => (false, line),
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match rest.split_once('=') {
        Some((name, value)) if is_name(name) => value_of(name, value, variables),
        None if is_export && rest.split_whitespace().all(is_name) => Parsed::Nothing,
        _ => Parsed::Shell,
    }
}

/// Takes quotes off and puts variables in; the value ends at a blank or a comment.
fn value_of(name: &str, text: &str, variables: &BTreeMap<String, String>) -> Parsed {
    let mut value = String::new();
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (c, Some('\'')) => value.push(c),
            ('\'' | '"', None) => quote = Some(c),
            ('`', _) => return Parsed::Shell,
            ('\\', _) => match chars.next() {
                None => return Parsed::Unfinished,
                Some(c) if quote.is_none() || matches!(c, '"' | '\\' | '$' | '`') => value.push(c),
                Some(c) => value.extend(['\\', c]),
            },
            ('$', _) => {
                let is_braced = chars.next_if_eq(&'{').is_some();
                let mut key = String::new();
                while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    key.push(c);
                }
                let is_closed = !is_braced || chars.next_if_eq(&'}').is_some();
                if key.is_empty() || !is_closed {
                    return Parsed::Shell;
                }
                value.push_str(variables.get(&key).map_or("", String::as_str));
            }
            (c, None) if c.is_whitespace() => {
                let rest: String = chars.collect();
                let rest = rest.trim_start();
                let is_end = rest.is_empty() || rest.starts_with('#');
                return if is_end { Parsed::Assignment(name.into(), value) } else { Parsed::Shell };
            }
            (';' | '&' | '|' | '<' | '>' | '(' | ')' | '*' | '?' | '~', None) => {
                return Parsed::Shell;
            }
            (c, _) => value.push(c),
        }
    }
    match quote {
        Some(_) => Parsed::Unfinished,
        None => Parsed::Assignment(name.into(), value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn assignments_of_all_kinds() {
        let text = "# a comment\n\nA=1\nexport B=\"x $A ${A}\"  # why\nC='$A'\\''\"'\nexport A B\n\
                    SERVER_JVMFLAGS=\"$SERVER_JVMFLAGS -Da=1 \\\n -Db=2\"\nE=a\\ b\nF=\nG=\"\\d\"\r\n";
        let found = evaluate(text, &variables(&[("SERVER_JVMFLAGS", "-Dz=0")])).expect("plain");
        let expected = [
            ("A", "1"),
            ("B", "x 1 1"),
            ("C", "$A'\""),
            ("E", "a b"),
            ("F", ""),
            ("G", "\\d"),
            ("SERVER_JVMFLAGS", "-Dz=0 -Da=1  -Db=2"),
        ];
        assert_eq!(found, variables(&expected));
    }

    #[test]
    fn what_takes_a_shell_is_told_by_its_line() {
        for (text, line) in [
            ("A=1\nif true; then\nB=2\nfi\n", 2),
            ("A=$(hostname)\n", 1),
            ("A=`hostname`\n", 1),
            ("A=${B:-c}\n", 1),
            ("A=1 B=2\n", 1),
            ("A=1; B=2\n", 1),
            ("\n\n. /etc/default/x\n", 3),
            ("A=\"never closed\n", 1),
            ("1A=2\n", 1),
        ] {
            assert_eq!(evaluate(text, &BTreeMap::new()), Err(line), "{text}");
        }
    }

    #[test]
    fn files_are_read_in_order_and_see_the_environment() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).expect("written");
        };
        write("zookeeper-env.sh", "JVMFLAGS=\"-Dzookeeper.snapCount=5\"\n");
        write("java.env", "export JVMFLAGS=\"$JVMFLAGS -Dzookeeper.snapCount=6 -Xmx1g\"\n");
        let environment = || variables(&[("SERVER_JVMFLAGS", "-Dzookeeper.a=1")]).into_iter();
        let found = flags(Some(dir.path()), environment()).expect("plain");
        assert_eq!(
            found.properties,
            variables(&[("zookeeper.a", "1"), ("zookeeper.snapCount", "6")])
        );
        assert_eq!(found.ignored, ["-Xmx1g"]);
        // Not without a configuration file, and not behind the script.
        assert_eq!(flags(None, environment()).expect("plain").properties.len(), 1);
        let read = environment().chain([(READ.to_owned(), "1".to_owned())]);
        assert_eq!(flags(Some(dir.path()), read).expect("plain").properties.len(), 1);
        let disable = variables(&[("ZOO_DATADIR_AUTOCREATE_DISABLE", "1")]).into_iter();
        let found = flags(None, disable).expect("plain");
        assert_eq!(found.properties, variables(&[("zookeeper.datadir.autocreate", "false")]));
    }

    #[test]
    fn a_file_that_takes_a_shell_is_refused_if_it_may_set_flags() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("java.env");
        std::fs::write(&path, "A=1\nif true; then JVMFLAGS=-Da=b; fi\n").expect("written");
        let refused = flags(Some(dir.path()), std::iter::empty()).expect_err("it sets flags");
        let expected = format!(
            "{} line 2: it takes a shell to read this line, and the file may set flags; start the \
             server with bin/zkServer.sh, or keep to lines NAME=value",
            path.display()
        );
        assert_eq!(refused.to_string(), expected);
        std::fs::write(&path, "A=1\nulimit -n 65536\nJAVA_HOME=/usr\n").expect("written");
        let found = flags(Some(dir.path()), std::iter::empty()).expect("it sets no flags");
        let expected = format!(
            "{} line 2: it takes a shell to read this; the file is passed over",
            path.display()
        );
        assert_eq!(found.warnings, [expected]);
    }
}
