//! Waiting in line: every contender has a sequential node, and watches one other that stands before it, so that a
//! node that goes wakes one contender and not all.

use super::patience::{join, recovered, repeat};
use super::place::{Place, sequence};
use crate::Error;

/// One who stands in a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Contender {
    /// Its number; the line is ordered by it.
    pub(super) sequence: i64,
    /// What its name begins with, behind the GUID: `lock-`.
    pub(super) kind: String,
    /// The node's name.
    pub(super) name: String,
}

/// Those of a directory whose kind is one of `kinds`, in their order.
pub(super) fn contenders(names: &[String], kinds: &[&str]) -> Vec<Contender> {
    let mut all: Vec<Contender> = names
        .iter()
        .filter_map(|name| {
            let (kind, sequence) = sequence(name)?;
            let contender = Contender { sequence, kind: kind.to_owned(), name: name.clone() };
            kinds.contains(&kind).then_some(contender)
        })
        .collect();
    all.sort();
    all
}

/// Who has to go before the last of these may: none if nobody. It is given all up to that one.
pub(super) type Blocker = fn(&[Contender]) -> Option<&Contender>;

/// Nobody may stand before.
pub(super) fn predecessor(line: &[Contender]) -> Option<&Contender> {
    line.len().checked_sub(2).map(|before| &line[before])
}

/// Who stands before `place`.
///
/// # Errors
/// `NoNode` if the place itself is gone: somebody removed it.
pub(super) async fn blocker(
    place: &Place,
    kinds: &[&str],
    blocker: Blocker,
) -> Result<Option<String>, Error> {
    let client = place.client();
    let names = repeat(client, || client.get_children(place.dir())).await?;
    let mut line = contenders(&names, kinds);
    let Some(at) = line.iter().position(|contender| contender.name == place.name()) else {
        return Err(Error::Refused(oxikeeper_proto::ErrorCode::NoNode));
    };
    line.truncate(at + 1);
    Ok(blocker(&line).map(|contender| contender.name.clone()))
}

/// Waits until nobody has to go before `place`.
pub(super) async fn turn(place: &Place, kinds: &[&str], who: Blocker) -> Result<(), Error> {
    let client = place.client();
    while let Some(name) = blocker(place, kinds, who).await? {
        // A watch by getData leaves nothing behind when the node is gone already; exists would.
        match client.get_data_watch(&join(place.dir(), &name)).await {
            Ok((_, _, watch)) => {
                watch.await?;
            }
            Err(error) if error.is_no_node() => {}
            Err(error) => recovered(client, error).await?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_ordered_by_number_not_by_guid() {
        let names = [
            "_c_ffffffff-0000-0000-0000-000000000000-lock-0000000001".to_owned(),
            "_c_00000000-0000-0000-0000-000000000000-lock-0000000002".to_owned(),
            "lock-0000000000".to_owned(),
            "other-0000000000".to_owned(),
            "leases".to_owned(),
        ];
        let line = contenders(&names, &["lock-"]);
        let order: Vec<i64> = line.iter().map(|c| c.sequence).collect();
        assert_eq!(order, [0, 1, 2]);
        assert_eq!(predecessor(&line).map(|c| c.sequence), Some(1));
        assert_eq!(predecessor(&line[..1]), None);
    }
}
