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

/// The calendar date of a day counted from 1970-01-01, by the rules of the Gregorian calendar:
/// years are counted from March, so that the leap day is the last of a year.
fn civil(day: i64) -> (i64, i64, i64) {
    let since_march = day + 719_468;
    let era = since_march.div_euclid(146_097);
    let of_era = since_march.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
