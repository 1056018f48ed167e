//! Assertions that are counted; the first one that does not hold ends the program.

use std::fmt::Debug;
use std::future::Future;
use std::process::exit;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// How long an event or a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends the program with the verdict that the runner looks for.
pub fn finish() -> ! {
    println!("rust-client: {} assertions, ok", HELD.load(Ordering::SeqCst));
    exit(0)
}

fn fail(why: &str) -> ! {
    println!("{why}");
    println!("rust-client: {} assertions, FAILED", HELD.load(Ordering::SeqCst));
    exit(1)
}

#[track_caller]
pub fn that(condition: bool, what: &str) {
    if !condition {
        fail(&format!("{}: does not hold: {what}", std::panic::Location::caller()));
    }
    HELD.fetch_add(1, Ordering::SeqCst);
}

#[track_caller]
pub fn equal<T: Debug + PartialEq<U>, U: Debug>(actual: T, expected: U, what: &str) {
    if actual != expected {
        let place = std::panic::Location::caller();
        fail(&format!("{place}: {what}: expected {expected:?}, got {actual:?}"));
    }
    HELD.fetch_add(1, Ordering::SeqCst);
}

/// The value of a call that must succeed.
#[track_caller]
pub fn good<T, E: Debug>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => {
            HELD.fetch_add(1, Ordering::SeqCst);
            value
        }
        Err(error) => fail(&format!("{}: {what}: {error:?}", std::panic::Location::caller())),
    }
}

/// A call that must fail, and how.
#[track_caller]
pub fn fails<T: Debug, E: Debug + PartialEq>(result: Result<T, E>, expected: E, what: &str) {
    match result {
        Err(error) if error == expected => {
            HELD.fetch_add(1, Ordering::SeqCst);
        }
        other => {
            let place = std::panic::Location::caller();
            fail(&format!("{place}: {what}: expected {expected:?}, got {other:?}"));
        }
    }
}

/// What the future gives, if it does in time.
pub async fn soon<F: Future>(future: F, what: &str) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => fail(&format!("never came: {what}")),
    }
}

/// Waits until the condition holds.
pub async fn eventually<F: AsyncFnMut() -> bool>(mut condition: F, what: &str) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(wait, what).await;
    HELD.fetch_add(1, Ordering::SeqCst);
}
