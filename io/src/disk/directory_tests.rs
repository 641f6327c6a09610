//! A data directory holds either the old shards or the new ones, whole, wherever a move was interrupted.

use super::*;
use crate::disk::scratch::Scratch;
use std::collections::BTreeMap;

const LAYOUT: Layout = Layout { shards: 3, log_id: [7; 16], created_unix_ms: 1 };

fn with_shards(shards: u16) -> Layout {
    Layout { shards, ..LAYOUT }
}

/// Steps that end after so many.
fn crash_after(steps: usize) -> Steps {
    let limited = Steps::default();
    limited.left.set(Some(steps));
    limited
}

fn is_crash(error: &DirectoryError) -> bool {
    matches!(error, DirectoryError::Io { error, .. } if error.kind() == io::ErrorKind::Other)
}

/// A directory of so many shards, each with two segments that say whose they are.
fn filled(path: &Path, shards: u16) {
    let mut directory = Directory::open(path).expect("a directory");
    directory.create(with_shards(shards)).expect("created");
    for shard in 0..shards {
        write_log(&directory.shard(shard), "old", shard);
    }
}

fn write_log(folder: &Path, generation: &str, shard: u16) {
    for segment in 1..=2 {
        let file = folder.join(format!("000000000{segment}.log"));
        fs::write(file, format!("{generation} {shard} {segment}")).expect("written");
    }
}

