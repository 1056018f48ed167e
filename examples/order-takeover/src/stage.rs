//! The processes of the application, and everything that they say, with the time.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

/// What has been said so far, by anybody.
#[derive(Clone)]
pub struct Story {
    began: Instant,
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
    said: Arc<Notify>,
}

impl Story {
    /// Begins now.
    pub fn begin() -> Story {
        Story { began: Instant::now(), lines: Arc::default(), said: Arc::default() }
    }

    /// Prints a line, and keeps it.
    pub fn tell(&self, line: &str) {
        let now = Instant::now();
        println!("{:8.3}  {line}", now.duration_since(self.began).as_secs_f64());
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((now, line.to_owned()));
        drop(lines);
        self.said.notify_waiters();
    }

    /// Waits for a line with this text that was said after `since`, and gives its time.
    pub async fn hear(&self, text: &str, since: Instant) -> std::io::Result<Instant> {
        let heard = async {
            loop {
                let said = self.said.notified();
                let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let found = lines.iter().find(|(at, line)| *at >= since && line.contains(text));
                if let Some((at, _)) = found {
                    return *at;
                }
                // A line between the look and the wait is seen by the next look at the latest.
                let _ = tokio::time::timeout(Duration::from_millis(50), said).await;
            }
        };
        let patience = Duration::from_secs(60);
        let outcome = tokio::time::timeout(patience, heard).await;
        outcome.map_err(|_| std::io::Error::other(format!("nobody said \"{text}\"")))
    }
}

/// An application process.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts one, and waits until it takes orders.
    pub async fn start(story: &Story, name: &str, connect: &str) -> std::io::Result<Process> {
        let began = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["node", name, connect])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
        let listener = story.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                listener.tell(&format!("    {line}"));
            }
        });
        story.hear(&format!("{name} listens"), began).await?;
        Ok(Process { child })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> std::io::Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| std::io::Error::other("it is gone"))?;
        Ok(kill_process(pid, signal)?)
    }
}
