//! The file in which processes of one host and user find their table.
//!
//! `<directory>/velro-cache-<user>/<name>.table`, in a folder that nobody else may enter. A table
//! is made complete under another name and then renamed, so nobody ever sees half of one; all of
//! it is allocated before, because a full file system must show now and not as a signal later.
//! Whoever uses a table holds a shared lock on its file; so somebody who finds a table of another
//! version, or for another log, can tell whether it is merely left over.
//!
//! The clock of a table begins at the nanoseconds since the machine started. So a later table
//! begins above whatever an earlier one can have reached, and nothing that was loaded under the
//! earlier one is believed under the later.

use super::mapping::{Mapping, bytes_of_table};
use super::words::{
    AT_BOOT, AT_IDENTITY, AT_LOG, AT_MAGIC, AT_RETIRED, AT_SIZE, AT_SUSPENDED, AT_VERSION, CLOCK,
    FLOOR, MAGIC, VERSION, size_word,
};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Longest wait for another process that is just making or replacing a table.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(2);

/// Where a table is looked for if nobody says where.
const DIRECTORY_VARIABLE: &str = "VELRO_CACHE_SHARED_MEMORY_DIRECTORY";

/// Which table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedTable {
    /// Folder on a file system in memory; None: `/dev/shm`, or that for temporary files.
    pub directory: Option<PathBuf>,
    /// Name that all who share it have in common.
    pub name: String,
    /// Identifies the log that all who share it have in common; 0: none.
    pub log: u64,
}

/// Why there is no shared table.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TableError {
    /// Somebody else could read or change it.
    #[error(
        "{path} is not safe to share invalidations through: {why}. Remove it, or choose another \
         shared_memory_directory"
    )]
    Unsafe {
        /// What was found.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Processes that use it run another version of this library.
    #[error(
        "{path} is in use by another version of velro-cache; stop those processes, or choose \
         another name"
    )]
    OtherVersion {
        /// The table.
        path: PathBuf,
    },
    /// It is in use, and damaged.
    #[error(
        "{path} is in use, but is no table of invalidations; stop the processes that use it and \
         remove it"
    )]
    Damaged {
        /// The table.
        path: PathBuf,
    },
    /// Processes that use it read another log, or none.
    #[error(
        "{path} is in use by processes with another invalidation_log; give all workers of one \
         service the same settings, and another service another name"
    )]
    OtherLog {
        /// The table.
        path: PathBuf,
    },
    /// Processes use it whose clocks cannot be compared with ours: in a container with a time of its
    /// own.
    #[error(
        "{path} is in use by processes that count time from another start, such as those of another \
         container; give them another shared_memory_directory, or all of them the same time"
    )]
    OtherTime {
        /// The table.
        path: PathBuf,
    },
    /// Somebody keeps the folder locked.
    #[error(
        "another process has been replacing {path} for too long; stop it, or remove the folder"
    )]
    Busy {
        /// The table.
        path: PathBuf,
    },
    /// The system refuses.
    #[error(
        "no invalidations can be shared through {path}: {error}. Make room there, choose another \
         shared_memory_directory, or set share_invalidations=False if there is one process only"
    )]
    System {
        /// What was to be used.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

/// Tells one file from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(found: &fs::Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// What the words at the beginning of a file say it is.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A table for us.
    Ours,
    /// Nobody is to use it any more.
    Retired,
    /// From an earlier life of the machine, or from where time is counted otherwise.
    OtherTime,
    OtherVersion,
    OtherLog,
    Damaged,
}

/// The file of a table, there or not.
#[derive(Debug)]
pub(super) struct TableFile {
    folder: PathBuf,
    path: PathBuf,
    log: u64,
    boot: u64,
}

