//! What the simulation knows and no server can: every history at once.
//!
//! Each function is told of one thing that a server did, and says what rule it broke.
//! Source: verification reference, 6.3; quorum-protocol reference, 11.1 and 11.2.

use std::collections::{BTreeMap, BTreeSet};

use oxikeeper_proto::Zxid;

/// A transaction, with a hash of its bytes.
pub type Entry = (Zxid, u64);

/// A server's history and promises, as they are in its memory and on its disk.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    /// Everything it has logged or got as a snapshot, in order.
    pub log: Vec<Entry>,
    /// How much of `log` is on its disk.
    pub durable: usize,
    /// What it had on its disk before that rotted, until a leader has sent it the state anew. It has no
    /// say meanwhile.
    lost: Vec<Entry>,
    /// `acceptedEpoch` on its disk.
    pub accepted: u32,
    /// `currentEpoch` on its disk.
    pub current: u32,
}

impl Shadow {
    /// The last transaction on its disk.
    pub fn durable_zxid(&self) -> Zxid {
        self.log[..self.durable].last().map_or(Zxid::ZERO, |entry| entry.0)
    }

    /// The last transaction it has.
    pub fn last(&self) -> Zxid {
        self.log.last().map_or(Zxid::ZERO, |entry| entry.0)
    }

    /// Whether it has this entry at this place, or nobody can be elected who does not know that it had.
    fn holds(&self, place: usize, entry: &Entry) -> bool {
        self.log[..self.durable].get(place) == Some(entry) || self.lost.get(place) == Some(entry)
    }

    fn place_behind(&self, zxid: Zxid) -> usize {
        self.log.partition_point(|entry| entry.0 <= zxid)
    }
}

/// What came of a step: a broken rule, in words.
pub type Verdict = Result<(), String>;

/// See the module's head.
#[derive(Debug)]
pub struct Ghost {
    voters: BTreeSet<usize>,
    /// All transactions ever proposed.
    proposed: BTreeMap<Zxid, u64>,
    /// The one committed history.
    pub committed: Vec<Entry>,
    /// Who was established as leader of each epoch.
    pub leaders: BTreeMap<u32, usize>,
    /// One per server.
    pub servers: Vec<Shadow>,
    /// The tree's digest at each transaction.
    digests: BTreeMap<Zxid, u64>,
}

impl Ghost {
    /// Nothing has happened yet.
    pub fn new(servers: usize, voters: BTreeSet<usize>) -> Ghost {
        Ghost {
            voters,
            proposed: BTreeMap::new(),
            committed: Vec::new(),
            leaders: BTreeMap::new(),
            servers: vec![Shadow::default(); servers],
            digests: BTreeMap::new(),
        }
    }

    /// The last transaction that is committed.
    pub fn last_committed(&self) -> Zxid {
        self.committed.last().map_or(Zxid::ZERO, |entry| entry.0)
    }

    /// A leader has given a transaction its place.
    pub fn proposed(&mut self, server: usize, zxid: Zxid, hash: u64) -> Verdict {
        if self.leaders.get(&zxid.epoch()) != Some(&server) {
            return Err(format!("server {server} proposes {zxid}, but does not lead that epoch"));
        }
        match self.proposed.insert(zxid, hash) {
            Some(_) => Err(format!("server {server} proposes {zxid} a second time")),
            None => Ok(()),
        }
    }

    /// A server gives a transaction to its log.
    pub fn appended(&mut self, server: usize, zxid: Zxid, hash: u64) -> Verdict {
        match self.proposed.get(&zxid) {
            Some(&known) if known == hash => {}
            known => return Err(format!("server {server} logs {zxid}, proposed was {known:?}")),
        }
        let shadow = &mut self.servers[server];
        let last = shadow.last();
        let joins = match zxid.epoch() == last.epoch() {
            true => zxid.raw() == last.raw() + 1,
            false => zxid.epoch() > last.epoch() && zxid.counter() == 1,
        };
        if !joins {
            return Err(format!("server {server} logs {zxid} behind {last}"));
        }
        shadow.log.push((zxid, hash));
        Ok(())
    }

    /// The log of a server is on disk up to here.
    pub fn durable(&mut self, server: usize, zxid: Zxid) {
        let shadow = &mut self.servers[server];
        shadow.durable = shadow.durable.max(shadow.place_behind(zxid));
    }

