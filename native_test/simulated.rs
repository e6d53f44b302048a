//! The simulated file system itself: it must lose and keep what a real one may, or the tests that
//! rely on it prove nothing.

mod simulated_faults;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_index::Index;
use lsm_index::fs::{File, FileSystem};
use support::config;
use support::simulated::{CrashPoint, Loss, PendingOp, Simulated};

fn path(name: &str) -> &Path {
    Path::new(name)
}

fn append(file: &Arc<dyn File>, text: &str) {
    assert_eq!(file.append(text.as_bytes()).expect("append"), text.len());
}

/// A machine with these files, all durable.
fn machine(files: &[(&str, &str)]) -> Simulated {
    let sim = Simulated::new();
    files.iter().for_each(|(name, text)| sim.set_file(name, text.as_bytes()));
    sim
}

fn texts(sim: &Simulated) -> BTreeMap<PathBuf, String> {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    sim.files().into_iter().map(|(path, bytes)| (path, text(bytes))).collect()
}

#[track_caller]
fn expect_files(sim: &Simulated, files: &[(&str, &str)]) {
    let files: BTreeMap<_, _> = files.iter().map(|&(p, t)| (p.into(), t.to_string())).collect();
    assert_eq!(texts(sim), files);
}

#[track_caller]
fn expect_kind<T>(outcome: io::Result<T>, kind: ErrorKind) {
    assert_eq!(outcome.map(drop).expect_err("it cannot be done").kind(), kind);
}

/// The one crash point before an operation.
fn point<'p>(points: &'p [CrashPoint], operation: &str) -> &'p CrashPoint {
    let mut found = points.iter().filter(|point| point.operation == operation);
    let all = || points.iter().map(|point| &point.operation).collect::<Vec<_>>();
    let point = found.next().unwrap_or_else(|| panic!("no {operation}: {:?}", all()));
    assert!(found.next().is_none(), "more than one {operation}");
    point
}

