//! Quotas: nodes below `/zookeeper/quota` that a server looks at.

use std::fmt;

use oxikeeper_client::{Client, CreateOptions, Error, ErrorCode, ExpectedVersion};
use oxikeeper_proto::path::{LIMITS_NAME, QUOTA, STATS_NAME};
use serde_json::{Value, json};

use crate::command::Limit;
use crate::fault::Fault;
use crate::output::Output;
use crate::walk::{Walk, Wanted, join};

/// Limits or totals: -1 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Track {
    count: i64,
    bytes: i64,
    /// In totals these do not stand.
    hard: Option<Hard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hard {
    count: i64,
    bytes: i64,
}

const NONE: i64 = -1;

impl Track {
    const UNLIMITED: Track =
        Track { count: NONE, bytes: NONE, hard: Some(Hard { count: NONE, bytes: NONE }) };
    const EMPTY: Track = Track { count: 0, bytes: 0, hard: None };

    /// Reads `count=3,bytes=-1=;byteHardLimit=20;countHardLimit=4`. The equals sign before the first
    /// semicolon is there for readers of 3.4; what has no number is -1.
    fn parse(data: &[u8]) -> Track {
        let text = String::from_utf8_lossy(data);
        let number = |key: &str| {
            text.split([',', ';']).find_map(|part| {
                let mut words = part.split('=');
                (words.next() == Some(key)).then(|| words.next()?.parse().ok()).flatten()
            })
        };
        let (count, bytes) = (number("countHardLimit"), number("byteHardLimit"));
        let hard = (count.is_some() || bytes.is_some())
            .then(|| Hard { count: count.unwrap_or(NONE), bytes: bytes.unwrap_or(NONE) });
        Track {
            count: number("count").unwrap_or(NONE),
            bytes: number("bytes").unwrap_or(NONE),
            hard,
        }
    }

    fn with(mut self, limit: Limit, value: i64) -> Track {
        let mut hard = self.hard.unwrap_or(Hard { count: NONE, bytes: NONE });
        match limit {
            Limit::Count => self.count = value,
            Limit::Bytes => self.bytes = value,
            Limit::CountHard => hard.count = value,
            Limit::BytesHard => hard.bytes = value,
        }
        self.hard = Some(hard);
        self
    }

    fn json(&self) -> Value {
        let mut value = json!({ "count": self.count, "bytes": self.bytes });
        if let Some(hard) = self.hard {
            value["countHardLimit"] = hard.count.into();
            value["byteHardLimit"] = hard.bytes.into();
        }
        value
    }

    /// Which limits are below what is there: of nodes, of bytes.
    fn is_exceeded_by(&self, totals: &Track) -> (bool, bool) {
        let below = |limit: i64, total: i64| limit > NONE && limit < total;
        let hard = self.hard.unwrap_or(Hard { count: NONE, bytes: NONE });
        (
            below(self.count, totals.count) || below(hard.count, totals.count),
            below(self.bytes, totals.bytes) || below(hard.bytes, totals.bytes),
        )
    }
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.count, self.bytes)?;
        match self.hard {
            Some(Hard { count, bytes }) => {
                write!(f, "=;byteHardLimit={bytes};countHardLimit={count}")
            }
            None => Ok(()),
        }
    }
}

fn quota_path(path: &str) -> String {
    format!("{QUOTA}{path}")
}

/// The data of a node, or nothing when it is not there.
async fn read(client: &Client, path: &str) -> Result<Option<Vec<u8>>, Fault> {
    match client.get_data(path).await {
        Ok((data, _)) => Ok(Some(data)),
        Err(error) if error.is_no_node() => Ok(None),
        Err(error) => Err(Fault::client(error, path)),
    }
}

pub async fn list(output: &Output, client: &Client, path: &str) -> Result<(), Fault> {
    let node = quota_path(path);
    let limits = join(&node, LIMITS_NAME);
    output.note(&format!("absolute path is {limits}"));
    match (read(client, &limits).await?, read(client, &join(&node, STATS_NAME)).await?) {
        (Some(limits), Some(totals)) => {
            let (limits, totals) = (Track::parse(&limits), Track::parse(&totals));
            output.line(&format!("Output quota for {path} {limits}"));
            output.line(&format!("Output stat for {path} {totals}"));
            output.result(json!({ "quota": limits.json(), "stat": totals.json() }));
        }
        _ => output.note(&format!("quota for {path} does not exist.")),
    }
    Ok(())
}

