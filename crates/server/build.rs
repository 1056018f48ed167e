//! Notes the time of the build: `SOURCE_DATE_EPOCH` where it is set, so that builds repeat.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse::<i64>().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    let seconds = given.unwrap_or_else(now);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let (hour, minute) = (seconds.rem_euclid(86_400) / 3600, seconds.rem_euclid(3600) / 60);
    println!(
        "cargo::rustc-env=OXIKEEPER_BUILT_ON={year:04}-{month:02}-{day:02} {hour:02}:{minute:02}"
    );
}

include!("../proto/src/civil.rs");
