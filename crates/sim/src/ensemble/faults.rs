//! What goes wrong with an ensemble, and how it is put right.

use super::agenda::Event;
use super::fabric::End;
use super::knobs::Fault;
use super::world::{Phase, World};
use crate::rng::Rng;

impl World {
    /// Something goes wrong, or something that went wrong is put right.
    pub(super) fn fault(&mut self) {
        if self.phase != Phase::Busy {
            return;
        }
        let gap = self.rng.around(self.knobs.fault_gap_us);
        let at = self.now + gap;
        self.add(at, Event::Fault);
        let number = self.count_fault();
        // Each fault draws from a sequence of its own: leaving one out changes no other.
        let mut rng = Rng::new(self.seed ^ (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let is_spared = number >= self.knobs.faults_max || self.knobs.spared.contains(&number);
        if is_spared {
            return;
        }
        if !self.fabric.is_whole() && rng.chance(400) {
            self.fabric.heal();
            return self.wake_all_ends();
        }
        let fault = *rng.pick(&self.knobs.faults);
        let server = rng.index(self.servers.len());
        self.do_fault(fault, server, &mut rng);
    }

    /// This goes wrong with this server.
    pub(super) fn do_fault(&mut self, fault: Fault, server: usize, rng: &mut Rng) {
        match fault {
            Fault::Kill => self.kill(server),
            Fault::Power => self.power(server),
            Fault::PowerInWrite => self.servers[server].power_in_write = true,
            Fault::SyncError => self.servers[server].sync_fails = true,
            Fault::KillAll => {
                let is_power = rng.chance(500);
                for server in 0..self.servers.len() {
                    if is_power { self.power(server) } else { self.kill(server) }
                }
            }
            Fault::Partition => self.partition(server, rng),
            Fault::OneWay => {
                let other = rng.index(self.servers.len());
                if other != server {
                    self.fabric.set_blocked(server, other, true);
                }
            }
            Fault::Reset => self.reset_some(rng),
            Fault::HalfOpen => {
                let ends = self.fabric.open_ends();
                if !ends.is_empty() {
                    self.fabric.silence(rng.pick(&ends).0);
                }
            }
            Fault::SlowLinks => {
                let delay = *rng.pick(&[0, 20_000, 200_000]);
                self.fabric.set_slow(server, delay);
            }
            Fault::SlowDisk => {
                let lasts = rng.between(100_000, 4_000_000);
                self.servers[server].slow_until = self.now + lasts;
            }
            Fault::Pause => {
                let lasts = *rng.pick(&[50_000, 300_000, 1_000_000, 4_000_000, 20_000_000]);
                self.servers[server].paused_until = self.now + lasts;
            }
            Fault::BitRot => {
                let voters = self.knobs.voters;
                let rotten = self.servers[..voters].iter().filter(|s| s.is_rotten).count();
                if server < voters && !self.servers[server].is_rotten && (rotten + 1) * 2 < voters {
                    self.kill(server);
                    self.servers[server].rot(rng);
                }
            }
            Fault::EpochFull => {
                let leads = |index: &usize| self.servers[*index].leads().is_some();
                let leader = (0..self.servers.len()).find(leads);
                if let Some(leader) = leader {
                    self.fill_epoch(leader);
                }
            }
        }
    }

    /// One server alone, or any part, does not hear of the others.
    fn partition(&mut self, server: usize, rng: &mut Rng) {
        let is_alone = rng.chance(500);
        let side: Vec<bool> = (0..self.servers.len())
            .map(|index| if is_alone { index == server } else { rng.chance(500) })
            .collect();
        for from in 0..side.len() {
            for to in 0..side.len() {
                if side[from] != side[to] {
                    self.fabric.set_blocked(from, to, true);
                }
            }
        }
    }

    /// A few connections break.
    fn reset_some(&mut self, rng: &mut Rng) {
        let wires = self.fabric.open_wires();
        if wires.is_empty() {
            return;
        }
        for _ in 0..1 + rng.index(4) {
            let wire = *rng.pick(&wires);
            self.reset(wire, rng);
        }
    }

    fn reset(&mut self, wire: usize, rng: &mut Rng) {
        let seen = self.fabric.reset(self.now, wire, rng);
        for (side, at) in seen.into_iter().enumerate() {
            if let Some(at) = at {
                self.add(at, Event::Arrive(End { wire, side }));
            }
        }
    }

    /// Nothing is wrong any more.
    pub(super) fn put_right(&mut self) {
        self.fabric.heal();
        let mut rng = Rng::new(self.seed);
        for wire in self.fabric.take_silenced() {
            self.reset(wire, &mut rng);
        }
        self.wake_all_ends();
        for index in 0..self.servers.len() {
            let server = &mut self.servers[index];
            (server.paused_until, server.slow_until) = (0, 0);
            (server.power_in_write, server.sync_fails) = (false, false);
            self.add(self.now, Event::Start(index));
            self.add(self.now, Event::Resume(index));
        }
    }
}