pub async fn set(
    output: &Output,
    client: &Client,
    path: &str,
    limit: Limit,
    value: i64,
) -> Result<(), Fault> {
    let refused = |text: String| Err(Fault::Refused(text));
    if path.starts_with(QUOTA) {
        return refused(format!("cannot set a quota under the path: {QUOTA}"));
    }
    if path == "/" {
        return refused("the root cannot have a quota".to_owned());
    }
    let exists = client.exists(path).await.map_err(|error| Fault::client(error, path))?;
    if exists.is_none() {
        return refused(format!("{path} does not exist."));
    }
    refuse_nested(client, path).await?;
    let node = quota_path(path);
    let (limits_path, totals_path) = (join(&node, LIMITS_NAME), join(&node, STATS_NAME));
    let limits = match read(client, &limits_path).await? {
        Some(present) => {
            let limits = Track::parse(&present).with(limit, value);
            let text = limits.to_string();
            let done = client.set_data(&limits_path, text.as_bytes(), ExpectedVersion::Any).await;
            done.map_err(|error| Fault::client(error, &limits_path))?;
            limits
        }
        None => {
            let limits = Track::UNLIMITED.with(limit, value);
            make_parents(client, path).await?;
            // Limits first: a server fills in the totals when their node is created.
            for (path, track) in [(&limits_path, limits), (&totals_path, Track::EMPTY)] {
                let text = track.to_string();
                make(client, path, Some(text.as_bytes())).await?;
            }
            limits
        }
    };
    if let Some(totals) = read(client, &totals_path).await? {
        let totals = Track::parse(&totals);
        let (count, bytes) = limits.is_exceeded_by(&totals);
        let warning = "[Warning]: the";
        if count {
            let total = totals.count;
            output.line(&format!(
                "{warning} count quota you create is less than the existing count:{total}"
            ));
        }
        if bytes {
            let total = totals.bytes;
            output.line(&format!(
                "{warning} bytes quota you create is less than the existing bytes:{total}"
            ));
        }
        output.result(json!({ "quota": limits.json(), "stat": totals.json() }));
    }
    Ok(())
}

/// Quotas do not nest: the deepest one alone would count.
async fn refuse_nested(client: &Client, path: &str) -> Result<(), Fault> {
    let above = path.char_indices().filter(|(at, c)| *c == '/' && *at > 0);
    for (end, _) in above {
        let parent = &path[..end];
        if read(client, &join(&quota_path(parent), LIMITS_NAME)).await?.is_some() {
            let text = format!("{path} has a parent {parent} which has a quota");
            return Err(Fault::Refused(text));
        }
    }
    let node = quota_path(path);
    let mut walk = Walk::new(client, &node, Wanted::default());
    while let Some(met) = walk.next().await {
        let met = match met {
            Ok(met) => met,
            // Nothing is below: there is no quota yet.
            Err(Fault::Client { error, .. }) if error.is_no_node() => return Ok(()),
            Err(fault) => return Err(fault),
        };
        if met.path != node && met.children.iter().any(|name| name == LIMITS_NAME) {
            let child = &met.path[QUOTA.len()..];
            let text = format!("{path} has a child {child} which has a quota");
            return Err(Fault::Refused(text));
        }
    }
    Ok(())
}

async fn make_parents(client: &Client, path: &str) -> Result<(), Fault> {
    let ends = path.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(at, _)| at);
    for end in ends.chain([path.len()]) {
        make(client, &quota_path(&path[..end]), None).await?;
    }
    Ok(())
}

/// Creates a node unless it is there.
async fn make(client: &Client, path: &str, data: Option<&[u8]>) -> Result<(), Fault> {
    match client.create_raw(path, data, &CreateOptions::persistent()).await {
        Ok(_) | Err(Error::Refused(ErrorCode::NodeExists)) => Ok(()),
        Err(error) => Err(Fault::client(error, path)),
    }
}

pub async fn delete(
    output: &Output,
    client: &Client,
    path: &str,
    limit: Option<Limit>,
) -> Result<(), Fault> {
    let node = quota_path(path);
    let limits = join(&node, LIMITS_NAME);
    let Some(present) = read(client, &limits).await? else {
        output.line(&format!("Quota does not exist for {path}"));
        return Ok(());
    };
    if let Some(limit) = limit {
        let text = Track::parse(&present).with(limit, NONE).to_string();
        let done = client.set_data(&limits, text.as_bytes(), ExpectedVersion::Any).await;
        return done.map(drop).map_err(|error| Fault::client(error, &limits));
    }
    for path in [limits, join(&node, STATS_NAME)] {
        remove(client, &path).await?;
    }
    // What led there and leads nowhere now.
    let mut node = node.as_str();
    while node != QUOTA && remove(client, node).await? {
        node = oxikeeper_proto::path::parent(node);
    }
    Ok(())
}

/// Deletes a node; `false` if something is below it.
async fn remove(client: &Client, path: &str) -> Result<bool, Fault> {
    match client.delete(path, ExpectedVersion::Any).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_no_node() => Ok(true),
        Err(error) if error.is_not_empty() => Ok(false),
        Err(error) => Err(Fault::client(error, path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_as_apache_writes_them() {
        let limits = Track::UNLIMITED.with(Limit::Count, 10).with(Limit::BytesHard, 500);
        let text = "count=10,bytes=-1=;byteHardLimit=500;countHardLimit=-1";
        assert_eq!(limits.to_string(), text);
        assert_eq!(Track::parse(text.as_bytes()), limits);
        let totals = Track { count: 13, bytes: 37, hard: None };
        assert_eq!(Track::parse(b"count=13,bytes=37"), totals);
        assert_eq!(totals.to_string(), "count=13,bytes=37");
        assert_eq!(Track::parse(b"count=,bytes"), Track { count: -1, bytes: -1, hard: None });
        assert_eq!(limits.is_exceeded_by(&totals), (true, false));
        let hard = Track::UNLIMITED.with(Limit::BytesHard, 36);
        assert_eq!(hard.is_exceeded_by(&totals), (false, true));
    }
}
