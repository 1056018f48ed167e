use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use super::*;

fn rendered() -> String {
    let mut text = String::new();
    for (title, keys) in TABLES {
        write!(
            text,
            "\n### {title}\n\n| key | where | tier | default | here |\n|---|---|---|---|---|\n"
        )
        .expect("a string takes everything");
        for key in *keys {
            let place = match key.form {
                Form::File => "file",
                Form::Property => "property",
                Form::Bare => "bare",
            };
            let effect = match key.effect {
                Effect::Works => "**works**",
                Effect::Same => "nothing to do",
                Effect::Ensemble => "in ensembles",
                Effect::Nothing => "no effect, said in the log",
                Effect::Shut => "error line, shut",
                Effect::Demands => "**ends the start**",
            };
            let Key { name, tier, default, does, .. } = key;
            let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
            let does = if does.is_empty() { String::new() } else { format!(": {does}") };
            let does = does.replace("`|`", "`\\|`");
            writeln!(text, "| `{name}` | {place} | {tier:?} | {default} | {effect}{does} |")
                .expect("a string takes everything");
        }
    }
    text
}

const BEGIN: &str = "<!-- keys: made from crates/server/src/config/catalog.rs -->\n";
const END: &str = "\n<!-- end of keys -->";

/// With OXIKEEPER_WRITE_DOCUMENTS set, the rows are written instead of compared.
#[test]
fn each_key_has_its_row_in_the_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/COMPATIBILITY.md");
    let text = std::fs::read_to_string(&path).expect("the document is there");
    let (before, rest) = text.split_once(BEGIN).expect("the place of the rows");
    let (rows, after) = rest.split_once(END).expect("the end of the rows");
    let wanted = rendered();
    if std::env::var_os("OXIKEEPER_WRITE_DOCUMENTS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).expect("written");
    } else {
        assert!(
            rows == wanted,
            "docs/COMPATIBILITY.md differs from the catalog: run this test with \
             OXIKEEPER_WRITE_DOCUMENTS=1"
        );
    }
}

#[test]
fn no_key_is_there_twice_and_no_family_hides_one() {
    let mut seen = BTreeSet::new();
    for key in TABLES.iter().flat_map(|(_, keys)| keys.iter()) {
        assert!(seen.insert((key.name, format!("{:?}", key.form))), "{} twice", key.name);
        let found = find(key.name, |form| form == key.form).expect("it is there");
        assert_eq!(found.name, key.name, "{} is hidden", key.name);
    }
}

#[test]
fn aliases_lead_to_keys() {
    for (alias, key) in ALIASES {
        let found = property(&format!("zookeeper.{key}"));
        assert!(found.is_some(), "{alias} leads nowhere");
        assert!(property(&format!("zookeeper.{alias}")).is_none(), "{alias} is a key itself");
    }
}
