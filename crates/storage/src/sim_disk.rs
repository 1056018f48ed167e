//! A disk in memory that can crash, fail, and fill up.
//!
//! It keeps what was written apart from what was synced. A crash leaves, of what was not synced,
//! any part: each sector of 512 bytes at any of its versions, each length, each change of a
//! directory, each new directory. [`SimDisk::crash`] makes one such state of the choices it is
//! given; [`SimDisk::kill`] is the death of the process alone, which loses nothing, but makes
//! nothing durable either.

mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile};
use content::FileState;

/// A change of a directory since its last sync.
#[derive(Clone, Debug)]
enum Entry {
    Name(String, usize),
    Removed(String),
    Renamed { from: String, to: String, inode: usize },
}

#[derive(Clone, Debug, Default)]
struct Directory {
    now: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    since: Vec<Entry>,
    /// Whether its own name in the directory above is durable.
    is_durable: bool,
}

/// What happens to a call, counted from 1 over all calls that change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The power goes: this call may have done its work in part, and no later one does any.
    Crash,
    /// This one call fails with this error. A write has done half its work, a file's sync none, and
    /// the bytes it was to make durable no later sync will, unless they are written again.
    Fail(io::ErrorKind),
    /// This call and all later ones fail.
    FailFrom(io::ErrorKind),
}

#[derive(Clone, Debug)]
struct State {
    files: Vec<FileState>,
    directories: BTreeMap<PathBuf, Directory>,
    calls: u64,
    plan: Option<(u64, Fate)>,
    reads: u64,
    read_plan: Option<(u64, io::ErrorKind)>,
    crashed: bool,
    room: u64,
    trace: Vec<String>,
    is_quiet: bool,
}

/// A disk that can crash. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new()
    }
}

impl SimDisk {
    /// An empty disk with much room.
    pub fn new() -> SimDisk {
        let root = Directory { is_durable: true, ..Directory::default() };
        SimDisk::with(Vec::new(), BTreeMap::from([(PathBuf::from("/"), root)]), 1 << 40)
    }

    fn with(
        files: Vec<FileState>,
        directories: BTreeMap<PathBuf, Directory>,
        room: u64,
    ) -> SimDisk {
        let state = State {
            files,
            directories,
            calls: 0,
            plan: None,
            reads: 0,
            read_plan: None,
            crashed: false,
            room,
            trace: Vec::new(),
            is_quiet: false,
        };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Plans what happens to the changing call of this number, counted from 1.
    pub fn plan(&self, call: u64, fate: Fate) {
        self.state().plan = Some((call, fate));
    }

    /// Plans the failure of the reading call of this number, counted from 1.
    pub fn plan_read(&self, read: u64, error: io::ErrorKind) {
        self.state().read_plan = Some((read, error));
    }

    /// Calls so far that changed something.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Calls so far that read something.
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// The calls that changed something, each with its file: for messages of tests.
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    /// Keeps no trace any more: for long runs.
    pub fn keep_no_trace(&self) {
        self.state().is_quiet = true;
    }

    /// True once a planned crash has come.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Sets how many bytes may still be written.
    pub fn set_room(&self, bytes: u64) {
        self.state().room = bytes;
    }

    /// The disk as the next process finds it if this one dies and the machine goes on: everything
    /// written is there, and what was not synced still is not.
    pub fn kill(&self) -> SimDisk {
        let state = self.state();
        let next = SimDisk::with(state.files.clone(), state.directories.clone(), state.room);
        next.state().is_quiet = state.is_quiet;
        next
    }

    /// A disk as it may be found after the power goes now. `draw` chooses among the possible ones:
    /// it is asked with a number of choices, always the same ones in the same order, and answers
    /// below it. 0 is always that a change is lost, the largest number that it is kept.
    pub fn crash(&self, mut draw: impl FnMut(u64) -> u64) -> SimDisk {
        let state = self.state();
        let reachable = reachable(&state.directories);
        let mut files: Vec<FileState> = Vec::with_capacity(state.files.len());
        for (index, file) in state.files.iter().enumerate() {
            let is_reachable = reachable.contains(&index);
            files.push(if is_reachable { file.survivor(&mut draw) } else { FileState::default() });
        }
        let mut directories = BTreeMap::new();
        for (path, directory) in &state.directories {
            let mut entries = directory.durable.clone();
            for entry in &directory.since {
                if draw(2) > 0 {
                    apply(entry, &mut entries);
                }
            }
            let is_kept = directory.is_durable || draw(2) > 0;
            // Directories come in the order of their names, so the one above was decided before.
            let is_root = path.parent().is_none();
            if is_kept && (is_root || path.parent().is_some_and(|p| directories.contains_key(p))) {
                let (now, durable) = (entries.clone(), entries);
                let directory = Directory { now, durable, since: Vec::new(), is_durable: true };
                directories.insert(path.clone(), directory);
            }
        }
        let next = SimDisk::with(files, directories, state.room);
        next.state().is_quiet = state.is_quiet;
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no call panics while it holds the lock")
    }
}

impl State {
    /// Counts a call that changes something and says what comes over it. After `Ok` its work is to
    /// be done, and [`end`](Self::end) to be asked.
    fn change(&mut self, what: &str, path: &Path) -> io::Result<()> {
        if self.crashed {
            return Err(io::Error::other("the disk has crashed"));
        }
        self.calls += 1;
        if !self.is_quiet {
            self.trace.push(format!("{what} {}", path.display()));
        }
        match self.plan {
            Some((call, Fate::Crash)) if call == self.calls => {
                self.crashed = true;
                Ok(())
            }
            Some((call, Fate::Fail(kind))) if call == self.calls => Err(kind.into()),
            Some((call, Fate::FailFrom(kind))) if call <= self.calls => Err(kind.into()),
            _ => Ok(()),
        }
    }

