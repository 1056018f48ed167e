//! A disk that loses what was not synced.
//!
//! Calls return at once, since the log writer is synchronous; what they have really done is decided
//! only if there is a crash. Each actor's calls belong to a section while its completion has not
//! been delivered. A crash cuts every open section at some call, then loses or tears what was not
//! synced: in sectors of 512 bytes, file lengths, and names whose directory was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use oxikeeper_storage::{Disk, DiskFile};

use crate::rng::Rng;

/// A write is torn at multiples of this.
const SECTOR_BYTES: usize = 512;

/// Whose calls those are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// The start of the server.
    Start = 0,
    /// The log writer.
    Log = 1,
    /// The snapshot thread.
    Snapshot = 2,
}

const ACTORS: usize = 3;

/// What changes a file.
#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// What changes a directory.
#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

#[derive(Clone, Debug)]
enum Op {
    Change(usize, Change),
    Name(NameChange),
    Sync(usize),
    /// The kernel gave up: what was to be synced is not, and no later sync will do it.
    SyncFailed(usize),
    SyncDir(PathBuf),
}

/// What a crash leaves, and what it may still take.
#[derive(Clone, Debug, Default)]
struct Stable {
    files: Vec<Vec<u8>>,
    names: BTreeMap<PathBuf, usize>,
    unsynced: Vec<Vec<Change>>,
    unsynced_names: Vec<NameChange>,
}

#[derive(Debug, Default)]
struct State {
    /// As a process sees it.
    files: Vec<Vec<u8>>,
    names: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
    stable: Stable,
    /// Calls whose fate is not yet decided.
    trace: Vec<(Actor, Op)>,
    /// For each actor, where its open section begins in the trace.
    sections: [Option<usize>; ACTORS],
    actor: Option<Actor>,
    free_bytes: u64,
    /// The call to fail, counted from now.
    fail_in: Option<u32>,
    failures: u64,
    ops: u64,
}

/// See the module's head. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct CrashDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`CrashDisk`].
#[derive(Debug)]
pub struct CrashFile {
    state: Arc<Mutex<State>>,
    file: usize,
}

impl Default for CrashDisk {
    fn default() -> CrashDisk {
        let state = State { free_bytes: 1 << 40, ..State::default() };
        CrashDisk { state: Arc::new(Mutex::new(state)) }
    }
}

impl CrashDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The calls from here until [`end`](Self::end) may be cut by a crash.
    pub fn begin(&self, actor: Actor) {
        let mut state = self.lock();
        state.sections[actor as usize] = Some(state.trace.len());
    }

    /// The actor's calls have all come to their end.
    pub fn end(&self, actor: Actor) {
        let mut state = self.lock();
        state.sections[actor as usize] = None;
        if state.sections.iter().all(Option::is_none) {
            let State { stable, trace, .. } = &mut *state;
            trace.drain(..).for_each(|(_, op)| stable.take(op));
        }
    }

    /// Whose calls follow.
    pub fn act_as(&self, actor: Actor) {
        self.lock().actor = Some(actor);
    }

    /// How much room there is from now on.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.lock().free_bytes = free_bytes;
    }

    /// Makes a write or a sync fail, so many calls from now; `None` for never.
    pub fn fail_in(&self, calls: Option<u32>) {
        self.lock().fail_in = calls;
    }

    /// How many calls have been made to fail.
    pub fn failures(&self) -> u64 {
        self.lock().failures
    }

    /// Calls that change something, so far.
    pub fn ops(&self) -> u64 {
        self.lock().ops
    }

    /// The power goes. Returns whether an open section was cut before its end.
    pub fn crash(&self, rng: &mut Rng) -> bool {
        let mut state = self.lock();
        let mut left = [usize::MAX; ACTORS];
        let mut was_cut = false;
        for (actor, left) in left.iter_mut().enumerate() {
            if let Some(start) = state.sections[actor] {
                let is_its = |(whose, _): &&(Actor, Op)| *whose as usize == actor;
                let before = state.trace[..start].iter().filter(is_its).count();
                let inside = state.trace[start..].iter().filter(is_its).count();
                let done = rng.index(inside + 1);
                was_cut |= done < inside;
                *left = before + done;
            }
        }
        let State { stable, trace, .. } = &mut *state;
        for (actor, op) in trace.drain(..) {
            let left = &mut left[actor as usize];
            if *left > 0 {
                *left -= 1;
                stable.take(op);
            }
        }
        stable.lose(rng);
        state.files = state.stable.files.clone();
        state.names = state.stable.names.clone();
        state.sections = [None; ACTORS];
        state.fail_in = None;
        was_cut
    }

    /// The files below a directory as they are now, with their bytes.
    pub fn contents(&self, dir: &Path) -> Vec<(String, Vec<u8>)> {
        let state = self.lock();
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let files = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        files.filter_map(|(path, &file)| Some((name(path)?, state.files[file].clone()))).collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics while the disk is locked")
}