/// The variants of one kind as "path=text" lists, "(none)" where no file is left.
fn contents(point: &CrashPoint, loss: Loss) -> BTreeSet<String> {
    let list = |sim: &Simulated| {
        let files: Vec<_> =
            texts(sim).iter().map(|(path, text)| format!("{}={text}", path.display())).collect();
        if files.is_empty() { "(none)".into() } else { files.join(" ") }
    };
    let all = point.variants();
    let lists: Vec<_> = all.iter().filter(|v| v.2 == loss).map(|v| list(&v.1)).collect();
    let set: BTreeSet<_> = lists.iter().cloned().collect();
    assert_eq!(set.len(), lists.len(), "a state comes twice: {lists:?}");
    set
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn a_power_failure_loses_what_is_not_synced_and_a_dead_process_nothing() {
    let sim = machine(&[("/a", "old")]);
    let file = sim.open(path("/a")).expect("open");
    append(&file, " synced");
    file.sync().expect("sync");
    append(&file, " not");
    expect_files(&sim.crash(Loss::Unsynced), &[("/a", "old synced")]);
    let dead = sim.crash(Loss::Nothing);
    expect_files(&dead, &[("/a", "old synced not")]);
    expect_files(&dead.crash(Loss::Unsynced), &[("/a", "old synced not")]);
    // Unless it is to be lost by a power failure that comes later.
    let killed = sim.killed();
    expect_files(&killed, &[("/a", "old synced not")]);
    expect_files(&killed.crash(Loss::Unsynced), &[("/a", "old synced")]);
    file.truncate(1).expect("truncate");
    expect_files(&sim, &[("/a", "o")]);
    expect_files(&sim.crash(Loss::Unsynced), &[("/a", "old synced")]);

    let boots = [&dead, &killed, &sim.crash(Loss::Unsynced)].map(FileSystem::boot_id);
    assert_eq!(boots[..2], [sim.boot_id(), sim.boot_id()]);
    assert_ne!(boots[2], sim.boot_id());
}

#[test]
fn names_are_durable_when_their_directory_is_synced() {
    let sim = machine(&[("/a", "old")]);
    sim.create_dir(path("/d")).expect("directory");
    let file = sim.create(path("/d/new")).expect("create");
    append(&file, "new");
    file.sync().expect("sync");
    sim.sync_dir(path("/d")).expect("sync");
    // The directory's own name is an entry of the root.
    expect_files(&sim.crash(Loss::Unsynced), &[("/a", "old")]);
    sim.sync_dir(path("/")).expect("sync");
    expect_files(&sim.crash(Loss::Unsynced), &[("/a", "old"), ("/d/new", "new")]);

    sim.rename(path("/d/new"), path("/d/a")).expect("rename");
    sim.remove(path("/a")).expect("remove");
    expect_files(&sim, &[("/d/a", "new")]);
    expect_files(&sim.crash(Loss::Unsynced), &[("/a", "old"), ("/d/new", "new")]);
    sim.sync_dir(path("/d")).expect("sync");
    expect_files(&sim.crash(Loss::Unsynced), &[("/a", "old"), ("/d/a", "new")]);
}

#[test]
fn a_rename_that_is_not_synced_leaves_the_old_file() {
    let sim = machine(&[("/m", "old")]);
    let file = sim.create(path("/m.tmp")).expect("create");
    append(&file, "new");
    file.sync().expect("sync");
    sim.rename(path("/m.tmp"), path("/m")).expect("rename");
    expect_files(&sim, &[("/m", "new")]);
    expect_files(&sim.crash(Loss::Unsynced), &[("/m", "old")]);
    sim.sync_dir(path("/")).expect("sync");
    expect_files(&sim.crash(Loss::Unsynced), &[("/m", "new")]);
}

/// Between two durable names a file has at least one.
#[test]
fn a_move_is_lost_or_kept_as_one() {
    let sim = machine(&[("/a", "a"), ("/b", "b")]);
    sim.record();
    sim.rename(path("/a"), path("/b")).expect("rename");
    let points = sim.take_recording();
    assert_eq!(contents(&points[1], Loss::Unsynced), set(&["/a=a /b=b", "/b=a"]));
}

#[test]
fn errors_are_those_of_a_real_file_system() {
    let sim = machine(&[("/file", "")]);
    sim.create_dir(path("/dir")).expect("directory");
    sim.create_dir(path("/full")).expect("directory");
    sim.set_file("/full/file", b"");
    for missing in ["/no", "/dir/no", "/no/no"].map(path) {
        expect_kind(sim.metadata(missing), ErrorKind::NotFound);
        expect_kind(sim.read(missing), ErrorKind::NotFound);
        expect_kind(sim.list(missing), ErrorKind::NotFound);
        expect_kind(sim.remove(missing), ErrorKind::NotFound);
        expect_kind(sim.rename(missing, path("/to")), ErrorKind::NotFound);
    }
    expect_kind(sim.open(path("/no/file")), ErrorKind::NotFound);
    expect_kind(sim.create_dir(path("/no/dir")), ErrorKind::NotFound);
    expect_kind(sim.create_dir(path("/file")), ErrorKind::AlreadyExists);
    expect_kind(sim.create_dir(path("/dir")), ErrorKind::AlreadyExists);
    for below in ["/file/no"].map(path) {
        expect_kind(sim.create(below), ErrorKind::NotADirectory);
        expect_kind(sim.metadata(below), ErrorKind::NotADirectory);
        expect_kind(sim.create_dir(below), ErrorKind::NotADirectory);
    }
    expect_kind(sim.list(path("/file")), ErrorKind::NotADirectory);
    for dir in ["/dir", "/"].map(path) {
        expect_kind(sim.create(dir), ErrorKind::IsADirectory);
        expect_kind(sim.open(dir), ErrorKind::IsADirectory);
        expect_kind(sim.read(dir), ErrorKind::IsADirectory);
        expect_kind(sim.remove(dir), ErrorKind::IsADirectory);
        expect_kind(sim.rename(path("/file"), dir), ErrorKind::IsADirectory);
    }
    expect_kind(sim.rename(path("/dir"), path("/file")), ErrorKind::NotADirectory);
    expect_kind(sim.rename(path("/dir"), path("/full")), ErrorKind::DirectoryNotEmpty);
    expect_kind(sim.open(path("relative")), ErrorKind::InvalidInput);
    assert_eq!(sim.list(path("/")).expect("list"), ["/dir", "/file", "/full"].map(PathBuf::from));
}

#[test]
fn an_open_file_outlives_its_name() {
    let sim = machine(&[("/a", "a")]);
    let file = sim.open(path("/a")).expect("open");
    sim.remove(path("/a")).expect("remove");
    sim.sync_dir(path("/")).expect("sync");
    let other = sim.create(path("/a")).expect("create");
    append(&file, "more");
    file.sync().expect("sync");
    append(&other, "other");
    expect_files(&sim, &[("/a", "other")]);
    drop(file);
    sim.rename(path("/a"), path("/b")).expect("rename");
    append(&other, " name");
    expect_files(&sim, &[("/b", "other name")]);
}

#[test]
fn a_lock_has_one_holder_until_it_goes_or_the_machine_does() {
    let sim = machine(&[("/lock", "")]);
    let [first, second] = [(); 2].map(|()| sim.open(path("/lock")).expect("open"));
    assert!(first.try_lock().expect("lock") && first.try_lock().expect("its own"));
    assert!(!second.try_lock().expect("lock"));
    for crashed in [sim.crash(Loss::Nothing), sim.crash(Loss::Unsynced), sim.killed()] {
        assert!(crashed.open(path("/lock")).expect("open").try_lock().expect("free"));
    }
    drop(first);
    assert!(second.try_lock().expect("lock"));
}

#[test]
fn every_change_has_a_crash_point_before_it() {
    let sim = machine(&[("/a", "a")]);
    sim.record();
    let file = sim.open(path("/a")).expect("open");
    sim.set_mark(1);
    append(&file, "bcd");
    expect_kind(sim.remove(path("/no")), ErrorKind::NotFound);
    sim.set_mark(2);
    file.sync().expect("sync");
    file.sync().expect("nothing to be done");
    sim.create(path("/b")).expect("create");
    sim.set_mark(3);
    let points = sim.take_recording();
    let told: Vec<_> = points.iter().map(|p| (p.mark, p.operation.as_str())).collect();
    let expected = [(1, "append /a 3 bytes"), (2, "sync /a"), (2, "create /b"), (3, "the end")];
    assert_eq!(told, expected);
    assert!(matches!(&points[0].pending, PendingOp::Append { bytes, .. } if **bytes == *b"bcd"));
    assert!(matches!(points[1].pending, PendingOp::Whole));
    // The later ones are as they were, whatever was appended since.
    append(&file, "efg");
    assert_eq!(contents(&points[0], Loss::Unsynced), set(&["/a=a"]));
    let after_append = contents(&points[1], Loss::Unsynced);
    assert_eq!(after_append, set(&["/a=a", "/a=abcd", "/a=a\0\0\0"]));
    assert_eq!(contents(&points[3], Loss::Nothing), set(&["/a=abcd /b="]));
    expect_files(&points[1].killed().crash(Loss::Unsynced), &[("/a", "a")]);
}

#[test]
fn an_append_is_torn_at_a_few_places() {
    let sim = machine(&[("/a", "")]);
    let file = sim.open(path("/a")).expect("open");
    sim.record();
    ["12345678", "12", "1"].iter().for_each(|text| append(&file, text));
    let points = sim.take_recording();
    let torn = |bytes: u8| {
        let point = point(&points, &format!("append /a {bytes} bytes"));
        contents(point, Loss::Nothing)
    };
    assert_eq!(torn(8), set(&["/a=", "/a=1", "/a=1234", "/a=1234567"]));
    assert_eq!(torn(2), set(&["/a=12345678", "/a=123456781"]));
    assert_eq!(torn(1), set(&["/a=1234567812"]));
}

#[test]
fn each_unsynced_thing_is_lost_alone_and_kept_alone() {
    let sim = machine(&[("/a", "a"), ("/b", "b"), ("/c", "c")]);
    append(&sim.open(path("/a")).expect("open"), "A");
    append(&sim.open(path("/b")).expect("open"), "B");
    sim.remove(path("/c")).expect("remove");
    sim.record();
    let points = sim.take_recording();
    let expected = [
        "/a=a /b=b /c=c",
        "/a=a /b=bB",
        "/a=aA /b=b /c=c",
        "/a=aA /b=b",
        "/a=a /b=bB /c=c",
        "/a=aA /b=bB /c=c",
        "/a=a /b=b",
        "/a=a\0 /b=bB",
        "/a=aA /b=b\0",
    ];
    assert_eq!(contents(&points[0], Loss::Unsynced), set(&expected));
    assert_eq!(contents(&points[0], Loss::Nothing), set(&["/a=aA /b=bB"]));
    for (name, crashed, _) in points[0].variants() {
        assert_eq!(crashed.files(), crashed.crash(Loss::Unsynced).files(), "{name} is durable");
    }
}

#[test]
fn of_many_unsynced_things_some_are_taken() {
    let sim = Simulated::new();
    (0..100).for_each(|n| {
        let file = sim.create(path(&format!("/{n:02}"))).expect("create");
        append(&file, "1");
    });
    sim.record();
    let variants = sim.take_recording()[0].variants();
    // Everything, all lost, eight lost; kept alone, bytes have no name and are as good as lost, and
    // the last four are names; eight tails of zeros.
    let expected =
        [("everything", 1), ("only what", 1), ("lost", 8), ("only kept", 4), ("zeros", 8)];
    for (prefix, count) in expected {
        let found = variants.iter().filter(|(name, ..)| name.starts_with(prefix)).count();
        assert_eq!(found, count, "{prefix}");
    }
}

/// A length may reach the disk before the bytes: also of a file that was cut and written anew.
#[test]
fn tails_that_are_not_synced_may_be_zeros() {
    let sim = machine(&[("/a", "abc")]);
    let file = sim.open(path("/a")).expect("open");
    file.truncate(1).expect("truncate");
    append(&file, "bXYZ");
    sim.record();
    let points = sim.take_recording();
    let expected = set(&["/a=abc", "/a=abXYZ", "/a=ab\0\0\0"]);
    assert_eq!(contents(&points[0], Loss::Unsynced), expected);
}

#[test]
fn an_index_survives_a_power_failure() {
    let sim = Simulated::new();
    let (root, config) = (path("/db"), config(2, 100));
    let open = |sim: &Simulated| Index::open_on(Arc::new(sim.clone()), root, &config);
    sim.record();
    let index = open(&sim).expect("create");
    for id in 0..100u32 {
        index.put(&id.to_be_bytes(), id).expect("put");
    }
    index.flush().expect("flush");
    sim.set_mark(100);
    index.put(b"later", 7).expect("put");
    index.close().expect("close");
    sim.set_mark(101);
    let index = open(&sim.crash(Loss::Unsynced)).expect("reopen");
    assert_eq!(index.count().expect("count"), 101);
    assert_eq!(index.get(b"later").expect("get").as_slice(), [7]);
    for point in sim.take_recording() {
        for (name, crashed, loss) in point.variants() {
            let index = open(&crashed).unwrap_or_else(|error| {
                panic!("before {}, {name} ({loss:?}): {error}\n{crashed:?}", point.operation)
            });
            let count = index.count().expect("count");
            assert!(count >= point.mark, "before {}, {name}: {count}", point.operation);
        }
    }
}
