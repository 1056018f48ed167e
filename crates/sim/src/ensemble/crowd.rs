//! How the clients of a simulated ensemble act, and how what they saw is judged.

use std::collections::BTreeMap;

use super::agenda::Event;
use super::world::{Phase, World};
use crate::checker::Checker;
use crate::client::{Env, Phase as ClientPhase};
use crate::marks::Mark;
use crate::world::restart::same_state;

impl World {
    /// A client wants to act then.
    pub(super) fn wake_client(&mut self, client: usize, at: u64) {
        let Some(people) = &mut self.people else { return };
        if at < people.wakes_at[client] {
            people.wakes_at[client] = at;
            self.add(at, Event::Client(client));
        }
    }

    /// A client's turn.
    pub(super) fn client(&mut self, client: usize) {
        let Some(people) = &mut self.people else { return };
        if people.wakes_at[client] > self.now {
            return;
        }
        people.wakes_at[client] = u64::MAX;
        let per_server = people.crowd.fronts;
        let life = |server: &super::server::Server| server.process.as_ref().map(|_| server.life);
        let fronts: Vec<Option<u32>> = self
            .servers
            .iter()
            .flat_map(|server| std::iter::repeat_n(life(server), per_server))
            .collect();
        let mut arrivals = Vec::new();
        let links = people.net.links.len();
        let mut env = Env {
            now: self.now,
            net: &mut people.net,
            history: &mut people.history,
            rng: &mut self.rng,
            marks: &mut self.marks,
            phase: match self.phase {
                Phase::Busy => ClientPhase::Busy,
                Phase::Settling => ClientPhase::Settling,
                Phase::Gone => ClientPhase::Gone,
            },
            fronts: &fronts,
            arrivals: &mut arrivals,
        };
        let next = people.clients[client].wake(&mut env);
        self.counts.requests = people.history.requests;
        self.violations.append(&mut people.history.violations);
        let new: Vec<(usize, usize)> = (links..people.net.links.len())
            .map(|link| (link, people.net.links[link].front))
            .collect();
        let arrivals: Vec<(u64, usize, u32)> = arrivals
            .into_iter()
            .filter_map(|(link, at)| {
                people.net.links.get(link).map(|l| (at, l.front, l.incarnation))
            })
            .collect();
        for (link, front) in new {
            self.servers[front / per_server].accept(front % per_server, link);
        }
        for (at, front, life) in arrivals {
            if self.servers[front / per_server].life == life {
                self.with(front / per_server, |server, _, around| {
                    server.wake_front(front % per_server, at, around);
                    Ok(())
                });
            }
        }
        if next != u64::MAX {
            self.wake_client(client, next);
        }
    }

    /// A process is gone, and with it its ends of the connections.
    pub(super) fn forget_people(&mut self, server: usize, life: u32) {
        let Some(people) = &mut self.people else { return };
        let mut seen = Vec::new();
        for link in &mut people.net.links {
            if link.front / people.crowd.fronts == server
                && link.incarnation == life
                && let Some(at) = link.down.reset(self.now, &mut self.rng)
            {
                seen.push((link.client, at + self.rng.below(20_000)));
            }
        }
        seen.into_iter().for_each(|(client, at)| self.wake_client(client, at));
    }

    /// What the clients wait for, when a run does not come to its end.
    pub(super) fn describe_people(&self) -> String {
        let Some(people) = &self.people else { return String::new() };
        let clients = people.clients.iter().enumerate();
        let waiting: Vec<_> = clients.filter(|(_, c)| !c.is_settled()).map(|(n, _)| n).collect();
        format!("; clients {waiting:?} wait, {} sessions", self.sessions())
    }

    /// Everything that was seen fits the committed history.
    pub(super) fn judge_people(&mut self) {
        let Some(people) = &mut self.people else { return };
        let mut log = Vec::with_capacity(self.ghost.committed.len());
        for (zxid, _) in &self.ghost.committed {
            match people.payloads.get(zxid) {
                Some(payload) => log.push((*zxid, payload.clone())),
                None => return self.violations.push(format!("nobody has made {zxid}")),
            }
        }
        // Which server saw a handshake first, nobody can say.
        let handshakes = BTreeMap::new();
        let checker = Checker::new(&people.history, &handshakes, people.crowd.extended_types);
        let (violations, model, seen) = checker.judge(&log);
        self.counts.compared = seen.compared;
        for _ in 0..seen.ttl_reaped {
            self.marks.hit(Mark::TtlReaped);
        }
        self.violations.extend(violations);
        if !self.violations.is_empty() {
            return;
        }
        for server in &self.servers {
            let Some(process) = &server.process else { continue };
            if let Err(text) = same_state(&model, &process.tree) {
                self.violations.push(format!("in the end, server {}: {text}", server.index));
            }
        }
    }
}