fn apply(file: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes } => {
            let end = at + bytes.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[*at..end].copy_from_slice(bytes);
        }
        Change::SetLen(len) => file.resize(*len, 0),
    }
}

fn apply_name(names: &mut BTreeMap<PathBuf, usize>, change: NameChange) {
    match change {
        NameChange::Link(path, file) => {
            names.insert(path, file);
        }
        NameChange::Rename(from, to) => {
            if let Some(file) = names.remove(&from) {
                names.insert(to, file);
            }
        }
        NameChange::Unlink(path) => {
            names.remove(&path);
        }
    }
}

impl Stable {
    /// A call that has come to its end.
    fn take(&mut self, op: Op) {
        match op {
            Op::Change(file, change) => self.unsynced[file].push(change),
            Op::Name(change) => {
                if let NameChange::Link(_, file) = &change {
                    let files = *file + 1;
                    self.files.resize(files.max(self.files.len()), Vec::new());
                    self.unsynced.resize(files.max(self.unsynced.len()), Vec::new());
                }
                self.unsynced_names.push(change);
            }
            Op::Sync(file) => {
                for change in std::mem::take(&mut self.unsynced[file]) {
                    apply(&mut self.files[file], &change);
                }
            }
            Op::SyncFailed(file) => self.unsynced[file].clear(),
            Op::SyncDir(dir) => {
                for change in std::mem::take(&mut self.unsynced_names) {
                    let (NameChange::Link(path, _)
                    | NameChange::Rename(_, path)
                    | NameChange::Unlink(path)) = &change;
                    if path.parent() == Some(&dir) {
                        apply_name(&mut self.names, change);
                    } else {
                        self.unsynced_names.push(change);
                    }
                }
            }
        }
    }

    /// Decides what becomes of everything that was not synced.
    fn lose(&mut self, rng: &mut Rng) {
        // None of it, all of it, each for itself, or a beginning of it.
        let keep_permille = *rng.pick(&[0, 1000, 500, 900, 100]);
        let in_order = rng.chance(500);
        for (file, changes) in self.files.iter_mut().zip(&mut self.unsynced) {
            let mut changes = std::mem::take(changes);
            if in_order && !changes.is_empty() {
                changes.truncate(rng.index(changes.len() + 1));
            }
            for change in changes {
                lose_part(file, change, keep_permille, rng);
            }
        }
        let mut names = std::mem::take(&mut self.unsynced_names);
        if in_order && !names.is_empty() {
            names.truncate(rng.index(names.len() + 1));
        }
        for change in names {
            if in_order || rng.chance(keep_permille) {
                apply_name(&mut self.names, change);
            }
        }
    }
}

/// Applies a change as far as it reached the disk.
fn lose_part(file: &mut Vec<u8>, change: Change, keep_permille: u64, rng: &mut Rng) {
    let Change::Write { at, bytes } = change else {
        if rng.chance(keep_permille) {
            apply(file, &change);
        }
        return;
    };
    let mut start = 0;
    while start < bytes.len() {
        let end = bytes.len().min((at + start) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - at);
        if rng.chance(keep_permille) {
            apply(file, &Change::Write { at: at + start, bytes: bytes[start..end].to_vec() });
        }
        start = end;
    }
}

