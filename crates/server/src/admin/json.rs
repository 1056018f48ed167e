//! JSON as Apache's answers are laid out: scripts grep single lines of it.

use std::fmt::Write;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without a point.
    Int(i64),
    /// A number with a point.
    Float(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object, in the order in which it is written.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// An object of these fields.
    pub fn object<const N: usize>(fields: [(&str, Json); N]) -> Json {
        Json::Object(fields.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// A string.
    pub fn text(text: impl Into<String>) -> Json {
        Json::Text(text.into())
    }

    /// An integer; what is too large is the largest there is.
    pub fn int(number: impl TryInto<i64>) -> Json {
        Json::Int(number.try_into().unwrap_or(i64::MAX))
    }

    /// The text of the value: two blanks per level, blanks around colons, arrays in one line, no
    /// line break at the end.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }

    fn write(&self, level: usize, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Int(value) => write!(out, "{value}").expect("a string takes everything"),
            Json::Float(value) => write!(out, "{value:?}").expect("a string takes everything"),
            Json::Text(text) => write_text(text, out),
            Json::List(values) => {
                out.push('[');
                for (index, value) in values.iter().enumerate() {
                    out.push_str(if index == 0 { " " } else { ", " });
                    value.write(level, out);
                }
                out.push_str(" ]");
            }
            Json::Object(fields) if fields.is_empty() => out.push_str("{ }"),
            Json::Object(fields) => {
                out.push('{');
                for (index, (key, value)) in fields.iter().enumerate() {
                    out.push_str(if index == 0 { "\n" } else { ",\n" });
                    indent(level + 1, out);
                    write_text(key, out);
                    out.push_str(" : ");
                    value.write(level + 1, out);
                }
                out.push('\n');
                indent(level, out);
                out.push('}');
            }
        }
    }
}

fn indent(level: usize, out: &mut String) {
    for _ in 0..level {
        out.push_str("  ");
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("a string takes everything");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laid_out_as_apaches() {
        let entry = Json::object([("session_id", Json::Int(72_058_713_647_022_080))]);
        let value = Json::object([
            ("connections", Json::List(vec![entry.clone(), entry])),
            ("secure_connections", Json::List(Vec::new())),
            ("paths", Json::object([("1", Json::List(vec![Json::text("/a"), Json::text("/b")]))])),
            ("current_config", Json::Object(Vec::new())),
            ("avg_latency", Json::Float(19.4444)),
            ("read_only", Json::Bool(false)),
            ("text", Json::text("a\n\"b\\\u{1}")),
            ("error", Json::Null),
        ]);
        let expected = "{\n  \"connections\" : [ {\n    \"session_id\" : 72058713647022080\n  }, {\n    \
                        \"session_id\" : 72058713647022080\n  } ],\n  \"secure_connections\" : [ ],\n  \
                        \"paths\" : {\n    \"1\" : [ \"/a\", \"/b\" ]\n  },\n  \"current_config\" : { },\n  \
                        \"avg_latency\" : 19.4444,\n  \"read_only\" : false,\n  \
                        \"text\" : \"a\\n\\\"b\\\\\\u0001\",\n  \"error\" : null\n}";
        assert_eq!(value.to_text(), expected);
        assert_eq!(Json::Float(0.0).to_text(), "0.0");
    }
}
