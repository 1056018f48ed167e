//! A thread of the load: some connections, one poll.

use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use oxikeeper_proto::Encode;
use oxikeeper_proto::OpCode;
use oxikeeper_proto::reply::end_frame;
use oxikeeper_proto::request::RequestHeader;

use crate::connection::{Connection, Drained, PING_XID};
use crate::error::BenchError;
use crate::plan::Plan;
use crate::recorder::{Kind, Recorder};
use crate::timer::Timer;

const TIMER: Token = Token(usize::MAX);
const READ_BYTES: usize = 256 * 1024;
/// How often deadlines and pings are looked at.
const ROUND: Duration = Duration::from_millis(100);
/// Open loop: requests become due in steps of at least this.
const TICK_NS_MIN: u64 = 100_000;
/// Answers are awaited so long after the last request.
const PATIENCE_S: u64 = 60;
const SECOND_NS: u64 = 1_000_000_000;

/// What one worker is to do.
pub struct Task {
    /// The origin of all times.
    pub origin: Instant,
    /// When things begin to count, and cease to; nanoseconds since the origin.
    pub window: (u64, u64),
    /// Requests that count, where it is not the time that ends the run.
    pub limit: Option<u64>,
    /// Requests in flight per connection.
    pub depth: usize,
    /// Open loop: requests per second of this worker.
    pub rate: Option<f64>,
    /// Connections with nothing else to do ping so often.
    pub ping_every_ns: u64,
    /// Pings are what is measured.
    pub is_idle: bool,
}

/// When the requests of an open loop are due.
struct Schedule {
    origin: u64,
    interval_ns: f64,
    tick_ns: u64,
    issued: u64,
    /// Who is asked first for room.
    turn: usize,
    timer: Timer,
}

impl Schedule {
    /// When the next request is due: at a tick, so that the timer can be there on time.
    fn due(&self) -> u64 {
        let exact = (self.issued as f64 * self.interval_ns) as u64;
        self.origin + exact - exact % self.tick_ns
    }
}

/// See the module's head.
pub struct Worker {
    task: Task,
    poll: Poll,
    connections: Vec<Connection>,
    plan: Plan,
    recorder: Recorder,
    in_flight: usize,
    /// The plan, the limit or the time has come to its end.
    is_over: bool,
    /// Connections with nothing left in the plan.
    finished: usize,
}

impl Worker {
    /// Takes over the connections.
    pub fn new(
        task: Task,
        streams: Vec<std::net::TcpStream>,
        plan: Plan,
    ) -> Result<Worker, BenchError> {
        let failed = BenchError::system("cannot watch a connection");
        let poll = Poll::new().map_err(&failed)?;
        let mut connections = Vec::with_capacity(streams.len());
        for (index, stream) in streams.into_iter().enumerate() {
            let mut connection = Connection::new(stream, index, task.depth).map_err(&failed)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(connection.stream(), Token(index), interest)
                .map_err(&failed)?;
            connections.push(connection);
        }
        let recorder = Recorder::new(task.window.0, task.window.1);
        Ok(Worker {
            task,
            poll,
            connections,
            plan,
            recorder,
            in_flight: 0,
            is_over: false,
            finished: 0,
        })
    }

    fn now(&self) -> u64 {
        self.task.origin.elapsed().as_nanos() as u64
    }