impl State {
    fn note(&mut self, op: Op) -> io::Result<()> {
        self.ops += 1;
        if matches!(op, Op::Change(..) | Op::Sync(_) | Op::SyncDir(_))
            && let Some(left) = self.fail_in.as_mut()
        {
            if *left == 0 {
                self.fail_in = None;
                self.failures += 1;
                if let Op::Sync(file) = op {
                    self.settle(Op::SyncFailed(file));
                }
                return Err(io::Error::from_raw_os_error(5));
            }
            *left -= 1;
        }
        match &op {
            Op::Change(file, change) => apply(&mut self.files[*file], change),
            Op::Name(change) => apply_name(&mut self.names, change.clone()),
            Op::Sync(_) | Op::SyncFailed(_) | Op::SyncDir(_) => {}
        }
        self.settle(op);
        Ok(())
    }

    /// Decides a call's fate, or puts it off until its section has ended.
    fn settle(&mut self, op: Op) {
        let actor = self.actor.unwrap_or(Actor::Start);
        if self.sections.iter().all(Option::is_none) {
            self.stable.take(op);
        } else {
            self.trace.push((actor, op));
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for CrashDisk {
    type File = CrashFile;

    fn open(&self, path: &Path) -> io::Result<CrashFile> {
        let file = self.lock().find(path)?;
        Ok(CrashFile { state: Arc::clone(&self.state), file })
    }

    fn create(&self, path: &Path) -> io::Result<CrashFile> {
        let mut state = self.lock();
        let file = state.files.len();
        state.files.push(Vec::new());
        state.note(Op::Name(NameChange::Link(path.to_owned(), file)))?;
        Ok(CrashFile { state: Arc::clone(&self.state), file })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.find(from)?;
        state.note(Op::Name(NameChange::Rename(from.to_owned(), to.to_owned())))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.find(path)?;
        state.note(Op::Name(NameChange::Unlink(path.to_owned())))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        let names = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create_dirs(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.lock().note(Op::SyncDir(dir.to_owned()))
    }

    fn is_dir(&self, dir: &Path) -> bool {
        self.lock().dirs.contains(dir)
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.lock().free_bytes)
    }
}

impl DiskFile for CrashFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = lock(&self.state);
        let bytes = &state.files[self.file];
        let rest = bytes.get(position as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let change = Change::Write { at: position as usize, bytes: bytes.to_vec() };
        lock(&self.state).note(Op::Change(self.file, change))
    }

    fn sync(&self) -> io::Result<()> {
        lock(&self.state).note(Op::Sync(self.file))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        lock(&self.state).note(Op::Change(self.file, Change::SetLen(len as usize)))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.state).files[self.file].len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(synced: bool, named: bool) -> [bool; 2] {
        let mut seen = [false; 2];
        for seed in 0..100 {
            let (disk, dir) = (CrashDisk::default(), Path::new("/d"));
            let file = disk.create(&dir.join("f")).unwrap();
            file.write_at(0, &[7; 2000]).unwrap();
            if synced {
                file.sync().unwrap();
            }
            if named {
                disk.sync_dir(dir).unwrap();
            }
            disk.crash(&mut Rng::new(seed));
            let whole = disk.contents(dir).first().is_some_and(|(_, bytes)| *bytes == [7; 2000]);
            seen[usize::from(whole)] = true;
        }
        seen
    }

    #[test]
    fn what_is_synced_stays_and_nothing_else_is_sure() {
        assert_eq!(survives(true, true), [false, true]);
        assert_eq!(survives(true, false), [true, true]);
        assert_eq!(survives(false, true), [true, true]);
    }

    #[test]
    fn an_open_section_may_end_anywhere() {
        let mut seen = [false; 2];
        for seed in 0..100 {
            let (disk, dir) = (CrashDisk::default(), Path::new("/d"));
            disk.act_as(Actor::Log);
            disk.begin(Actor::Log);
            let file = disk.create(&dir.join("f")).unwrap();
            file.write_at(0, b"x").unwrap();
            file.sync().unwrap();
            disk.sync_dir(dir).unwrap();
            disk.crash(&mut Rng::new(seed));
            seen[disk.contents(dir).len()] = true;
        }
        assert_eq!(seen, [true, true]);
    }
}