impl TableFile {
    pub(super) fn new(which: &SharedTable) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let folder = directory(which).join(format!("velro-cache-{user}"));
        let path = folder.join(format!("{}.table", which.name));
        Self { folder, path, log: which.log, boot: life_of_the_machine() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file found under the name is this one.
    pub(super) fn is(&self, id: FileId) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| FileId::of(&found) == id)
    }

    /// Maps the table; makes one if there is none, or only one that nobody can use.
    pub(super) fn open(&self) -> Result<(Mapping, FileId), TableError> {
        self.make_folder()?;
        let lock = self.lock()?;
        let opened = match self.attach()? {
            Some(opened) => opened,
            None => self.make()?,
        };
        drop(lock);
        Ok(opened)
    }

    /// Removes a table that was found damaged, if it still is the one under the name.
    pub(super) fn discard(&self, id: FileId) -> Result<(), TableError> {
        let lock = self.lock()?;
        if self.is(id) {
            fs::remove_file(&self.path).map_err(|error| self.system(error))?;
        }
        drop(lock);
        Ok(())
    }

    /// Keeps all other processes from doing the same until the result is dropped.
    pub(super) fn exclusively(&self) -> Result<File, TableError> {
        self.make_folder()?;
        self.lock()
    }

    fn has_bus(&self) -> bool {
        self.log != 0
    }

    fn make_folder(&self) -> Result<(), TableError> {
        if !self.folder.is_absolute() {
            let why = "it depends on the folder each process works in; name it from the root on";
            return Err(TableError::Unsafe { path: self.folder.clone(), why });
        }
        match fs::DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(self.system(error));
            }
            _ => {}
        }
        let found = fs::symlink_metadata(&self.folder).map_err(|error| self.system(error))?;
        self.check(&self.folder, &found, found.is_dir(), "it is not a folder")
    }

    fn check(
        &self,
        path: &Path,
        found: &fs::Metadata,
        is_right_kind: bool,
        otherwise: &'static str,
    ) -> Result<(), TableError> {
        let why = if !is_right_kind {
            otherwise
        } else if found.uid() != rustix::process::geteuid().as_raw() {
            "it belongs to another user"
        } else if found.mode() & 0o077 != 0 {
            "others than its owner may use it"
        } else {
            return Ok(());
        };
        Err(TableError::Unsafe { path: path.to_owned(), why })
    }

    /// Keeps all others from making or replacing tables in this folder.
    fn lock(&self) -> Result<File, TableError> {
        let file = self.open_file("lock", OFlags::CREATE | OFlags::RDWR)?;
        let end = Instant::now() + LONGEST_WAIT;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < end => {
                    std::thread::sleep(PAUSE);
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    return Err(TableError::Busy { path: self.path.clone() });
                }
                Err(error) => return Err(self.system(error.into())),
            }
        }
    }

    /// A regular file of the folder, ours alone, never a link.
    fn open_file(&self, ending: &str, flags: OFlags) -> Result<File, TableError> {
        let path = self.path.with_extension(ending);
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP) => {
                return Err(TableError::Unsafe { path, why: "it is a symbolic link" });
            }
            Err(error) => return Err(self.system(error.into())),
        };
        let found = file.metadata().map_err(|error| self.system(error))?;
        self.check(&path, &found, found.is_file(), "it is not a plain file")?;
        Ok(file)
    }

    /// The table that is there, if there is one we can use.
    fn attach(&self) -> Result<Option<(Mapping, FileId)>, TableError> {
        let file = match self.open_file("table", OFlags::RDWR) {
            Err(TableError::System { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            opened => opened?,
        };
        let found = file.metadata().map_err(|error| self.system(error))?;
        let path = self.path.clone();
        let state = self.judge(&file, found.len());
        if state == Found::Ours {
            // Never waits: an exclusive lock is only held together with that of the folder.
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)
                .map_err(|error| self.system(error.into()))?;
            let mapping = Mapping::shared(file, self.has_bus()).map_err(|e| self.system(e))?;
            return Ok(Some((mapping, FileId::of(&found))));
        }
        // Somebody who uses it would not be told; whoever is gone has no use for it.
        let unused = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        match state {
            _ if unused => Ok(None),
            Found::OtherVersion => Err(TableError::OtherVersion { path }),
            Found::OtherLog => Err(TableError::OtherLog { path }),
            // Those who use it will notice within a moment.
            Found::Retired => Ok(None),
            Found::OtherTime => Err(TableError::OtherTime { path }),
            _ => Err(TableError::Damaged { path }),
        }
    }

    fn judge(&self, file: &File, bytes: u64) -> Found {
        let word = |at: usize| {
            let mut word = [0; size_of::<u64>()];
            file.read_exact_at(&mut word, (at * size_of::<u64>()) as u64).ok()?;
            Some(u64::from_le_bytes(word))
        };
        if word(AT_MAGIC) != Some(MAGIC) {
            return Found::Damaged;
        }
        if word(AT_VERSION) != Some(VERSION) {
            return Found::OtherVersion;
        }
        if word(AT_RETIRED) != Some(0) {
            return Found::Retired;
        }
        if word(AT_BOOT) != Some(self.boot) {
            return Found::OtherTime;
        }
        if word(AT_LOG) != Some(self.log) {
            return Found::OtherLog;
        }
        let is_whole = word(AT_SIZE) == Some(size_word(self.has_bus()))
            && bytes == bytes_of_table(self.has_bus()) as u64
            && word(CLOCK).is_some_and(|clock| clock != 0);
        if is_whole { Found::Ours } else { Found::Damaged }
    }

    fn make(&self) -> Result<(Mapping, FileId), TableError> {
        let unfinished = self.path.with_extension("new");
        // Left there by somebody who died while making one; we hold the lock.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.system(error));
            }
            _ => {}
        }
        let file = self.open_file("new", OFlags::CREATE | OFlags::EXCL | OFlags::RDWR)?;
        let made = self.fill(file).and_then(|made| {
            fs::rename(&unfinished, &self.path)?;
            Ok(made)
        });
        made.map_err(|error| {
            // It takes room on a file system that may have none.
            let _ = fs::remove_file(&unfinished);
            self.system(error)
        })
    }

    fn fill(&self, file: File) -> io::Result<(Mapping, FileId)> {
        allocate(&file, bytes_of_table(self.has_bus()) as u64)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)?;
        let id = FileId::of(&file.metadata()?);
        let mapping = Mapping::shared(file, self.has_bus())?;
        let mut identity = [0; size_of::<u64>()];
        getrandom::fill(&mut identity).map_err(io::Error::other)?;
        let start = nanoseconds_since_start();
        let words = [
            (AT_VERSION, VERSION),
            (AT_SIZE, size_word(self.has_bus())),
            (AT_BOOT, self.boot),
            (AT_SUSPENDED, crate::suspension::so_far()),
            (AT_IDENTITY, u64::from_le_bytes(identity)),
            (AT_LOG, self.log),
            (CLOCK, start),
            (FLOOR, start),
            (AT_MAGIC, MAGIC),
        ];
        for (at, word) in words {
            if let Some(place) = mapping.head().get(at) {
                place.store(word, Ordering::Release);
            }
        }
        Ok((mapping, id))
    }

    fn system(&self, error: io::Error) -> TableError {
        TableError::System { path: self.path.clone(), error }
    }
}

