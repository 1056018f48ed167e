//! Counts and latencies of one worker, and how those of several become one.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// getData.
    Get,
    /// setData.
    Set,
    /// create.
    Create,
    /// delete.
    Delete,
    /// getChildren2.
    GetChildren,
    /// multi.
    Multi,
    /// ping.
    Ping,
}

impl Kind {
    /// Every kind, in the order of the report.
    pub const ALL: [Kind; 7] = [
        Kind::Get,
        Kind::Set,
        Kind::Create,
        Kind::Delete,
        Kind::GetChildren,
        Kind::Multi,
        Kind::Ping,
    ];

    /// As the protocol calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Get => "getData",
            Kind::Set => "setData",
            Kind::Create => "create",
            Kind::Delete => "delete",
            Kind::GetChildren => "getChildren2",
            Kind::Multi => "multi",
            Kind::Ping => "ping",
        }
    }
}

/// Nanoseconds that the histograms resolve at the low end, and hold at most.
const LATENCY_NS: (u64, u64) = (100, 600_000_000_000);
const SECOND_NS: u64 = 1_000_000_000;

/// Latencies in nanoseconds, three digits exact.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS.0, LATENCY_NS.1, 3).expect("constant bounds are valid")
}

/// One second of the run.
#[derive(Clone)]
pub struct Second {
    /// Items answered in it.
    pub items: u64,
    /// Latencies of the requests that were sent, or due, in it; two digits exact.
    pub latency: Histogram<u64>,
}

impl Second {
    fn new() -> Second {
        let latency = Histogram::new_with_bounds(LATENCY_NS.0, LATENCY_NS.1, 2);
        Second { items: 0, latency: latency.expect("constant bounds are valid") }
    }
}

/// What a run showed. Times are nanoseconds since an origin that all workers share.
#[derive(Clone)]
pub struct Recorder {
    /// From here on things count.
    from: u64,
    /// Up to here; `u64::MAX` where requests are counted instead.
    to: u64,
    /// Latencies by kind, of requests sent (open loop: due) while things count.
    latency: [Option<Box<Histogram<u64>>>; Kind::ALL.len()],
    /// Requests answered while things count, by kind.
    requests: [u64; Kind::ALL.len()],
    /// Operations in them: a multi of ten is ten.
    items: u64,
    seconds: Vec<Second>,
    /// Replies with an error code, and how many.
    errors: BTreeMap<i32, u64>,
    /// When the last reply came.
    last: u64,
}

impl Recorder {
    /// Counts what happens from `from` up to `to`.
    pub fn new(from: u64, to: u64) -> Recorder {
        Recorder {
            from,
            to,
            latency: Default::default(),
            requests: [0; Kind::ALL.len()],
            items: 0,
            seconds: Vec::new(),
            errors: BTreeMap::new(),
            last: from,
        }
    }

    /// A reply at `now` to a request of `began`.
    pub fn record(&mut self, kind: Kind, items: u64, began: u64, now: u64, error: i32) {
        if error != 0 {
            *self.errors.entry(error).or_default() += 1;
        }
        if now >= self.from && now < self.to {
            self.requests[kind as usize] += 1;
            self.items += items;
            self.last = now;
            self.second(now).items += items;
        }
        if began >= self.from && began < self.to {
            let latency = now.saturating_sub(began);
            let all = self.latency[kind as usize].get_or_insert_with(|| Box::new(histogram()));
            all.saturating_record(latency);
            self.second(began).latency.saturating_record(latency);
        }
    }

    fn second(&mut self, now: u64) -> &mut Second {
        let index = ((now - self.from) / SECOND_NS) as usize;
        while self.seconds.len() <= index {
            self.seconds.push(Second::new());
        }
        &mut self.seconds[index]
    }

    /// Adds what another worker of the same run saw.
    pub fn merge(&mut self, other: &Recorder) {
        for kind in 0..Kind::ALL.len() {
            self.requests[kind] += other.requests[kind];
            if let Some(theirs) = &other.latency[kind] {
                let ours = self.latency[kind].get_or_insert_with(|| Box::new(histogram()));
                ours.add(&**theirs).expect("all histograms have the same bounds");
            }
        }
        self.items += other.items;
        for (index, second) in other.seconds.iter().enumerate() {
            if self.seconds.len() <= index {
                self.seconds.push(Second::new());
            }
            self.seconds[index].items += second.items;
            let latency = &mut self.seconds[index].latency;
            latency.add(&second.latency).expect("all histograms have the same bounds");
        }
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
        self.last = self.last.max(other.last);
    }

    /// Seconds that count: up to the end, or to the last reply where requests were counted.
    pub fn elapsed_s(&self) -> f64 {
        let end = if self.to == u64::MAX { self.last } else { self.to };
        end.saturating_sub(self.from).max(1) as f64 / SECOND_NS as f64
    }

    /// Requests answered, by kind; only kinds that occurred.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, u64, &Histogram<u64>)> {
        Kind::ALL.into_iter().filter_map(|kind| {
            let latency = self.latency[kind as usize].as_deref()?;
            Some((kind, self.requests[kind as usize], latency))
        })
    }

    /// Requests answered.
    pub fn requests(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Operations answered: a multi of ten is ten.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// The seconds of the run; the last one may be incomplete.
    pub fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    /// The seconds that are complete.
    pub fn whole_seconds(&self) -> &[Second] {
        let whole = (self.elapsed_s() + 1e-6) as usize;
        &self.seconds[..whole.min(self.seconds.len())]
    }

    /// Replies with an error code, and how many.
    pub fn errors(&self) -> &BTreeMap<i32, u64> {
        &self.errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts() {
        let mut recorder = Recorder::new(SECOND_NS, 3 * SECOND_NS);
        // Answered before, sent before, all inside, answered after.
        recorder.record(Kind::Get, 1, 1, 2, 0);
        recorder.record(Kind::Get, 1, 10, SECOND_NS + 1, 0);
        recorder.record(Kind::Set, 1, 2 * SECOND_NS, 2 * SECOND_NS + 5_000_000, -101);
        recorder.record(Kind::Get, 1, 3 * SECOND_NS - 1, 9 * SECOND_NS, 0);
        assert_eq!(recorder.requests(), 2);
        assert_eq!(recorder.elapsed_s(), 2.0);
        let kinds: Vec<_> = recorder.kinds().map(|(kind, n, l)| (kind, n, l.len())).collect();
        assert_eq!(kinds, [(Kind::Get, 1, 1), (Kind::Set, 1, 1)]);
        let items: Vec<_> = recorder.whole_seconds().iter().map(|second| second.items).collect();
        assert_eq!(items, [1, 1]);
        assert_eq!(recorder.errors().get(&-101), Some(&1));
        let (_, _, latency) = recorder.kinds().next().expect("a get");
        assert!(latency.max() >= 6 * SECOND_NS, "the stall at the end is seen");
    }

    #[test]
    fn two_workers_become_one() {
        let mut one = Recorder::new(0, SECOND_NS);
        let mut two = one.clone();
        one.record(Kind::Multi, 10, 5, 10, 0);
        two.record(Kind::Multi, 10, 5, 10, 0);
        one.merge(&two);
        assert_eq!((one.requests(), one.items()), (2, 20));
        assert_eq!(one.seconds()[0].latency.len(), 2);
    }
}
