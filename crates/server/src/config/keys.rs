//! From a file and flags to settings: which keys become properties, which names stand for others,
//! and what the log has to say about each.
//!
//! Source: operations reference, 1.1 and 1.6.

use std::path::{Path, PathBuf};

use oxikeeper_proto::properties;

use super::Note;
use super::catalog::{self, Effect, Form, Key};
use super::error::{ConfigError, Place};
use super::flags::Flags;
use super::settings::{Settings, Sourced};

/// Providers that are always there: naming one changes nothing.
const BUILT_IN_PROVIDERS: [&str; 2] = [
    "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
    "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
];

/// Sorts the keys of a file and the flags into settings. A key that is not parsed by name becomes
/// the property `zookeeper.<key>`, in place of one given as a flag.
pub(super) fn sort(bytes: &[u8], flags: &Flags) -> Result<Settings, ConfigError> {
    let flag = |value: &String| Sourced { value: value.clone(), place: Place::Flag };
    let mut settings = Settings {
        system: flags.properties.iter().map(|(name, value)| (name.clone(), flag(value))).collect(),
        ..Settings::default()
    };
    flags.warnings.iter().for_each(|text| settings.warn(text.clone()));
    let parsed = properties::parse(bytes).map_err(|line| malformed_escape(Place::Line(line)))?;
    for property in parsed {
        let key = property.key;
        let found = Sourced { value: property.value, place: Place::Line(property.line) };
        if is_named(&key) {
            settings.file.insert(key, found);
        } else if catalog::bare(&key).is_some() {
            if !flags.properties.contains_key(&key) {
                settings.warn(format!(
                    "{}{key} takes effect here; Apache reads it as a -D flag alone",
                    found.place
                ));
                settings.system.insert(key, found);
            }
        } else {
            settings.system.insert(format!("zookeeper.{key}"), found);
        }
    }
    take_aliases(&mut settings);
    if let Some(file) = settings.file.get("dynamicConfigFile") {
        let path = PathBuf::from(&file.value);
        take_dynamic_file(&mut settings, &path)?;
    }
    note_effects(&settings, flags);
    note_habits(&settings);
    Ok(settings)
}

fn is_named(key: &str) -> bool {
    catalog::named(key).is_some()
}

/// Keys of the ensemble, which a dynamic file holds instead of `zoo.cfg`.
pub(crate) fn is_dynamic(key: &str) -> bool {
    key.starts_with("server.") || key.starts_with("group") || key.starts_with("weight")
}

fn malformed_escape(place: Place) -> ConfigError {
    ConfigError::invalid(
        place,
        "\\u needs four hex digits",
        "write \\\\ for a backslash that is meant as one",
    )
}

fn take_aliases(settings: &mut Settings) {
    for (alias, key) in catalog::ALIASES {
        let (alias, key) = (format!("zookeeper.{alias}"), format!("zookeeper.{key}"));
        let Some(found) = settings.system.remove(&alias) else { continue };
        settings
            .warn(format!("{}{alias} is taken as {key}, the name that Apache reads", found.place));
        settings.system.entry(key).or_insert(found);
    }
}