fn directory(which: &SharedTable) -> PathBuf {
    const IN_MEMORY: &str = "/dev/shm";
    let named = || std::env::var_os(DIRECTORY_VARIABLE).filter(|name| !name.is_empty());
    which.directory.clone().or_else(|| named().map(PathBuf::from)).unwrap_or_else(|| {
        let in_memory = PathBuf::from(IN_MEMORY);
        if in_memory.is_dir() { in_memory } else { std::env::temp_dir() }
    })
}

/// Takes the room now, so that a full file system gives an error and not a signal later.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            static BLOCK: [u8; 1 << 16] = [0; 1 << 16];
            let starts = (0..bytes).step_by(BLOCK.len());
            for start in starts {
                let left = (bytes - start).min(BLOCK.len() as u64) as usize;
                file.write_all_at(BLOCK.get(..left).unwrap_or(&BLOCK), start)?;
            }
            Ok(())
        }
        allocated => Ok(allocated?),
    }
}

fn nanoseconds_since_start() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    // One at least: 0 is what memory says that was never written.
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64).max(1)
}

/// Tells one life of the machine from another, and worlds apart whose clocks differ.
fn life_of_the_machine() -> u64 {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let clocks = fs::read_link("/proc/self/ns/time").unwrap_or_default();
    let both = [&boot, clocks.as_os_str().as_encoded_bytes()].concat();
    super::slots::fingerprint(&both)
}
