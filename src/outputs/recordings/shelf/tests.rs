//! The books of the folder, with real files.

use super::*;
use crate::config::settings::WhichClock;
use crate::outputs::recordings::keep::Room;
use crate::outputs::recordings::name::ending_of;

const KEEP: Keep = Keep { days: None, size: None, free: 0, clock: WhichClock::Synchronised };

fn shelf(keep: Keep) -> (tempfile::TempDir, Shelf) {
    let folder = tempfile::tempdir().unwrap();
    let shelf = runtime().block_on(Shelf::open(folder.path().to_owned(), keep)).unwrap();
    (folder, shelf)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn write(shelf: &Shelf, file: &str) {
    fs::write(shelf.folder().join(file), "film").unwrap();
}

#[test]
fn the_books_know_what_lies_in_the_folder_the_newest_first() {
    let (_folder, shelf) = shelf(KEEP);
    for file in [
        "b_2026-01-02_00-00-00.mp4",
        "a_2026-01-03_00-00-00.ts",
        "a_2026-01-01_00-00-00.part.mp4",
        "a_2026-01-01_00-00-00.txt",
        "film.mp4",
    ] {
        write(&shelf, file);
    }
    shelf.read();
    let names = |before: Option<&Name>, limit| {
        let found = shelf.list(before, limit, |_| true);
        found.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 2), ["a_2026-01-03_00-00-00.ts", "b_2026-01-02_00-00-00.mp4"]);
    let before = "b_2026-01-02_00-00-00.mp4".parse().unwrap();
    assert_eq!(names(Some(&before), 9), ["a_2026-01-01_00-00-00.mp4"]);
    // What may not be shown takes no place either.
    let of_b = shelf.list(None, 1, |stream| stream.as_str() == "b");
    assert_eq!(of_b[0].0.to_string(), "b_2026-01-02_00-00-00.mp4");
    let (unfinished, known, bytes) = shelf.unfinished().unwrap();
    assert_eq!(
        (unfinished.to_string().as_str(), known, bytes),
        ("a_2026-01-01_00-00-00.mp4", None, 4)
    );
}

#[test]
fn what_is_being_recorded_is_neither_deleted_nor_begun_twice() {
    let (_folder, shelf) = shelf(Keep { size: Some(1), ..KEEP });
    let stream = "front".parse().unwrap();
    let (one, other) = (shelf.begin(&stream, "mp4").unwrap(), shelf.begin(&stream, "mp4").unwrap());
    assert_ne!(one, other);
    shelf.grown(&one, 100, Duration::from_secs(1));
    shelf.make_room(Room::Going).unwrap();
    assert_eq!(shelf.delete(&one), Err(NotDeleted::Recording));
    shelf.ended(&one, None);
    shelf.make_room(Room::Going).unwrap();
    assert_eq!(shelf.find(&one), None);
    assert_eq!(shelf.delete(&one), Err(NotDeleted::NoSuch));
}

#[test]
fn a_new_file_takes_the_place_of_the_original_in_one_step() {
    let (_folder, shelf) = shelf(KEEP);
    let name = shelf.begin(&"front".parse().unwrap(), ending_of("video/mp4")).unwrap();
    fs::write(name.path(shelf.folder(), Stage::Part), "fragments").unwrap();
    shelf.grown(&name, 9, Duration::from_secs(1));
    shelf.ended(&name, None);
    assert!(shelf.finished(&name, Stage::New).is_err());
    assert!(name.path(shelf.folder(), Stage::Part).exists());
    fs::write(name.path(shelf.folder(), Stage::New), "film").unwrap();
    shelf.finished(&name, Stage::New).unwrap();
    assert_eq!(fs::read_dir(shelf.folder()).unwrap().count(), 1);
    let entry = shelf.find(&name).unwrap();
    assert_eq!((entry.state, entry.bytes), (State::Finished, 4));
    assert_eq!(shelf.sums().usage.iter().map(|(_, of)| of.written).sum::<u64>(), 13);
}

#[test]
fn each_stream_has_its_own_sums() {
    let (_folder, shelf) = shelf(KEEP);
    write(&shelf, "old_2026-01-01_00-00-00.mp4");
    write(&shelf, "front_2026-01-02_00-00-00.mp4");
    shelf.read();
    let name = shelf.begin(&"front".parse().unwrap(), "mp4").unwrap();
    shelf.grown(&name, 9, Duration::from_secs(1));

    let usage = shelf.sums().usage;
    let of = |stream: &str| {
        let (_, usage) = usage.iter().find(|(name, _)| name.as_str() == stream).unwrap();
        (usage.count, usage.bytes, usage.written, usage.written_today)
    };
    assert_eq!((usage.len(), of("front"), of("old")), (2, (2, 13, 9, 9), (1, 4, 0, 0)));
}

#[test]
fn a_folder_that_is_gone_is_told() {
    let (folder, shelf) = shelf(KEEP);
    folder.close().unwrap();
    let failure = shelf.make_room(Room::Begin).unwrap_err().to_string();
    assert!(failure.contains("is not there"), "{failure}");
    let lost = runtime().block_on(Shelf::open(PathBuf::from("/nowhere/at/all"), KEEP));
    assert!(lost.is_err());
}

#[test]
fn a_link_is_never_followed() {
    let (folder, shelf) = shelf(KEEP);
    let target = folder.path().join("precious");
    fs::write(&target, "precious").unwrap();
    let name = "a_2026-01-01_00-00-00.mp4";
    std::os::unix::fs::symlink(&target, folder.path().join(name)).unwrap();
    shelf.read();
    assert_eq!(shelf.list(None, 9, |_| true), []);
    // One that takes the place of a recording later leads nowhere either.
    fs::remove_file(folder.path().join(name)).unwrap();
    write(&shelf, name);
    shelf.read();
    fs::remove_file(folder.path().join(name)).unwrap();
    std::os::unix::fs::symlink(&target, folder.path().join(name)).unwrap();
    assert!(shelf.serve(&name.parse().unwrap()).is_none());
}

#[test]
fn bytes_are_counted_by_day() {
    let day = |text: &str| text.parse::<jiff::civil::Date>().unwrap();
    let mut wear = Wear::default();
    wear.add(5, day("2026-11-27"));
    wear.add(7, day("2026-11-28"));
    assert_eq!((wear.all, wear.today, wear.yesterday), (12, 7, 5));
    wear.turn(day("2026-11-30"));
    assert_eq!((wear.all, wear.today, wear.yesterday), (12, 0, 0));
}