    /// A call during which the power goes does not return success.
    fn end(&self) -> io::Result<()> {
        if self.crashed { Err(io::Error::other("the disk has crashed")) } else { Ok(()) }
    }

    fn read(&mut self) -> io::Result<()> {
        self.end()?;
        self.reads += 1;
        match self.read_plan {
            Some((read, kind)) if read == self.reads => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn directory(&mut self, dir: &Path) -> io::Result<&mut Directory> {
        self.directories.get_mut(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Gives back the room of a file that no name leads to any more.
    fn release(&mut self, file: Option<usize>) {
        self.room += file.map_or(0, |file| self.files[file].len());
    }
}

impl Directory {
    fn note(&mut self, entry: Entry) {
        self.since.push(entry);
    }
}

fn apply(entry: &Entry, entries: &mut BTreeMap<String, usize>) {
    match entry {
        Entry::Name(name, inode) => {
            entries.insert(name.clone(), *inode);
        }
        Entry::Removed(name) => {
            entries.remove(name);
        }
        Entry::Renamed { from, to, inode } => {
            entries.remove(from);
            entries.insert(to.clone(), *inode);
        }
    }
}

/// Files that some name may lead to after a crash.
fn reachable(directories: &BTreeMap<PathBuf, Directory>) -> BTreeSet<usize> {
    let mut files = BTreeSet::new();
    for directory in directories.values() {
        files.extend(directory.durable.values());
        for entry in &directory.since {
            match entry {
                Entry::Name(_, inode) | Entry::Renamed { inode, .. } => files.insert(*inode),
                Entry::Removed(_) => false,
            };
        }
    }
    files
}

fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(dir), Some(name)) => Ok((dir.to_owned(), name.to_owned())),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        let (dir, name) = split(path)?;
        let mut state = self.state();
        state.read()?;
        let file = *state.directory(&dir)?.now.get(&name).ok_or(io::ErrorKind::NotFound)?;
        Ok(SimFile { disk: self.clone(), path: path.to_owned(), file })
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let (dir, name) = split(path)?;
        let mut state = self.state();
        state.change("create", path)?;
        let file = state.files.len();
        state.files.push(FileState::default());
        let directory = state.directory(&dir)?;
        let replaced = directory.now.insert(name.clone(), file);
        directory.note(Entry::Name(name, file));
        state.release(replaced);
        state.end()?;
        Ok(SimFile { disk: self.clone(), path: path.to_owned(), file })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((dir, from_name), (other, to_name)) = (split(from)?, split(to)?);
        assert_eq!(dir, other, "files are renamed inside their directory");
        let mut state = self.state();
        state.change("rename", to)?;
        let directory = state.directory(&dir)?;
        let inode = directory.now.remove(&from_name).ok_or(io::ErrorKind::NotFound)?;
        let replaced = directory.now.insert(to_name.clone(), inode);
        directory.note(Entry::Renamed { from: from_name, to: to_name, inode });
        state.release(replaced);
        state.end()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let mut state = self.state();
        state.change("remove", path)?;
        let directory = state.directory(&dir)?;
        let removed = directory.now.remove(&name).ok_or(io::ErrorKind::NotFound)?;
        directory.note(Entry::Removed(name));
        state.release(Some(removed));
        state.end()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.read()?;
        Ok(state.directory(dir)?.now.keys().cloned().collect())
    }

    fn create_dirs(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change("create directory", dir)?;
        for dir in dir.ancestors() {
            state.directories.entry(dir.to_owned()).or_default();
        }
        state.end()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change("sync directory", dir)?;
        state.end()?;
        let Directory { durable, since, .. } = state.directory(dir)?;
        since.drain(..).for_each(|entry| apply(&entry, durable));
        let below = state.directories.iter_mut().filter(|(path, _)| path.parent() == Some(dir));
        below.for_each(|(_, directory)| directory.is_durable = true);
        Ok(())
    }

    fn is_dir(&self, dir: &Path) -> bool {
        self.state().directories.contains_key(dir)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let mut state = self.state();
        state.read()?;
        Ok(state.room)
    }
}

/// A file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    file: usize,
}

impl DiskFile for SimFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.read()?;
        Ok(state.files[self.file].read(position, buffer))
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.change("write", &self.path);
        let is_dead = state.crashed && fate.is_err();
        if is_dead {
            return fate;
        }
        let bytes = if fate.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        let growth = (position + bytes.len() as u64).saturating_sub(state.files[self.file].len());
        if growth > state.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.room -= growth;
        state.files[self.file].write(position, bytes);
        fate?;
        state.end()
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.change("sync", &self.path);
        if !state.crashed {
            match fate {
                Ok(()) => state.files[self.file].sync(),
                Err(_) => state.files[self.file].fail_sync(),
            }
        }
        fate?;
        state.end()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change("set the length of", &self.path)?;
        let before = state.files[self.file].len();
        let growth = len.saturating_sub(before);
        if growth > state.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.room = state.room - growth + before.saturating_sub(len);
        state.files[self.file].set_len(len);
        state.end()
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.read()?;
        Ok(state.files[self.file].len())
    }
}