    /// An established leader has committed everything up to here.
    pub fn committed(&mut self, server: usize, zxid: Zxid) -> Verdict {
        let shadow = &self.servers[server];
        let mine = &shadow.log[..shadow.place_behind(zxid)];
        let common = mine.len().min(self.committed.len());
        if mine[..common] != self.committed[..common] {
            let place = (0..common).find(|&place| mine[place] != self.committed[place]);
            let place = place.unwrap_or_default();
            return Err(format!(
                "server {server} commits {:?} where {:?} was committed",
                mine[place], self.committed[place]
            ));
        }
        if mine.len() > self.committed.len() {
            self.committed = mine.to_vec();
            return self.quorum_has_it(&format!("server {server} has committed {zxid}"));
        }
        Ok(())
    }

    /// A server leads an epoch: its whole log is committed, and holds all that ever was.
    pub fn leads(&mut self, server: usize, epoch: u32) -> Verdict {
        if let Some(&before) = self.leaders.get(&epoch) {
            return Err(format!("servers {before} and {server} lead epoch {epoch}"));
        }
        if !self.servers[server].lost.is_empty() {
            return Err(format!("server {server} leads epoch {epoch}, and its log has rotted"));
        }
        // A word may come so late that another epoch has begun: who leads then can commit nothing any
        // more, but must still have all that was committed before its own epoch.
        let before = self.committed.partition_point(|entry| entry.0.epoch() < epoch);
        let shadow = &self.servers[server];
        if !shadow.log.starts_with(&self.committed[..before]) {
            return Err(format!(
                "server {server} leads epoch {epoch} with a history that ends at {}, without what \
                 was committed up to {}",
                shadow.last(),
                self.last_committed()
            ));
        }
        if shadow.accepted < epoch || shadow.current != epoch {
            return Err(format!("server {server} leads {epoch}, on its disk is {shadow:?}"));
        }
        let with_epoch = |index: &&usize| self.servers[**index].current >= epoch;
        let promised = self.voters.iter().filter(with_epoch).count();
        if promised * 2 <= self.voters.len() {
            return Err(format!(
                "server {server} leads epoch {epoch}, which only {promised} voters have on disk"
            ));
        }
        self.leaders.insert(epoch, server);
        self.committed(server, shadow_last(&self.servers[server]))?;
        self.quorum_has_it(&format!("server {server} leads epoch {epoch}"))
    }

    /// A server serves under this leader, with its state at `applied`.
    pub fn serves(&mut self, server: usize, epoch: u32, leader: usize, applied: Zxid) -> Verdict {
        if self.leaders.get(&epoch) != Some(&leader) {
            return Err(format!(
                "server {server} is in step with {leader} in epoch {epoch}, but {:?} leads it",
                self.leaders.get(&epoch)
            ));
        }
        self.applied(server, applied)
    }

    /// A server that is in step has applied everything up to here.
    pub fn applied(&self, server: usize, zxid: Zxid) -> Verdict {
        let shadow = &self.servers[server];
        let mine = &shadow.log[..shadow.place_behind(zxid)];
        if self.committed.starts_with(mine) {
            return Ok(());
        }
        Err(format!(
            "server {server} serves a state at {zxid} that is not of the committed history, which \
             ends at {}",
            self.last_committed()
        ))
    }

    /// The tree of a server after a transaction.
    pub fn digest(&mut self, server: usize, zxid: Zxid, digest: u64) -> Verdict {
        match *self.digests.entry(zxid).or_insert(digest) {
            known if known == digest => Ok(()),
            known => Err(format!(
                "the tree of server {server} at {zxid} has the digest {digest:x}, others {known:x}"
            )),
        }
    }

    /// A server has begun to cut its history behind `to`: nothing that is committed needs what goes. It
    /// may have been committed since the leader decided so, by others: this one's word for it was taken
    /// back then.
    pub fn truncates(&mut self, server: usize, to: Zxid) -> Verdict {
        let shadow = &self.servers[server];
        let kept = shadow.place_behind(to);
        let is_committed = |entry: &Entry| self.committed.binary_search(entry).is_ok();
        let Some(lost) = shadow.log[kept..].iter().rev().find(|entry| is_committed(entry)) else {
            return Ok(());
        };
        let has = |index: &&usize| {
            let other = &self.servers[**index];
            let place = self.committed.binary_search(lost).unwrap_or_default();
            **index != server && other.holds(place, lost)
        };
        if self.voters.iter().filter(has).count() * 2 > self.voters.len() {
            return Ok(());
        }
        Err(format!("server {server} cuts {} off, which is committed", lost.0))
    }