/// The servers of a dynamic file, as if they stood in `zoo.cfg`.
fn take_dynamic_file(settings: &mut Settings, path: &Path) -> Result<(), ConfigError> {
    if let Some((key, found)) = settings.file.iter().find(|(key, _)| is_dynamic(key)) {
        return Err(ConfigError::invalid(
            found.place.clone(),
            format!("{key} stands beside dynamicConfigFile={}", path.display()),
            "the members stand in one of the two files: remove the line, or dynamicConfigFile",
        ));
    }
    let bytes = std::fs::read(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let place = |line| Place::File(path.to_owned(), line);
    let parsed = properties::parse(&bytes).map_err(|line| malformed_escape(place(line)))?;
    for property in parsed {
        if !is_dynamic(&property.key) {
            return Err(ConfigError::invalid(
                place(property.line),
                format!("{} does not belong into a dynamic file", property.key),
                "it holds lines of server, group and weight alone; its version is the end of its \
                 name. Move the line to zoo.cfg",
            ));
        }
        let found = Sourced { value: property.value, place: place(property.line) };
        settings.file.insert(property.key, found);
    }
    Ok(())
}

/// What the log says about keys that are set to something other than their default.
fn note_effects(settings: &Settings, flags: &Flags) {
    let mut for_a_jvm = flags.ignored.clone();
    let mut unknown = Vec::new();
    let mut tls = Vec::new();
    for (name, found) in settings.file.iter().chain(&settings.system) {
        let is_property = settings.system.contains_key(name);
        let key = if is_property { catalog::property(name) } else { catalog::named(name) };
        match key {
            None if name.starts_with("zookeeper.") => unknown.push(name.as_str()),
            None => for_a_jvm.push(format!("-D{name}")),
            Some(key) if key.name == "ssl.*" => tls.push(name.as_str()),
            Some(key) => note_effect(key, name, found, settings),
        }
    }
    if !tls.is_empty() {
        settings.push_note(Note::Error(format!(
            "TLS is not part of this version, no port speaks it: {}",
            tls.join(", ")
        )));
    }
    if !unknown.is_empty() {
        settings
            .warn(format!("no version of ZooKeeper reads these settings: {}", unknown.join(", ")));
    }
    if !for_a_jvm.is_empty() {
        settings.warn(format!("flags for a JVM have no effect: {}", for_a_jvm.join(" ")));
    }
}

fn note_effect(key: &Key, name: &str, found: &Sourced, settings: &Settings) {
    let Sourced { value, place } = found;
    if value.eq_ignore_ascii_case(key.default) {
        return;
    }
    match key.effect {
        Effect::Works | Effect::Same | Effect::Ensemble | Effect::Demands => {}
        Effect::Nothing => {
            settings.warn(format!("{place}{name} has no effect here: {}", key.does));
        }
        Effect::Shut => {
            let is_built_in = BUILT_IN_PROVIDERS.contains(&value.as_str());
            // A switch that is not on opens no door.
            let is_off = key.default == "false" && !value.eq_ignore_ascii_case("true");
            if !is_built_in && !is_off {
                settings.push_note(Note::Error(format!("{place}{name}: {}", key.does)));
            }
        }
    }
}

/// What works, but not as the file may mean it.
fn note_habits(settings: &Settings) {
    for key in ["dataDir", "dataLogDir"] {
        if let Some(path) = settings.text(key)
            && !path.starts_with('/')
            && !path.starts_with("./")
        {
            settings.warn(format!(
                "{}{key}={path} is relative to where the server was started; begin it with ./ if \
                 that is meant",
                settings.place(key)
            ));
        }
    }
    if let Ok(Some(count)) = settings.int("autopurge.snapRetainCount")
        && count < 3
    {
        settings.warn(format!(
            "{}autopurge.snapRetainCount={count}: 3 are kept",
            settings.place("autopurge.snapRetainCount")
        ));
    }
    if settings.property("zookeeper.forceSync").is_some_and(|value| value == "no") {
        settings.warn(format!(
            "{}forceSync=no: what is acknowledged may be lost if the machine crashes",
            settings.place("zookeeper.forceSync")
        ));
    }
    if settings.property("zookeeper.skipACL").is_some_and(|value| value == "yes") {
        settings.warn(format!(
            "{}skipACL=yes: everybody may do everything",
            settings.place("zookeeper.skipACL")
        ));
    }
}

/// Protection that is demanded and that this version does not have ends the start.
pub(super) fn refuse_unprotected(settings: &Settings) -> Result<(), ConfigError> {
    for (name, found) in settings.file.iter().chain(&settings.system) {
        let is_property = settings.system.contains_key(name);
        let key = if is_property { catalog::property(name) } else { catalog::named(name) };
        let Some(key) = key.filter(|key| key.effect == Effect::Demands) else { continue };
        let is_on = match key.form {
            Form::File => settings.switch(name)? == Some(true),
            // A list of schemes is a demand, whatever is in it.
            Form::Property | Form::Bare if key.default == "unset" => true,
            Form::Property | Form::Bare => settings.property_switch(name, false),
        };
        if is_on {
            let key = name.strip_prefix("zookeeper.").unwrap_or(name).to_owned();
            return Err(ConfigError::Unprotected { place: found.place.clone(), key });
        }
    }
    Ok(())
}
