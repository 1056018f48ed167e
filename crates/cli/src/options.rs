//! Flags of a command, by the rules of the parser that Apache's shell uses: anywhere among the words,
//! joined (`-sw`), with a value behind them (`-v 3`, `-v3`, `-v=3`), none after `--`.

/// A flag of a command.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without its dash.
    pub name: &'static str,
    /// Whether a value follows.
    pub takes_value: bool,
    /// What it does; for values Apache's shell names, also what an error calls it.
    pub help: &'static str,
}

/// What a command takes.
#[derive(Clone, Copy, Debug)]
pub struct Flags {
    /// All of them.
    pub flags: &'static [Flag],
    /// Of those named here at most one may stand.
    pub alternatives: &'static [&'static str],
    /// One of the alternatives has to stand.
    pub is_required: bool,
}

/// A command's words, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    flags: Vec<(&'static str, Option<String>)>,
    /// What is no flag; the first is the command itself.
    pub words: Vec<String>,
}

impl Options {
    /// Sorts words. The error is Apache's, without the name of its class.
    pub fn parse(taken: &Flags, words: &[String]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut open: Option<&'static Flag> = None;
        let mut only_words = false;
        for word in words {
            if only_words {
                options.words.push(word.clone());
            } else if let Some(flag) = open.take_if(|_| !taken.is_flag(word)) {
                options.add(taken, flag, Some(word.clone()))?;
            } else if let Some(flag) = open {
                return Err(format!("Missing argument for option: {}", flag.name));
            } else if word == "--" {
                only_words = true;
            } else if word.len() > 1 && word.starts_with('-') {
                open = options.take(taken, word)?;
            } else {
                options.words.push(word.clone());
            }
        }
        if let Some(flag) = open {
            return Err(format!("Missing argument for option: {}", flag.name));
        }
        if taken.is_required && options.alternative(taken).is_none() {
            let names: Vec<String> = taken
                .flags
                .iter()
                .filter(|flag| taken.alternatives.contains(&flag.name))
                .map(|flag| format!("-{} {}", flag.name, flag.help))
                .collect();
            return Err(format!("Missing required option: [{}]", names.join(", ")));
        }
        Ok(options)
    }

    /// Takes a word that begins with a dash. Gives the flag whose value is the next word.
    fn take(&mut self, taken: &Flags, word: &str) -> Result<Option<&'static Flag>, String> {
        let unknown = || format!("Unrecognized option: {word}");
        let text = word.trim_start_matches('-');
        if let Some(flag) = taken.find(text) {
            if flag.takes_value {
                return Ok(Some(flag));
            }
            self.add(taken, flag, None)?;
            return Ok(None);
        }
        if word.starts_with("--") {
            return Err(unknown());
        }
        if let Some((name, value)) = text.split_once('=') {
            let flag = taken.find(name).filter(|flag| flag.takes_value).ok_or_else(unknown)?;
            self.add(taken, flag, Some(value.to_owned()))?;
            return Ok(None);
        }
        for (at, letter) in text.char_indices() {
            let behind = &text[at + letter.len_utf8()..];
            let flag = taken.find(&text[at..at + letter.len_utf8()]).ok_or_else(unknown)?;
            match (flag.takes_value, behind) {
                (true, "") => return Ok(Some(flag)),
                (true, value) => {
                    self.add(taken, flag, Some(value.to_owned()))?;
                    return Ok(None);
                }
                (false, _) => self.add(taken, flag, None)?,
            }
        }
        Ok(None)
    }

    fn add(
        &mut self,
        taken: &Flags,
        flag: &'static Flag,
        value: Option<String>,
    ) -> Result<(), String> {
        let earlier = self.alternative(taken).filter(|earlier| *earlier != flag.name);
        if let Some(earlier) = earlier.filter(|_| taken.alternatives.contains(&flag.name)) {
            return Err(format!(
                "The option '{}' was specified but an option from this group has already been \
                 selected: '{earlier}'",
                flag.name
            ));
        }
        self.flags.push((flag.name, value));
        Ok(())
    }

    /// Which of the alternatives stands.
    pub fn alternative(&self, taken: &Flags) -> Option<&'static str> {
        let mut names = self.flags.iter().map(|(name, _)| *name);
        names.find(|name| taken.alternatives.contains(name))
    }

    /// Whether a flag stands.
    pub fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|(flag, _)| *flag == name)
    }

    /// The value of a flag: the first, if it stands more than once.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(flag, _)| *flag == name)?.1.as_deref()
    }

    /// The n-th word behind the command, from 1.
    pub fn word(&self, n: usize) -> Option<&str> {
        self.words.get(n).map(String::as_str)
    }
}

impl Flags {
    fn find(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }

    /// Whether a word that could be a value is a flag after all.
    fn is_flag(&self, word: &str) -> bool {
        let Some(text) = word.strip_prefix('-') else { return false };
        let name = text.split('=').next().unwrap_or(text);
        self.find(name).is_some()
            || name
                .chars()
                .next()
                .is_some_and(|letter| self.find(letter.encode_utf8(&mut [0; 4])).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEN: Flags = Flags {
        flags: &[
            Flag { name: "s", takes_value: false, help: "stat" },
            Flag { name: "w", takes_value: false, help: "watch" },
            Flag { name: "v", takes_value: true, help: "version" },
            Flag { name: "add", takes_value: true, help: "servers" },
        ],
        alternatives: &[],
        is_required: false,
    };

    fn parse(taken: &Flags, line: &str) -> Result<Options, String> {
        Options::parse(taken, &crate::words::split(line))
    }

    #[test]
    fn flags_stand_anywhere_joined_and_with_values() {
        for line in ["x -s -w -v 3 a b", "x a b -sw -v=3", "x a -wsv3 b", "x --s --w --v 3 a -- b"]
        {
            let options = parse(&TAKEN, line).expect(line);
            assert!(options.has("s") && options.has("w"), "{line}");
            assert_eq!(options.value("v"), Some("3"), "{line}");
            assert_eq!(options.words, ["x", "a", "b"], "{line}");
        }
        let options = parse(&TAKEN, "x -v -5 -- -s").expect("a number below 0 is a value");
        assert_eq!((options.value("v"), options.word(1)), (Some("-5"), Some("-s")));
        assert_eq!(parse(&TAKEN, "x -add a").expect("a long name").value("add"), Some("a"));
        assert_eq!(parse(&TAKEN, "x -").expect("a dash is a word").word(1), Some("-"));
    }

    #[test]
    fn what_is_refused() {
        let cases = [
            ("x -q", "Unrecognized option: -q"),
            ("x -sq", "Unrecognized option: -sq"),
            ("x -1", "Unrecognized option: -1"),
            ("x --long", "Unrecognized option: --long"),
            ("x -s=1", "Unrecognized option: -s=1"),
            ("x -v", "Missing argument for option: v"),
            ("x -v -s", "Missing argument for option: v"),
        ];
        for (line, error) in cases {
            assert_eq!(parse(&TAKEN, line).expect_err(line), error);
        }
    }

    #[test]
    fn alternatives() {
        let taken = Flags { alternatives: &["s", "v"], is_required: true, ..TAKEN };
        assert_eq!(parse(&taken, "x -v 1").expect("one").alternative(&taken), Some("v"));
        let two = parse(&taken, "x -s -v 1").expect_err("two of them");
        assert!(two.ends_with(
            "'v' was specified but an option from this group has already been selected: 's'"
        ));
        let none = parse(&taken, "x").expect_err("none");
        assert_eq!(none, "Missing required option: [-s stat, -v version]");
    }
}
