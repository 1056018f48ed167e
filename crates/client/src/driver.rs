//! The task of a client: carries bytes between a socket and the session, and tells it the time.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::Host;
use crate::dial::{dial, takes_writes};
use crate::session::Step;
use crate::shared::{Said, Shared};

/// What one read takes at most.
const READ_BYTES: usize = 64 << 10;
/// Reads and writes of one turn, before other tasks have theirs.
const TURNS: usize = 32;

type Dialing = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;
type Probing = Pin<Box<dyn Future<Output = bool> + Send>>;

enum Link {
    Down,
    Dialing(Dialing),
    Up(TcpStream),
}

/// See the module.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    hosts: Vec<Host>,
    connect_timeout: Duration,
    link: Link,
    probing: Option<(usize, Probing)>,
    /// What is being written, and how much of it was.
    writing: Option<(Arc<Vec<u8>>, usize)>,
    buffer: Vec<u8>,
    /// It has let others run before the next write.
    has_yielded: bool,
    sleep: Pin<Box<Sleep>>,
    said: Vec<Said>,
}

impl Driver {
    pub fn new(shared: Arc<Shared>, hosts: Vec<Host>, connect_timeout: Duration) -> Driver {
        Driver {
            shared,
            hosts,
            connect_timeout,
            link: Link::Down,
            probing: None,
            writing: None,
            buffer: vec![0; READ_BYTES],
            has_yielded: false,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            said: Vec::new(),
        }
    }

    /// Until the session is over.
    pub async fn run(mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS {
            if self.poll_io(cx) {
                continue;
            }
            match self.take_step(cx) {
                Some(Step::End) => return Poll::Ready(()),
                Some(_) => continue,
                None => {}
            }
            // The clock is looked at last: what was heard counts first.
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Asks the session what to do. `None`: nothing, and the task may sleep.
    fn take_step(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        let now = self.shared.now();
        let mut core = self.shared.lock();
        let step = core.session.step(now);
        self.shared.drain(&mut core, &mut self.said);
        let (mut next, mut has_more) = (None, false);
        if step == Step::Idle && self.said.is_empty() {
            if self.writing.is_none() && matches!(self.link, Link::Up(_)) {
                if !self.has_yielded && core.session.has_output() {
                    // Whoever is ready to ask as well shall be in the same write.
                    self.has_yielded = true;
                    cx.waker().wake_by_ref();
                    return None;
                }
                self.has_yielded = false;
                self.writing = core.session.output(now).map(|bytes| (bytes, 0));
                has_more = self.writing.is_some();
            }
            if !has_more {
                core.sleeper = Some(cx.waker().clone());
            }
            next = core.session.deadline();
        }
        drop(core);
        let has_said = !self.said.is_empty();
        self.shared.hand_out(self.said.drain(..));
        match step {
            Step::Idle if has_said => return Some(step),
            Step::Idle => {
                let deadline = next.map_or_else(far, |at| self.shared.instant(at));
                // A deadline that has moved back is found when the old one passes.
                if deadline < self.sleep.deadline() || self.sleep.is_elapsed() {
                    self.sleep.as_mut().reset(deadline);
                }
                return has_more.then_some(step);
            }
            Step::Dial(host) => {
                self.hang_up();
                let dialing = dial(self.hosts[host].clone(), self.connect_timeout);
                self.link = Link::Dialing(Box::pin(dialing));
            }
            Step::Probe(host) => {
                let asking = takes_writes(self.hosts[host].clone(), self.connect_timeout);
                self.probing = Some((host, Box::pin(asking)));
            }
            Step::HangUp | Step::End => self.hang_up(),
        }
        Some(step)
    }

    fn hang_up(&mut self) {
        self.link = Link::Down;
        self.writing = None;
        self.probing = None;
    }

    /// Whether anything went on.
    fn poll_io(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some((host, probing)) = &mut self.probing
            && let Poll::Ready(takes_writes) = probing.as_mut().poll(cx)
        {
            let host = *host;
            self.probing = None;
            self.shared.lock().session.probed(host, takes_writes, self.shared.now());
            return true;
        }
        match &mut self.link {
            Link::Down => false,
            Link::Dialing(dialing) => {
                let Poll::Ready(result) = dialing.as_mut().poll(cx) else { return false };
                let now = self.shared.now();
                self.link = match result {
                    Ok(stream) => {
                        self.shared.lock().session.connected();
                        Link::Up(stream)
                    }
                    Err(_) => {
                        self.shared.lock().session.failed(now);
                        Link::Down
                    }
                };
                true
            }
            Link::Up(_) => {
                let has_read = self.read(cx);
                self.write(cx) || has_read
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let Link::Up(stream) = &self.link else { return false };
        if stream.poll_read_ready(cx).is_pending() {
            return false;
        }
        match stream.try_read(&mut self.buffer) {
            Ok(0) => self.lose(),
            Ok(count) => {
                let now = self.shared.now();
                let mut core = self.shared.lock();
                core.session.received(&self.buffer[..count], now);
                self.shared.drain(&mut core, &mut self.said);
                drop(core);
                self.shared.hand_out(self.said.drain(..));
            }
            Err(error) if is_passing(&error) => {
                // The readiness is gone; the next look registers for it.
                return matches!(&self.link, Link::Up(stream) if stream.poll_read_ready(cx).is_ready());
            }
            Err(_) => self.lose(),
        }
        true
    }

    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let Link::Up(stream) = &self.link else { return false };
        let Some((bytes, written)) = &mut self.writing else { return false };
        if stream.poll_write_ready(cx).is_pending() {
            return false;
        }
        match stream.try_write(&bytes[*written..]) {
            Ok(count) => {
                *written += count;
                if *written == bytes.len() {
                    self.writing = None;
                }
            }
            Err(error) if is_passing(&error) => {
                return matches!(&self.link, Link::Up(stream) if stream.poll_write_ready(cx).is_ready());
            }
            Err(_) => self.lose(),
        }
        true
    }

    fn lose(&mut self) {
        self.hang_up();
        self.shared.lock().session.lost(self.shared.now());
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Later than anything.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}
