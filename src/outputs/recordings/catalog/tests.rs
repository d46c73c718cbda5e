//! The catalog, with real files.

use super::*;
use crate::config::settings::WhichClock;
use crate::outputs::recordings::name::extension_for;
use crate::outputs::recordings::retention::Headroom;

const KEEP: Retention =
    Retention { days: None, size: None, free: 0, clock: WhichClock::Synchronised };

fn catalog(keep: Retention) -> (tempfile::TempDir, Catalog) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = runtime().block_on(Catalog::open(folder.path().to_owned(), keep)).unwrap();
    (folder, catalog)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn write(catalog: &Catalog, file: &str) {
    fs::write(catalog.folder().join(file), "data").unwrap();
}

#[test]
fn the_catalog_lists_the_folder_the_newest_first() {
    let (_folder, catalog) = catalog(KEEP);
    for file in [
        "b_2026-01-02_00-00-00.mp4",
        "a_2026-01-03_00-00-00.ts",
        "a_2026-01-01_00-00-00.part.mp4",
        "a_2026-01-01_00-00-00.txt",
        "film.mp4",
    ] {
        write(&catalog, file);
    }
    catalog.read();
    let names = |before: Option<&Name>, limit| {
        let found = catalog.list(before, limit, |_| true);
        found.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 2), ["a_2026-01-03_00-00-00.ts", "b_2026-01-02_00-00-00.mp4"]);
    let before = "b_2026-01-02_00-00-00.mp4".parse().unwrap();
    assert_eq!(names(Some(&before), 9), ["a_2026-01-01_00-00-00.mp4"]);
    // Streams that may not be shown do not count towards the limit.
    let of_b = catalog.list(None, 1, |stream| stream.as_str() == "b");
    assert_eq!(of_b[0].0.to_string(), "b_2026-01-02_00-00-00.mp4");
    let unfinished = catalog.next_unfinished().unwrap();
    assert_eq!(unfinished.name.to_string(), "a_2026-01-01_00-00-00.mp4");
    assert_eq!((unfinished.summary, unfinished.bytes), (None, 4));
}

#[test]
fn a_running_recording_is_neither_deleted_nor_started_twice() {
    let (_folder, catalog) = catalog(Retention { size: Some(1), ..KEEP });
    let stream = "front".parse().unwrap();
    let (one, other) = (
        catalog.reserve_name(&stream, "mp4").unwrap(),
        catalog.reserve_name(&stream, "mp4").unwrap(),
    );
    assert_ne!(one, other);
    catalog.set_progress(&one, 100, Duration::from_secs(1));
    catalog.make_headroom(Headroom::Continue).unwrap();
    assert_eq!(catalog.delete(&one), Err(DeleteError::Recording));
    catalog.set_waiting(&one, None);
    catalog.make_headroom(Headroom::Continue).unwrap();
    assert_eq!(catalog.find(&one), None);
    assert_eq!(catalog.delete(&one), Err(DeleteError::NoSuch));
}

#[test]
fn a_finished_file_replaces_the_original_atomically() {
    let (_folder, catalog) = catalog(KEEP);
    let name = catalog.reserve_name(&"front".parse().unwrap(), extension_for("video/mp4")).unwrap();
    fs::write(name.path(catalog.folder(), Stage::Part), "fragments").unwrap();
    catalog.set_progress(&name, 9, Duration::from_secs(1));
    catalog.set_waiting(&name, None);
    assert!(catalog.install(&name, Stage::New).is_err());
    assert!(name.path(catalog.folder(), Stage::Part).exists());
    fs::write(name.path(catalog.folder(), Stage::New), "data").unwrap();
    catalog.install(&name, Stage::New).unwrap();
    assert_eq!(fs::read_dir(catalog.folder()).unwrap().count(), 1);
    let entry = catalog.find(&name).unwrap();
    assert_eq!((entry.state, entry.bytes), (State::Finished, 4));
    assert_eq!(catalog.totals().usage.iter().map(|(_, of)| of.written).sum::<u64>(), 13);
}

#[test]
fn totals_are_kept_by_stream() {
    let (_folder, catalog) = catalog(KEEP);
    write(&catalog, "old_2026-01-01_00-00-00.mp4");
    write(&catalog, "front_2026-01-02_00-00-00.mp4");
    catalog.read();
    let name = catalog.reserve_name(&"front".parse().unwrap(), "mp4").unwrap();
    catalog.set_progress(&name, 9, Duration::from_secs(1));

    let usage = catalog.totals().usage;
    let of = |stream: &str| {
        let (_, usage) = usage.iter().find(|(name, _)| name.as_str() == stream).unwrap();
        (usage.count, usage.bytes, usage.written, usage.written_today)
    };
    assert_eq!((usage.len(), of("front"), of("old")), (2, (2, 13, 9, 9), (1, 4, 0, 0)));
}

#[test]
fn a_missing_folder_is_an_error() {
    let (folder, catalog) = catalog(KEEP);
    folder.close().unwrap();
    let failure = catalog.make_headroom(Headroom::Start).unwrap_err().to_string();
    assert!(failure.contains("is not available"), "{failure}");
    let lost = runtime().block_on(Catalog::open(PathBuf::from("/nowhere/at/all"), KEEP));
    assert!(lost.is_err());
}

#[test]
fn a_link_is_never_followed() {
    let (folder, catalog) = catalog(KEEP);
    let target = folder.path().join("precious");
    fs::write(&target, "precious").unwrap();
    let name = "a_2026-01-01_00-00-00.mp4";
    std::os::unix::fs::symlink(&target, folder.path().join(name)).unwrap();
    catalog.read();
    assert_eq!(catalog.list(None, 9, |_| true), []);
    // Nor is a link that replaces the file of a recording later.
    fs::remove_file(folder.path().join(name)).unwrap();
    write(&catalog, name);
    catalog.read();
    fs::remove_file(folder.path().join(name)).unwrap();
    std::os::unix::fs::symlink(&target, folder.path().join(name)).unwrap();
    assert!(catalog.open_file(&name.parse().unwrap()).is_none());
}

#[test]
fn bytes_are_counted_by_day() {
    let day = |text: &str| text.parse::<jiff::civil::Date>().unwrap();
    let mut written = BytesWritten::default();
    written.add(5, day("2026-11-27"));
    written.add(7, day("2026-11-28"));
    assert_eq!((written.all, written.today, written.yesterday), (12, 7, 5));
    written.roll_over(day("2026-11-30"));
    assert_eq!((written.all, written.today, written.yesterday), (12, 0, 0));
}
