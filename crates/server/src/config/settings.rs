//! Typed access to settings, with Apache's rules for each kind of value.

use std::collections::BTreeMap;

use super::ConfigError;
use super::properties::Property;

/// Keys of the file, the last of each name, and system properties.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Keys that `zoo.cfg` is parsed for by name, as they stand there.
    pub file: BTreeMap<String, Property>,
    /// System properties, those that other keys of the file become included.
    pub system: BTreeMap<String, String>,
}

impl Settings {
    pub fn text(&self, key: &str) -> Option<&str> {
        self.file.get(key).map(|property| property.value.as_str())
    }

    /// A number of the file: decimal, or the start fails.
    pub fn int(&self, key: &str) -> Result<Option<i32>, ConfigError> {
        let Some(property) = self.file.get(key) else { return Ok(None) };
        property.value.parse().map(Some).map_err(|_| ConfigError::Value {
            key: key.to_owned(),
            line: property.line,
            value: property.value.clone(),
            wanted: "a decimal number of 32 bits",
        })
    }

    /// A switch of the file: `true` or `false`, or the start fails.
    pub fn switch(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(property) = self.file.get(key) else { return Ok(None) };
        match property.value.to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(ConfigError::Value {
                key: key.to_owned(),
                line: property.line,
                value: property.value.clone(),
                wanted: "true or false",
            }),
        }
    }

    /// A system property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.system.get(name).map(String::as_str)
    }

    /// A switch among the system properties: `true` in any case is true, all else is false.
    pub fn property_switch(&self, name: &str, default: bool) -> bool {
        self.property(name).map_or(default, |value| value.eq_ignore_ascii_case("true"))
    }

    /// A number among the system properties: decimal, hex or octal; what is none is the default.
    pub fn property_int(&self, name: &str, default: i64) -> i64 {
        self.property(name).and_then(decode_int).unwrap_or(default)
    }
}

/// As Java's `Long.decode`.
fn decode_int(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let value = match hex.or_else(|| digits.strip_prefix('#')) {
        Some(hex) => i64::from_str_radix(hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(&digits[1..], 8),
        None => digits.parse(),
    };
    value.ok().filter(|_| !digits.starts_with(['+', '-'])).map(|value| sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decoded_as_java_does() {
        let cases = [
            ("10", Some(10)),
            ("-10", Some(-10)),
            ("0x1f", Some(31)),
            ("#1F", Some(31)),
            ("017", Some(15)),
            ("0", Some(0)),
            ("", None),
            ("1k", None),
            ("--1", None),
        ];
        for (text, value) in cases {
            assert_eq!(decode_int(text), value, "{text}");
        }
    }
}
