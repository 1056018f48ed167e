//! System properties: `-Dname=value` among the arguments, and in the variables that Apache's
//! scripts hand to the JVM.

use std::collections::BTreeMap;

/// What was found among words meant for a JVM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `-D` settings; later ones win.
    pub properties: BTreeMap<String, String>,
    /// Words that mean something to a JVM alone.
    pub ignored: Vec<String>,
    /// Lines for the log.
    pub warnings: Vec<String>,
}

impl Flags {
    /// Takes one word. False if it is not a JVM flag at all.
    pub fn take(&mut self, word: &str) -> bool {
        if let Some(setting) = word.strip_prefix("-D") {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            self.properties.insert(name.to_owned(), value.to_owned());
            return true;
        }
        let is_jvm = word.starts_with("-X")
            || word.starts_with("-javaagent")
            || word.starts_with("-agent")
            || word.starts_with("--add-")
            || matches!(word, "-server" | "-ea" | "-da");
        if is_jvm {
            self.ignored.push(word.to_owned());
        }
        is_jvm
    }

    /// Takes a variable such as `SERVER_JVMFLAGS`, split as a shell would.
    pub fn take_variable(&mut self, text: &str) {
        for word in split_words(text) {
            if !self.take(&word) {
                self.ignored.push(word);
            }
        }
    }
}

/// Words of a shell's command line: quotes group, a backslash takes the next character as it is.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => {
                word.get_or_insert_default().extend(chars.next());
            }
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_by_a_shell() {
        let words = split_words(r#" -Da=1  "-Db=x y" -Dc='d e'\ f -Dempty="" "#);
        assert_eq!(words, ["-Da=1", "-Db=x y", "-Dc=d e f", "-Dempty="]);
    }

    #[test]
    fn settings_are_told_from_other_flags() {
        let mut flags = Flags::default();
        flags.take_variable("-Xmx1g -Dzookeeper.a=1 -Dzookeeper.a=2 -Dflag");
        assert_eq!(flags.properties["zookeeper.a"], "2");
        assert_eq!(flags.properties["flag"], "");
        assert_eq!(flags.ignored, ["-Xmx1g"]);
        assert!(!flags.take("zoo.cfg"));
    }
}
