//! A line as words: blanks separate, quotes of either kind group, nothing escapes.

/// The words of a line, as Apache's shell splits it.
///
/// A word that begins with a quote ends at the next quote of the same kind, and both are stripped: what
/// follows directly is the next word. A quote inside a word is a character like any other, and one that
/// is never closed is passed over.
pub fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let behind = &rest[first.len_utf8()..];
        if first == '"' || first == '\'' {
            match behind.split_once(first) {
                Some((quoted, after)) => {
                    words.push(quoted.to_owned());
                    rest = after;
                }
                None => rest = behind,
            }
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    words
}

/// Where the word under the cursor begins: what completion replaces. A quote that is still open belongs
/// to the word, not to what is replaced.
pub fn last_word(line: &str) -> usize {
    let mut open = None;
    let mut start = 0;
    for (at, character) in line.char_indices() {
        match open {
            Some(quote) if character == quote => {
                open = None;
                start = at + 1;
            }
            Some(_) => {}
            None if character.is_whitespace() => start = at + character.len_utf8(),
            None if (character == '"' || character == '\'') && at == start => {
                open = Some(character);
                start = at + 1;
            }
            None => {}
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each as Apache's shell was seen to split it.
    #[test]
    fn lines_as_words() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("   ", &[]),
            ("ls /", &["ls", "/"]),
            ("  ls\t /  ", &["ls", "/"]),
            ("create /a \"two words\"", &["create", "/a", "two words"]),
            ("create /a 'it is \"x\"'", &["create", "/a", "it is \"x\""]),
            ("create /a \"\"", &["create", "/a", ""]),
            ("create /a \"a\"b", &["create", "/a", "a", "b"]),
            ("create /a a\"b c\"d", &["create", "/a", "a\"b", "c\"d"]),
            ("create /a \"unclosed", &["create", "/a", "unclosed"]),
            ("set /é 'ü ß'", &["set", "/é", "ü ß"]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line), *words, "{line:?}");
        }
    }

    #[test]
    fn the_word_under_the_cursor() {
        for (line, at) in
            [("", 0), ("ls", 0), ("ls /a", 3), ("ls ", 3), ("ls \"/a b", 4), ("a 'b c' d", 8)]
        {
            assert_eq!(last_word(line), at, "{line:?}");
        }
    }
}
