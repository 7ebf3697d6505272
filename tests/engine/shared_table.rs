//! The table that processes share: the file it lies in, and what may be wrong with that.
//!
//! Two tables opened from one file in this process have as little in common as two processes.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use velro_cache::engine::clock::{Clock, ManualClock};
use velro_cache::invalidation::{
    Covered, InvalidationTable, SharedTable, Sharing, Slot, TableError,
};

const SLOT: Slot = 7;
const WHAT: Covered<'_> = Covered { slots: &[SLOT], patterns: &[], all: false };

/// A folder of one test, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("velro-cache-table-tests-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn which(&self, log: u64) -> SharedTable {
        SharedTable { directory: Some(self.0.clone()), name: "api".into(), log }
    }

    fn open(&self) -> Result<InvalidationTable, TableError> {
        InvalidationTable::shared(&self.which(0))
    }

    /// The file of a table, which need not be there.
    fn file(&self) -> PathBuf {
        let table = self.open().unwrap();
        table.path().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn what_one_invalidates_the_other_does_not_believe() {
    let folder = Folder::new();
    let (here, there) = (folder.open().unwrap(), folder.open().unwrap());
    assert_eq!(here.sharing(), Sharing::Shared);
    assert_eq!(here.identity(), there.identity());
    let stamp = there.now();
    here.invalidate_slots(&[SLOT]);
    assert!(!there.is_current(stamp, &[SLOT]));
    assert!(there.is_current(stamp, &[SLOT + 1]));
    here.invalidate_pattern(b"auth:*:access");
    assert!(there.is_covered(&[b"auth:user:1:access"], stamp, 0));
    assert!(!there.is_covered(&[b"auth:user:1:profile"], stamp, 0));
    here.invalidate_all();
    assert!(!there.is_current(stamp, &[SLOT + 1]));
}

#[test]
fn only_its_owner_may_see_a_table() {
    let folder = Folder::new();
    let file = folder.file();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
}

#[test]
fn a_table_outlives_those_who_use_it() {
    let folder = Folder::new();
    let (stamp, identity) = {
        let table = folder.open().unwrap();
        (table.now(), table.identity())
    };
    folder.open().unwrap().invalidate_slots(&[SLOT]);
    let table = folder.open().unwrap();
    assert_eq!(table.identity(), identity);
    assert!(!table.is_current(stamp, &[SLOT]));
}

#[test]
fn nothing_from_an_earlier_table_is_believed_under_a_later_one() {
    let folder = Folder::new();
    let file = folder.file();
    let table = folder.open().unwrap();
    (0..100).for_each(|_| table.invalidate_slots(&[SLOT]));
    let stamp = table.now();
    fs::remove_file(file).unwrap();
    let later = folder.open().unwrap();
    assert_ne!(later.identity(), table.identity());
    assert!(later.now() > stamp);
    assert!(!later.is_current(stamp, &[]));
}

#[test]
fn somebody_who_has_a_removed_file_open_hears_and_is_heard() {
    let folder = Folder::new();
    let (first, second) = (folder.open().unwrap(), folder.open().unwrap());
    fs::remove_file(folder.file()).unwrap();
    // The first finds the file gone and makes another one; what it writes, it writes to both.
    let stamp = second.now();
    first.invalidate_slots(&[SLOT]);
    assert!(!second.is_current(stamp, &[SLOT]));
    // The second notices when it invalidates itself, and writes to both as well.
    let stamp = first.now();
    second.invalidate_slots(&[SLOT]);
    assert!(!first.is_current(stamp, &[SLOT]));
    assert_eq!(first.identity(), second.identity());
}

#[test]
fn a_folder_or_file_that_others_may_use_is_refused() {
    for (mode, of_folder) in [(0o711, true), (0o777, true), (0o640, false), (0o602, false)] {
        let folder = Folder::new();
        let file = folder.file();
        let which = if of_folder { file.parent().unwrap() } else { &file };
        fs::set_permissions(which, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(folder.open(), Err(TableError::Unsafe { .. })), "{mode:o} {of_folder}");
    }
}

#[test]
fn links_and_folders_are_not_taken_for_tables() {
    let folder = Folder::new();
    let file = folder.file();
    fs::remove_file(&file).unwrap();
    let elsewhere = folder.0.join("elsewhere");
    fs::write(&elsewhere, "somebody's").unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert!(matches!(folder.open(), Err(TableError::Unsafe { .. })));
    assert_eq!(fs::read(&elsewhere).unwrap(), b"somebody's");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(folder.open().is_err());
}

#[test]
fn what_is_left_over_is_replaced_and_what_is_in_use_is_not() {
    // Word 0 says what it is, 1 of which version, 2 how large, 3 in which life of the machine.
    for word in 0..4 {
        let folder = Folder::new();
        let file = folder.file();
        overwrite(&file, word * 8, &[0xFF; 8]);
        let table = folder.open().unwrap();
        assert!(table.is_current(table.now(), &[SLOT]), "word {word}");
        // Now somebody uses it.
        overwrite(&file, word * 8, &[0xFF; 8]);
        let refused = folder.open().err();
        match word {
            0 | 2 => assert!(matches!(refused, Some(TableError::Damaged { .. })), "{refused:?}"),
            1 => assert!(matches!(refused, Some(TableError::OtherVersion { .. })), "{refused:?}"),
            _ => assert!(matches!(refused, Some(TableError::OtherTime { .. })), "{refused:?}"),
        }
    }
}

#[test]
fn files_that_are_too_short_are_replaced() {
    for bytes in [0, 1, 63, 4096, 1 << 20] {
        let folder = Folder::new();
        let file = folder.file();
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(bytes).unwrap();
        let table = folder.open().unwrap();
        table.invalidate_slots(&[SLOT]);
        assert!(fs::metadata(&file).unwrap().len() > 1 << 20);
    }
}

#[test]
fn processes_of_one_name_read_one_log() {
    let folder = Folder::new();
    let with_log = InvalidationTable::shared(&folder.which(5)).unwrap();
    assert!(matches!(folder.open(), Err(TableError::OtherLog { .. })));
    let again = InvalidationTable::shared(&folder.which(5)).unwrap();
    assert_eq!(again.identity(), with_log.identity());
    drop((with_log, again));
    // Nobody uses it any more, so settings may have changed.
    assert_eq!(folder.open().unwrap().sharing(), Sharing::Shared);
}

#[test]
fn names_do_not_leave_their_folder() {
    let folder = Folder::new();
    let mut which = folder.which(0);
    which.name = "my.api.v2".into();
    let table = InvalidationTable::shared(&which).unwrap();
    assert!(table.path().unwrap().ends_with("my.api.v2.table"));
    assert_ne!(table.identity(), folder.open().unwrap().identity());
}

#[test]
fn a_place_that_is_not_there_is_an_error_that_says_what_to_do() {
    let folder = Folder::new();
    let which = SharedTable { directory: Some(folder.0.join("missing")), ..folder.which(0) };
    let error = InvalidationTable::shared(&which).unwrap_err();
    assert!(matches!(error, TableError::System { .. }));
    assert!(error.to_string().contains("shared_memory_directory"), "{error}");
}

/// The watching thread replaces the table between the write of an invalidation and the look
/// whether the table is still the one that others use.
#[test]
fn an_invalidation_is_not_lost_while_the_table_is_replaced() {
    use velro_cache::invalidation::watch;
    let folder = Folder::new();
    let mut lost = 0;
    for _ in 0..3_000 {
        let here = Arc::new(folder.open().unwrap());
        watch::watch(&here);
        fs::remove_file(here.path().unwrap()).unwrap();
        let there = folder.open().unwrap();
        let stamp = there.now();
        let looking = std::thread::spawn(watch::look);
        here.invalidate_slots(&[SLOT]);
        lost += u32::from(there.is_current(stamp, &[SLOT]));
        looking.join().unwrap();
    }
    assert_eq!(lost, 0, "times the table that all use never heard of it");
}

/// A table with a log that has just heard from it, and nothing is in there.
fn listening(folder: &Folder) -> InvalidationTable {
    let table = InvalidationTable::shared(&folder.which(5)).unwrap();
    // Somebody else who shares it may have done so already.
    table.adopt(table.known().position, 1, 0);
    table.renew_lease(table.known().position, 100);
    table
}

/// Whether a value that another host stored before anything was invalidated may be believed.
fn admits(table: &InvalidationTable) -> bool {
    table.admits(&[SLOT], 1, 0)
}

#[test]
fn what_is_pending_is_noted_in_the_table_that_is_told() {
    let folder = Folder::new();
    let here = listening(&folder);
    fs::remove_file(here.path().unwrap()).unwrap();
    let there = listening(&folder);
    assert!(admits(&there));
    // Whoever invalidates finds the file gone only after it has written to it.
    let told = here.revoke(&WHAT);
    assert_eq!(told, there.identity());
    assert!(!admits(&there), "the next table has no note");
    here.end_pending(&WHAT, told);
    assert!(admits(&there), "it is noted twice");
}

#[test]
fn whoever_has_a_removed_file_open_knows_of_what_is_pending() {
    let folder = Folder::new();
    let (here, late) = (listening(&folder), listening(&folder));
    fs::remove_file(here.path().unwrap()).unwrap();
    // Notices, and goes on with another table.
    here.invalidate_slots(&[SLOT + 1]);
    assert_ne!(here.identity(), late.identity());
    assert!(admits(&late));
    let _told = here.revoke(&WHAT);
    assert!(!admits(&late));
}

#[test]
fn what_was_pending_in_one_table_ends_in_no_other() {
    let folder = Folder::new();
    let here = listening(&folder);
    let before = here.revoke(&WHAT);
    fs::remove_file(here.path().unwrap()).unwrap();
    let there = listening(&folder);
    let told = there.revoke(&WHAT);
    here.invalidate_slots(&[SLOT + 1]);
    assert_eq!(here.identity(), told);
    here.end_pending(&WHAT, before);
    assert!(!admits(&there), "somebody else's note was taken away");
    // Nor is an entry one's own there that only the former was told.
    let stamp = there.now();
    here.note_own(1, 1, before);
    there.apply(there.known().position.at(1), &WHAT);
    assert!(!there.is_current(stamp, &[SLOT]));
}

#[test]
fn a_file_that_comes_back_is_noted_in_once() {
    let folder = Folder::new();
    let here = listening(&folder);
    let file = here.path().unwrap();
    let aside = file.with_extension("aside");
    fs::rename(file, &aside).unwrap();
    // Notices, and goes on with another table; then the first one is there again.
    here.invalidate_slots(&[SLOT + 1]);
    fs::rename(&aside, file).unwrap();
    let told = here.revoke(&WHAT);
    let there = listening(&folder);
    assert_eq!(told, there.identity());
    assert!(!admits(&there));
    here.end_pending(&WHAT, told);
    assert!(admits(&there), "it is noted twice");
}

#[test]
fn an_answer_for_one_table_is_not_applied_to_the_next() {
    // Epochs of two tables may be the same by chance, though hardly three times in a row.
    let is_refused = |_| {
        let folder = Folder::new();
        let here = listening(&folder);
        let known = here.known();
        fs::remove_file(here.path().unwrap()).unwrap();
        let there = listening(&folder);
        here.invalidate_slots(&[SLOT + 1]);
        assert_eq!(here.known(), there.known());
        here.renew_lease(known.position, 900);
        !here.apply(known.position.at(1), &WHAT) && there.lease() == Some(100)
    };
    assert!((0..3).any(is_refused));
}

#[test]
fn all_who_share_a_table_learn_of_a_suspension_at_once() {
    let folder = Folder::new();
    let (here, there) = (listening(&folder), listening(&folder));
    let clock = Arc::new(ManualClock::default());
    let clock = (Arc::clone(&clock), Clock::Manual(clock));
    let stamp = there.now();
    assert!(there.holds_lease(200, 1_000));
    clock.0.suspend(Duration::from_secs(3600));
    assert!(here.note_suspension(clock.1.suspended()));
    assert!(!there.holds_lease(200, 1_000));
    assert!(!there.is_current(stamp, &[]));
    assert!(!there.note_suspension(clock.1.suspended()));
}
