//! The grammar of Java properties files, in which `zoo.cfg` and the configurations that servers tell
//! one another are written.
//!
//! Source: operations reference, 1.1; `java.util.Properties.load`.

/// One setting and the line it begins on, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Left of the separator.
    pub key: String,
    /// Right of it, without blanks at either end.
    pub value: String,
    /// Where it stands.
    pub line: usize,
}

/// Reads all settings of a file, in its order. Bytes are Latin-1, as Java reads files; nothing is an
/// error but an escape `\u` without four hex digits.
///
/// # Errors
/// The line of a malformed escape.
pub fn parse(bytes: &[u8]) -> Result<Vec<Property>, usize> {
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    parse_text(&text)
}

/// Reads all settings of a text.
///
/// # Errors
/// The line of a malformed escape.
pub fn parse_text(text: &str) -> Result<Vec<Property>, usize> {
    let mut properties = Vec::new();
    let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r')).zip(1..);
    while let Some((first, line)) = lines.next() {
        let mut logical = trim_start(first).to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while ends_in_continuation(&logical) {
            logical.pop();
            match lines.next() {
                Some((next, _)) => logical.push_str(trim_start(next)),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        let key = unescape(key).ok_or(line)?;
        let value = unescape(value).ok_or(line)?.trim().to_owned();
        properties.push(Property { key, value, line });
    }
    Ok(properties)
}

fn trim_start(line: &str) -> &str {
    line.trim_start_matches([' ', '\t', '\x0c'])
}

/// An odd number of backslashes at the end.
fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// The key ends at the first `=`, `:` or blank that is not escaped; then blanks and at most one
/// separator are passed over.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\x0c');
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = trim_start(rest);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, trim_start(rest))
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\x0c'),
            Some('u') => {
                let hex: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 4)?;
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let properties = parse(text.as_bytes()).expect("no malformed escape");
        properties.into_iter().map(|property| (property.key, property.value)).collect()
    }

    #[test]
    fn separators_comments_and_continuations() {
        let text = "# comment\n! too\n\n a=1\nb : 2 \nc 3\nd=x=y\ne=\nlong=one,\\\n   two\n\
                    k\\=ey=v\\:w\nu=\\u0041\\t|\nlast";
        let expected = [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d", "x=y"),
            ("e", ""),
            ("long", "one,two"),
            ("k=ey", "v:w"),
            ("u", "A\t|"),
            ("last", ""),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let properties = parse(b"a=1\r\n\r\nb=2\\\n3\nc=4").unwrap();
        let lines: Vec<usize> = properties.iter().map(|property| property.line).collect();
        assert_eq!(lines, [1, 3, 5]);
        assert_eq!(properties[0].value, "1");
        assert_eq!(parse(b"a=1\nb=\\u12"), Err(2));
    }

    #[test]
    fn nothing_makes_it_panic() {
        let mut random = 7u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    b"\\\\u=: \t\n\r#!a1\xff\0"[(random >> 33) as usize % 15]
                })
                .collect();
            let _ = parse(&bytes);
        }
    }
}
