//! Typed access to settings, with Apache's rules for each kind of value.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::Note;
use super::error::{ConfigError, Place};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sourced {
    /// Without blanks at either end.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// Keys of the file, the last of each name, and system properties.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Keys that `zoo.cfg` is parsed for by name, as they stand there.
    pub file: BTreeMap<String, Sourced>,
    /// System properties, those that other keys of the file become included.
    pub system: BTreeMap<String, Sourced>,
    /// Lines for the log, found while values were read.
    pub notes: RefCell<Vec<Note>>,
}

impl Settings {
    /// Adds a warning for the log.
    pub fn warn(&self, text: String) {
        self.push_note(Note::Warning(text));
    }

    /// Adds a line for the log, unless it is there.
    pub fn push_note(&self, note: Note) {
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// A text of the file.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.file.get(key).map(|found| found.value.as_str())
    }

    /// Where a key of the file or a property stands.
    pub fn place(&self, name: &str) -> Place {
        let found = self.file.get(name).or_else(|| self.system.get(name));
        found.map_or(Place::Whole, |found| found.place.clone())
    }

    /// A refusal of a value.
    pub fn refuse(&self, name: &str, wanted: &str) -> ConfigError {
        let found = self.file.get(name).or_else(|| self.system.get(name));
        let value = found.map_or("", |found| found.value.as_str());
        ConfigError::invalid(
            self.place(name),
            format!("{name}={value} is not {wanted}"),
            "correct it, or remove the line to have the default",
        )
    }

    /// A number of the file: decimal, or the start fails.
    pub fn int(&self, key: &str) -> Result<Option<i32>, ConfigError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let refused = |_| self.refuse(key, "a decimal number of 32 bits");
        text.parse().map(Some).map_err(refused)
    }

    /// A port of the file.
    pub fn port(&self, key: &str) -> Result<Option<u16>, ConfigError> {
        let Some(number) = self.int(key)? else { return Ok(None) };
        u16::try_from(number).map(Some).map_err(|_| self.refuse(key, "a port"))
    }

    /// A switch of the file: `true` or `false`, or the start fails.
    pub fn switch(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(self.refuse(key, "true or false")),
        }
    }

    /// A system property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.system.get(name).map(|found| found.value.as_str())
    }

    /// A switch among the system properties: `true` in any case is true, all else is false. What is
    /// neither word is worth a line, since somebody meant something by it.
    pub fn property_switch(&self, name: &str, default: bool) -> bool {
        let Some(found) = self.system.get(name) else { return default };
        let is_true = found.value.eq_ignore_ascii_case("true");
        if !is_true && !found.value.eq_ignore_ascii_case("false") {
            self.warn(format!("{}{name}={} is read as false", found.place, found.value));
        }
        is_true
    }

    /// A number among the system properties: decimal, hex or octal; what is none is the default.
    pub fn property_int(&self, name: &str, default: i64) -> i64 {
        self.number(name, default, decode_int)
    }

    /// A fraction among the system properties; what is none is the default.
    pub fn property_fraction(&self, name: &str, default: f64) -> f64 {
        self.number(name, default, |text| {
            text.parse().ok().filter(|number: &f64| number.is_finite())
        })
    }

    fn number<N: Copy + std::fmt::Display>(
        &self,
        name: &str,
        default: N,
        parse: fn(&str) -> Option<N>,
    ) -> N {
        let Some(found) = self.system.get(name) else { return default };
        parse(&found.value).unwrap_or_else(|| {
            let Sourced { value, place } = found;
            self.warn(format!(
                "{place}{name}={value} is not a number; the default {default} holds"
            ));
            default
        })
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