    /// A server's history ends here now, on its disk too.
    pub fn truncated(&mut self, server: usize, last: Zxid) -> Verdict {
        let shadow = &mut self.servers[server];
        let kept = shadow.place_behind(last);
        shadow.log.truncate(kept);
        shadow.durable = kept;
        self.quorum_has_it(&format!("server {server} has cut its history behind {last}"))
    }

    /// A server has got this history as a snapshot.
    pub fn installed(&mut self, server: usize, log: Vec<Entry>) -> Verdict {
        let last = log.last().map_or(Zxid::ZERO, |entry| entry.0);
        let shadow = &mut self.servers[server];
        shadow.durable = log.len();
        shadow.log = log;
        shadow.lost.clear();
        self.quorum_has_it(&format!("server {server} has got a snapshot at {last}"))
    }

    /// Bits of a server's log have changed: its history ends at `last`. True if committed transactions are
    /// gone from its disk.
    ///
    /// # Errors
    /// It recovers what it never logged.
    pub fn rotted(&mut self, server: usize, last: Zxid) -> Result<bool, String> {
        let shadow = &mut self.servers[server];
        let kept = shadow.place_behind(last);
        if shadow.log[..kept].last().map_or(Zxid::ZERO, |entry| entry.0) != last {
            return Err(format!("server {server} recovers {last}, which it never logged"));
        }
        if shadow.lost.len() < shadow.durable {
            shadow.lost = shadow.log[..shadow.durable].to_vec();
        }
        shadow.log.truncate(kept);
        shadow.durable = kept;
        Ok(self.committed.get(kept).is_some_and(|next| shadow.lost.contains(next)))
    }

    /// A server has recovered: from its disk it has everything that was durable, and nothing that it
    /// never had. `at_least` is less than that if a truncation was interrupted.
    pub fn recovered(&mut self, server: usize, last: Zxid, at_least: Option<Zxid>) -> Verdict {
        let shadow = &mut self.servers[server];
        let kept = shadow.place_behind(last);
        let known = shadow.log[..kept].last().map_or(Zxid::ZERO, |entry| entry.0);
        if known != last {
            return Err(format!("server {server} recovers {last}, which it never logged"));
        }
        let floor = at_least.unwrap_or(Zxid::new(u64::MAX)).min(shadow.durable_zxid());
        if last < floor {
            return Err(format!("server {server} recovers {last}, on disk was {floor}"));
        }
        shadow.log.truncate(kept);
        shadow.durable = kept;
        self.quorum_has_it(&format!("server {server} has recovered {last}"))
    }

    /// An epoch is on a server's disk.
    pub fn epoch_written(&mut self, server: usize, is_current: bool, epoch: u32) -> Verdict {
        let shadow = &mut self.servers[server];
        let number = if is_current { &mut shadow.current } else { &mut shadow.accepted };
        let before = std::mem::replace(number, epoch);
        if before > epoch || shadow.accepted < shadow.current {
            return Err(format!(
                "server {server} lowers an epoch: {before} to {epoch}, {shadow:?}"
            ));
        }
        Ok(())
    }

    /// A server acknowledges a transaction, or with counter 0 an epoch's initial history.
    pub fn acknowledges(&self, server: usize, zxid: Zxid) -> Verdict {
        let shadow = &self.servers[server];
        if zxid.counter() > 0 {
            let is_durable = shadow.log[..shadow.durable].last().is_some_and(|e| e.0 >= zxid);
            return is_durable.then_some(()).ok_or_else(|| {
                let durable = shadow.durable_zxid();
                format!("server {server} acknowledges {zxid}, on its disk is {durable}")
            });
        }
        let waiting = shadow.log[shadow.durable..].iter().find(|entry| entry.0 < zxid);
        if let Some(waiting) = waiting {
            return Err(format!(
                "server {server} acknowledges epoch {} before {} is on its disk",
                zxid.epoch(),
                waiting.0
            ));
        }
        if shadow.current < zxid.epoch() {
            return Err(format!(
                "server {server} acknowledges epoch {}, on its disk is {}",
                zxid.epoch(),
                shadow.current
            ));
        }
        Ok(())
    }