    /// Runs to the end; the connections are given back, still open.
    ///
    /// # Errors
    /// Whatever keeps a connection from going on.
    pub fn run(mut self) -> Result<(Recorder, Vec<Connection>), BenchError> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_BYTES].into_boxed_slice();
        let mut schedule = self.schedule()?;
        if self.task.is_idle {
            self.ping(0)?;
        } else if schedule.is_none() {
            for index in 0..self.connections.len() {
                self.fill(index, self.now())?;
            }
        }
        let mut last_round = 0;
        let mut last_issue = self.now();
        loop {
            match self.poll.poll(&mut events, Some(ROUND)) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => other.map_err(BenchError::system("the poll failed"))?,
            }
            for event in &events {
                if event.token() == TIMER {
                    if let Some(schedule) = &schedule {
                        schedule.timer.take();
                    }
                } else {
                    self.on_event(event.token().0, event, &mut buffer, schedule.is_some())?;
                }
            }
            let now = self.now();
            if let Some(schedule) = &mut schedule {
                self.issue(schedule, now)?;
            }
            if now >= last_round + ROUND.as_nanos() as u64 {
                last_round = now;
                self.ping(now)?;
            }
            self.is_over |= self.is_over_at(now, schedule.as_ref());
            if !self.is_over {
                last_issue = now;
            } else if self.in_flight == 0 {
                return Ok((self.recorder, self.connections));
            } else if now > last_issue + PATIENCE_S * SECOND_NS {
                let in_flight = self.in_flight;
                return Err(BenchError::Silence { in_flight, seconds: PATIENCE_S });
            }
        }
    }

    fn schedule(&self) -> Result<Option<Schedule>, BenchError> {
        let Some(rate) = self.task.rate else { return Ok(None) };
        let interval_ns = SECOND_NS as f64 / rate;
        let tick_ns = (interval_ns as u64).max(TICK_NS_MIN);
        let tick = Duration::from_nanos(tick_ns);
        let origin = self.now();
        let timer = Timer::start(self.poll.registry(), TIMER, tick)?;
        Ok(Some(Schedule { origin, interval_ns, tick_ns, issued: 0, turn: 0, timer }))
    }

    fn is_over_at(&self, now: u64, schedule: Option<&Schedule>) -> bool {
        if self.finished == self.connections.len() && !self.task.is_idle {
            return true;
        }
        match schedule {
            // What was due before the end is still sent, however late.
            Some(schedule) => schedule.due() >= self.task.window.1,
            None => now >= self.task.window.1,
        }
    }

    fn on_event(
        &mut self,
        index: usize,
        event: &mio::event::Event,
        buffer: &mut [u8],
        is_open: bool,
    ) -> Result<(), BenchError> {
        if event.is_writable() && !self.connections[index].out.is_empty() {
            let now = self.now();
            self.connections[index].flush(now)?;
        }
        if !event.is_readable() {
            return Ok(());
        }
        loop {
            let origin = self.task.origin;
            let (recorder, is_idle) = (&mut self.recorder, self.task.is_idle);
            let mut now = None;
            let mut answered = 0;
            let drained = self.connections[index].read(buffer, |pending, error| {
                // One look at the clock for all replies of one read.
                let now = *now.get_or_insert_with(|| origin.elapsed().as_nanos() as u64);
                if pending.kind != Kind::Ping {
                    answered += 1;
                } else if !is_idle {
                    return;
                }
                recorder.record(pending.kind, u64::from(pending.items), pending.began, now, error);
            })?;
            self.in_flight -= answered;
            if let (Some(now), false) = (now, is_open) {
                self.fill(index, now)?;
            }
            if drained == Drained::Yes {
                return Ok(());
            }
        }
    }

    /// Closed loop: as many requests as the connection has room for.
    fn fill(&mut self, index: usize, now: u64) -> Result<(), BenchError> {
        if self.is_over || now >= self.task.window.1 {
            return Ok(());
        }
        while self.connections[index].in_flight() < self.task.depth {
            if !self.put(index, now) {
                break;
            }
        }
        self.connections[index].flush(now)
    }

    /// Encodes one request; false when there is none.
    fn put(&mut self, index: usize, began: u64) -> bool {
        if let Some(limit) = &mut self.task.limit
            && began >= self.task.window.0
        {
            if *limit == 0 {
                self.is_over = true;
                return false;
            }
            *limit -= 1;
        }
        let connection = &mut self.connections[index];
        let xid = connection.next_xid();
        match self.plan.put(index, xid, &mut connection.out) {
            Some((kind, items)) => {
                connection.sent(began, kind, items);
                self.in_flight += 1;
                true
            }
            None => {
                if !connection.is_finished {
                    connection.is_finished = true;
                    self.finished += 1;
                }
                false
            }
        }
    }

    /// Open loop: sends what is due, to whoever has room; the rest waits and its latency grows.
    fn issue(&mut self, schedule: &mut Schedule, now: u64) -> Result<(), BenchError> {
        let count = self.connections.len();
        let mut without_room = 0;
        while !self.is_over && without_room < count {
            let due = schedule.due();
            if due > now || due >= self.task.window.1 {
                break;
            }
            let index = schedule.turn;
            schedule.turn = (index + 1) % count;
            let connection = &self.connections[index];
            if connection.in_flight() >= self.task.depth || connection.is_finished {
                without_room += 1;
            } else if self.put(index, due) {
                schedule.issued += 1;
                without_room = 0;
            }
        }
        for connection in &mut self.connections {
            if !connection.out.is_empty() {
                connection.flush(now)?;
            }
        }
        Ok(())
    }

    /// Keeps sessions alive that have sent nothing for a while.
    fn ping(&mut self, now: u64) -> Result<(), BenchError> {
        for connection in &mut self.connections {
            let is_due = now >= connection.last_sent + self.task.ping_every_ns;
            if connection.in_flight() > 0 || !(is_due || now == 0) {
                continue;
            }
            let start = connection.out.len();
            connection.out.extend_from_slice(&[0; 4]);
            let header = RequestHeader { xid: PING_XID, op: OpCode::Ping.to_wire() };
            header.encode(&mut connection.out);
            end_frame(&mut connection.out, start);
            connection.ping_sent = now;
            connection.flush(now)?;
        }
        Ok(())
    }
}
