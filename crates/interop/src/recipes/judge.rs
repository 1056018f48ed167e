//! What the workers have said, and what it must add up to.

use std::collections::{BTreeMap, BTreeSet};

/// What all lives of all workers have said.
#[derive(Debug, Default)]
pub struct Heard {
    counts_tried: u64,
    counts_done: u64,
    counts_not_done: u64,
    puts: BTreeSet<String>,
    puts_tried: BTreeSet<String>,
    takes: BTreeMap<String, u64>,
    /// Receiver and message.
    sends: BTreeSet<(String, String)>,
    sends_tried: BTreeSet<(String, String)>,
    /// What each receiver got, in its order.
    gets: BTreeMap<String, Vec<String>>,
    /// When each came to a round, and when each entered.
    comes: BTreeMap<u64, Vec<u128>>,
    enters: BTreeMap<u64, Vec<u128>>,
    reaches: BTreeMap<String, BTreeSet<String>>,
    /// How often workers passed the gate, and looked at their caches.
    pub passes: u64,
    /// The same for caches.
    pub looks: u64,
    /// And for the configuration.
    pub configured: u64,
    /// What must not be.
    pub violations: Vec<String>,
}

impl Heard {
    /// Takes a line of a worker; `names` are all of them.
    pub fn hear(&mut self, line: &str, names: &[String]) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |text: &str| text.parse().unwrap_or(0);
        match *words {
            ["try", "count"] => self.counts_tried += 1,
            ["did", "count"] => self.counts_done += 1,
            ["not", "count"] => self.counts_not_done += 1,
            ["try", "put", id] => drop(self.puts_tried.insert(id.to_owned())),
            ["did", "put", id] => drop(self.puts.insert(id.to_owned())),
            ["did", "take", id] => *self.takes.entry(id.to_owned()).or_default() += 1,
            [what, "send", target, sender, id] => {
                let sends = if what == "did" { &mut self.sends } else { &mut self.sends_tried };
                let to = |name: &str| (name.to_owned(), id.to_owned());
                match target {
                    "all" => sends.extend(names.iter().filter(|n| *n != sender).map(|n| to(n))),
                    target => drop(sends.insert(to(target))),
                }
            }
            ["did", "get", receiver, id] => {
                self.gets.entry(receiver.to_owned()).or_default().push(id.to_owned());
            }
            ["did", "pass"] => self.passes += 1,
            ["did", "look"] => self.looks += 1,
            ["did", "configure"] => self.configured += 1,
            ["did", "come", round, at, _] => {
                self.comes.entry(number(round) as u64).or_default().push(at.parse().unwrap_or(0));
            }
            ["did", "enter", round, at] => {
                self.enters.entry(number(round) as u64).or_default().push(at.parse().unwrap_or(0));
            }
            ["did", "reach", state, name] => {
                self.reaches.entry(state.to_owned()).or_default().insert(name.to_owned());
            }
            _ => self.violations.push(line.to_owned()),
        }
    }

    /// Whether every worker has said that it has reached a state.
    pub fn has_reached(&self, state: &str, names: &[String]) -> bool {
        let reached = self.reaches.get(state);
        names.iter().all(|name| reached.is_some_and(|reached| reached.contains(name)))
    }

    /// How many items were put, and how many messages sent, that are still to come.
    pub fn outstanding(&self) -> (usize, usize) {
        let puts = self.puts.iter().filter(|id| !self.takes.contains_key(*id)).count();
        let got: BTreeSet<(&str, &str)> = self.got().collect();
        let sends = self.sends.iter().filter(|(to, id)| !got.contains(&(to, id))).count();
        (puts, sends)
    }

    fn got(&self) -> impl Iterator<Item = (&str, &str)> {
        self.gets.iter().flat_map(|(to, ids)| ids.iter().map(move |id| (to.as_str(), id.as_str())))
    }

    /// Judges everything at the end.
    pub fn judge(&mut self, counter: i64, members: usize) {
        let mut found = Vec::new();
        let (least, most) = (self.counts_done, self.counts_tried - self.counts_not_done);
        let counter = u64::try_from(counter).unwrap_or(0);
        if counter < least || counter > most {
            found.push(format!("the counter is {counter}, not between {least} and {most}"));
        }
        for id in self.puts.iter().filter(|id| !self.takes.contains_key(*id)) {
            found.push(format!("item {id} is lost"));
        }
        for id in self.takes.keys().filter(|id| !self.puts_tried.contains(*id)) {
            found.push(format!("item {id} was never put"));
        }
        let got: BTreeSet<(&str, &str)> = self.got().collect();
        for (to, id) in self.sends.iter().filter(|(to, id)| !got.contains(&(to, id))) {
            found.push(format!("message {id} to {to} is lost"));
        }
        for (to, id) in got {
            if !self.sends_tried.contains(&(to.to_owned(), id.to_owned())) {
                found.push(format!("message {id} to {to} was never sent"));
            }
        }
        // The ids of one life of one sender grow; what comes again after a death was there before.
        for (receiver, ids) in &self.gets {
            let mut last: BTreeMap<&str, u64> = BTreeMap::new();
            let mut before = BTreeSet::new();
            for id in ids.iter().filter(|id| before.insert(*id)) {
                let Some((life, number)) = id.rsplit_once('.') else { continue };
                let number = number.parse().unwrap_or(0);
                if last.insert(life, number).is_some_and(|last| last > number) {
                    found.push(format!("{receiver} got {id} after a later one"));
                }
            }
        }
        for (round, enters) in &self.enters {
            let mut comes = self.comes.get(round).cloned().unwrap_or_default();
            comes.sort_unstable();
            let all_there = comes.get(members - 1).copied().unwrap_or(u128::MAX);
            if enters.iter().any(|at| *at < all_there) {
                found.push(format!("round {round} of the double barrier opened too early"));
            }
        }
        self.violations.append(&mut found);
    }

    /// One line of figures.
    pub fn summary(&self) -> String {
        format!(
            "{} counts, {} items, {} taken again, {} messages, {} received again, {} rounds of the \
             double barrier, {} gates passed, {} states reached, {} looks into caches, {} configurations \
             seen",
            self.counts_done,
            self.puts.len(),
            self.takes.values().map(|times| times - 1).sum::<u64>(),
            self.sends.len(),
            self.got().count() - self.got().collect::<BTreeSet<_>>().len(),
            self.enters.len(),
            self.passes,
            self.reaches.len(),
            self.looks,
            self.configured
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &[&str], counter: i64) -> Vec<String> {
        let names = ["a", "b"].map(str::to_owned);
        let mut heard = Heard::default();
        lines.iter().for_each(|line| heard.hear(line, &names));
        heard.judge(counter, 2);
        heard.violations
    }

    #[test]
    fn what_is_as_it_should_be_is_no_violation() {
        let lines = [
            "try count",
            "did count",
            "try count",
            "try put a.1.0",
            "did put a.1.0",
            "did take a.1.0",
            "did take a.1.0",
            "try send all a a.1.1",
            "did send all a a.1.1",
            "did get b a.1.1",
            "did come 0 10 a",
            "did come 0 20 b",
            "did enter 0 21",
        ];
        assert_eq!(judged(&lines, 1), Vec::<String>::new());
        assert_eq!(judged(&lines, 2), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_violation_is_found() {
        let found = |lines: &[&str], counter, text: &str| {
            let found = judged(lines, counter);
            assert!(found.len() == 1 && found[0].contains(text), "{found:?}");
        };
        found(&["try count", "did count"], 2, "the counter is 2");
        found(&["try count", "did count"], 0, "the counter is 0");
        found(&["try put x", "did put x"], 0, "item x is lost");
        found(&["did take x"], 0, "never put");
        found(&["try send b a a.1.1", "did send b a a.1.1"], 0, "is lost");
        found(&["did get b a.1.1"], 0, "never sent");
        let wrong_order =
            ["try send b a a.1.1", "try send b a a.1.2", "did get b a.1.2", "did get b a.1.1"];
        found(&wrong_order, 0, "after a later one");
        found(&["did come 0 10 a", "did enter 0 11"], 0, "too early");
        found(&["did come 0 10 a", "did come 0 20 b", "did enter 0 11"], 0, "too early");
        found(&["violation cache: it went back"], 0, "went back");
    }
}