    /// A server promises an epoch to a leader, or offers it to learners.
    pub fn promises(&self, server: usize, epoch: u32) -> Verdict {
        let accepted = self.servers[server].accepted;
        if accepted >= epoch {
            return Ok(());
        }
        Err(format!("server {server} promises epoch {epoch}, on its disk is {accepted}"))
    }

    /// Everything committed is on the disks of a quorum, at every instant.
    fn quorum_has_it(&self, after: &str) -> Verdict {
        let Some(last) = self.committed.last() else { return Ok(()) };
        let has = |index: &&usize| {
            let shadow = &self.servers[**index];
            shadow.holds(self.committed.len() - 1, last)
        };
        let count = self.voters.iter().filter(has).count();
        if count * 2 > self.voters.len() {
            return Ok(());
        }
        Err(format!("{after}: {} is on the disks of {count} voters only", last.0))
    }
}

fn shadow_last(shadow: &Shadow) -> Zxid {
    shadow.last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::from_parts(epoch, counter)
    }

    /// Three servers of which 0 leads epoch 1 and has committed two transactions with 1.
    fn three() -> Ghost {
        let mut ghost = Ghost::new(3, BTreeSet::from([0, 1, 2]));
        for server in 0..2 {
            ghost.epoch_written(server, false, 1).unwrap();
            ghost.epoch_written(server, true, 1).unwrap();
        }
        ghost.leads(0, 1).unwrap();
        for counter in 1..=2 {
            ghost.proposed(0, z(1, counter), 7).unwrap();
            for server in 0..2 {
                ghost.appended(server, z(1, counter), 7).unwrap();
                ghost.durable(server, z(1, counter));
                ghost.acknowledges(server, z(1, counter)).unwrap();
            }
        }
        ghost.committed(0, z(1, 2)).unwrap();
        ghost
    }

    #[test]
    fn each_rule_is_looked_at() {
        let broken = |what: &str, verdict: Verdict| {
            let text = verdict.expect_err(what);
            assert!(text.contains(what), "{text}");
        };
        broken("lead epoch 1", three().leads(1, 1));
        broken("without what was committed", {
            let mut ghost = three();
            ghost
                .epoch_written(2, false, 2)
                .and_then(|()| ghost.epoch_written(2, true, 2))
                .unwrap();
            ghost.leads(2, 2)
        });
        broken("only 1 voters have on disk", {
            let mut ghost = three();
            ghost
                .epoch_written(1, false, 2)
                .and_then(|()| ghost.epoch_written(1, true, 2))
                .unwrap();
            ghost.leads(1, 2)
        });
        broken("does not lead", three().proposed(1, z(1, 3), 7));
        broken("a second time", three().proposed(0, z(1, 2), 7));
        broken("proposed was", three().appended(2, z(1, 1), 8));
        broken("behind 0x0", three().appended(2, z(1, 2), 7));
        broken("on the disks of 1 voters", {
            let mut ghost = three();
            ghost.proposed(0, z(1, 3), 7).and_then(|()| ghost.appended(0, z(1, 3), 7)).unwrap();
            ghost.durable(0, z(1, 3));
            ghost.committed(0, z(1, 3))
        });
        broken("which is committed", three().truncates(1, z(1, 1)));
        broken("on the disks of 1 voters", three().recovered(1, z(1, 1), Some(z(1, 1))));
        broken("on disk was 0x100000002", three().recovered(1, z(1, 1), None));
        broken("never logged", three().recovered(2, z(1, 1), None));
        broken("lowers", three().epoch_written(0, false, 0));
        broken("acknowledges", three().acknowledges(2, z(1, 1)));
        broken("acknowledges epoch 2", three().acknowledges(1, z(2, 0)));
        broken("promises", three().promises(1, 2));
        broken("digest", {
            let mut ghost = three();
            ghost.digest(0, z(1, 1), 5).unwrap();
            ghost.digest(1, z(1, 1), 6)
        });
        broken("in step with 2", three().serves(1, 1, 2, z(1, 2)));
        three().serves(1, 1, 0, z(1, 2)).unwrap();
        three().truncates(2, z(1, 0)).unwrap();
    }
}