/// Everything below a path: file names with their contents, and folders.
fn content(path: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).expect("readable").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            if path.is_dir() {
                found.insert(format!("{name}/"), String::new());
                walk(root, &path, found);
            } else if name != LOCK {
                found.insert(name, fs::read_to_string(&path).expect("readable"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(path, path, &mut found);
    found
}

/// What a directory holds after a whole move, or without one.
fn expected(generation: &str, shards: u16) -> BTreeMap<String, String> {
    let mut expected = BTreeMap::from([(DESCRIPTOR.to_owned(), with_shards(shards).to_text())]);
    for shard in 0..shards {
        expected.insert(format!("shard-{shard}/"), String::new());
        for segment in 1..=2 {
            let text = format!("{generation} {shard} {segment}");
            expected.insert(format!("shard-{shard}/000000000{segment}.log"), text);
        }
    }
    expected
}

/// Opens with so many steps and moves to `to` shards. True when it went through; false at the simulated crash.
fn move_within(path: &Path, to: u16, steps: usize) -> bool {
    let moved = Directory::open_by(path, crash_after(steps)).and_then(|mut directory| {
        if directory.layout() == Some(with_shards(to)) {
            return Ok(());
        }
        directory.begin_move(to)?;
        for shard in 0..to {
            write_log(&directory.next(shard), "new", shard);
        }
        directory.finish_move(with_shards(to), false).map(|_| ())
    });
    if let Err(error) = &moved {
        assert!(is_crash(error), "{error}");
    }
    moved.is_ok()
}

#[test]
fn a_move_that_is_interrupted_anywhere_leaves_the_old_shards_or_the_new_ones() {
    for (from, to) in [(1, 2), (2, 1), (2, 4), (4, 3)] {
        let (mut olds, mut news) = (0, 0);
        for steps in 0.. {
            let scratch = Scratch::in_memory();
            filled(scratch.path(), from);
            let done = move_within(scratch.path(), to, steps);
            // The next start.
            let directory = Directory::open(scratch.path()).expect("opens after any crash");
            let shards = directory.layout().expect("it has a layout").shards;
            drop(directory);
            let found = content(scratch.path());
            if found == expected("old", from) && shards == from {
                olds += 1;
            } else {
                assert_eq!(found, expected("new", to), "{from} to {to} after {steps} steps");
                assert_eq!(shards, to);
                news += 1;
            }
            if done {
                break;
            }
        }
        assert!(olds > 3 && news > 5, "{from} to {to}: {olds} old, {news} new");
    }
}

#[test]
fn a_move_survives_any_two_crashes_and_goes_on_or_begins_anew() {
    let (from, to) = (3, 2);
    let mut finished_by_second = 0;
    for first in 0.. {
        let mut went_through = false;
        for second in 0.. {
            let scratch = Scratch::in_memory();
            filled(scratch.path(), from);
            went_through = move_within(scratch.path(), to, first);
            let again = move_within(scratch.path(), to, second);
            assert!(move_within(scratch.path(), to, usize::MAX), "after {first} and {second} steps");
            assert_eq!(content(scratch.path()), expected("new", to), "after {first} and {second} steps");
            if again {
                finished_by_second += 1;
                break;
            }
        }
        if went_through {
            break;
        }
    }
    assert!(finished_by_second > 20, "{finished_by_second}");
}

/// As [`move_within`], where the old shards could not be read fully.
fn move_damaged_within(path: &Path, to: u16, steps: usize) -> bool {
    let moved = Directory::open_by(path, crash_after(steps)).and_then(|mut directory| {
        if directory.layout() == Some(with_shards(to)) {
            return Ok(());
        }
        directory.begin_move(to)?;
        for shard in 0..to {
            write_log(&directory.next(shard), "new", shard);
        }
        directory.finish_move(with_shards(to), true).map(|_| ())
    });
    if let Err(error) = &moved {
        assert!(is_crash(error), "{error}");
    }
    moved.is_ok()
}

#[test]
fn what_could_not_be_read_fully_is_kept_wherever_a_move_is_interrupted() {
    let (from, to) = (3, 2);
    let kept = || {
        let old = expected("old", from).into_iter().map(|(name, text)| (format!("damaged-1/{name}"), text));
        old.chain([("damaged-1/".to_owned(), String::new())])
    };
    let (mut olds, mut news) = (0, 0);
    for steps in 0.. {
        let scratch = Scratch::in_memory();
        filled(scratch.path(), from);
        let done = move_damaged_within(scratch.path(), to, steps);
        drop(Directory::open(scratch.path()).expect("opens after any crash"));
        let found = content(scratch.path());
        if found == expected("old", from) {
            olds += 1;
        } else {
            let new: BTreeMap<String, String> = expected("new", to).into_iter().chain(kept()).collect();
            assert_eq!(found, new, "after {steps} steps");
            news += 1;
        }
        if done {
            break;
        }
    }
    assert!(olds > 3 && news > 5, "{olds} old, {news} new");
}

#[test]
fn what_is_kept_can_be_looked_at_and_does_not_get_in_the_way_of_another_move() {
    let scratch = Scratch::new();
    filled(scratch.path(), 3);
    for (to, kept) in [(2, "damaged-1"), (4, "damaged-2")] {
        let mut directory = Directory::open(scratch.path()).expect("free");
        let before = directory.layout().expect("it has a layout");
        directory.begin_move(to).expect("begun");
        for shard in 0..to {
            write_log(&directory.next(shard), "new", shard);
        }
        let path = directory.finish_move(with_shards(to), true).expect("moved").expect("it says where");
        assert_eq!(path, scratch.path().join(kept));
        let view = DirectoryView::open(&path).expect("a view");
        assert_eq!((view.layout, view.is_in_use), (before, false));
        assert!(view.shard(before.shards - 1).join("0000000002.log").exists());
    }
}

#[test]
fn making_a_directory_can_be_interrupted_anywhere() {
    for steps in 0.. {
        let scratch = Scratch::in_memory();
        let path = scratch.path().join("a").join("b");
        let made = Directory::open_by(&path, crash_after(steps)).and_then(|mut directory| directory.create(LAYOUT));
        let mut again = Directory::open(&path).expect("opens after any crash");
        if again.layout().is_none() {
            assert!(made.is_err());
            again.create(LAYOUT).expect("created");
        }
        drop(again);
        let mut folders: Vec<_> = (0..LAYOUT.shards).map(|shard| format!("shard-{shard}/")).collect();
        folders.insert(0, DESCRIPTOR.to_owned());
        assert_eq!(content(&path).into_keys().collect::<Vec<_>>(), folders);
        if made.is_ok() {
            assert!(steps > 6, "{steps}");
            break;
        }
    }
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let scratch = Scratch::new();
    let first = Directory::open(scratch.path()).expect("free");
    let error = Directory::open(scratch.path()).expect_err("held");
    assert_eq!(error.exit_code(), 75);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(first);
    assert!(Directory::open(scratch.path()).is_ok());
}

#[test]
fn what_is_not_ours_is_not_touched() {
    for name in ["notes.txt", "shard-0x", "next.bak", "shard-00"] {
        let scratch = Scratch::in_memory();
        fs::write(scratch.path().join(name), "mine").expect("written");
        let error = Directory::open(scratch.path()).expect_err("foreign");
        assert!(matches!(&error, DirectoryError::Foreign { found, .. } if found == name), "{error}");
        assert_eq!(error.exit_code(), 73);
        assert!(check(scratch.path()).is_err());
        assert_eq!(content(scratch.path()), BTreeMap::from([(name.to_owned(), "mine".to_owned())]));
    }
    // Logs without a descriptor: someone has removed it, and we cannot know how many shards there were.
    let scratch = Scratch::in_memory();
    filled(scratch.path(), 2);
    fs::remove_file(scratch.path().join(DESCRIPTOR)).expect("removed");
    assert!(matches!(Directory::open(scratch.path()), Err(DirectoryError::Foreign { .. })));
}

#[test]
fn a_directory_that_lacks_a_part_is_not_opened_as_if_it_were_whole() {
    let scratch = Scratch::in_memory();
    filled(scratch.path(), 3);
    fs::remove_dir_all(scratch.path().join("shard-1")).expect("removed");
    let error = Directory::open(scratch.path()).expect_err("a shard is missing");
    assert!(error.to_string().contains("shard-1"), "{error}");
    assert_eq!(error.exit_code(), 65);
    let text = with_shards(3).to_text().replace("\"format\": 1", "\"format\": 2");
    fs::write(scratch.path().join(DESCRIPTOR), text).expect("written");
    assert!(matches!(Directory::open(scratch.path()), Err(DirectoryError::Format { format: 2, .. })));
}

#[test]
fn a_view_needs_a_whole_directory_and_says_whether_it_is_in_use() {
    let scratch = Scratch::new();
    assert!(DirectoryView::open(scratch.path()).is_err());
    filled(scratch.path(), 2);
    let view = DirectoryView::open(scratch.path()).expect("a view");
    assert_eq!((view.layout.shards, view.is_in_use), (2, false));
    assert!(view.shard(1).join("0000000002.log").exists());
    let held = Directory::open(scratch.path()).expect("free");
    assert!(DirectoryView::open(scratch.path()).expect("a view").is_in_use);
    drop(held);
    fs::write(scratch.path().join(SWITCH), LAYOUT.to_text()).expect("written");
    assert!(DirectoryView::open(scratch.path()).is_err());
}

#[test]
fn a_check_makes_nothing() {
    let scratch = Scratch::in_memory();
    let missing = scratch.path().join("a").join("b");
    assert!(matches!(check(&missing), Ok(None)));
    assert!(content(scratch.path()).is_empty());
    filled(scratch.path(), 2);
    assert!(matches!(check(scratch.path()), Ok(Some(layout)) if layout.shards == 2));
    let file = scratch.path().join("file");
    fs::write(&file, "x").expect("written");
    for path in [&file, &file.join("below")] {
        let error = check(path).expect_err("not a directory");
        assert_eq!(error.exit_code(), 73, "{error}");
    }
}
