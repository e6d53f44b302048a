//! What `memory` says, beside what the operating system holds for the process (Linux): after a load, and
//! after a tenth of the keys was replaced.
//!
//! Three million keys, or as many as `LSM_KEYS` says:
//! `LSM_KEYS=10000000 cargo test --release --no-default-features --test memory -- --nocapture`
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use lsm_index::{Config, Index, Loader, Op, Residency};

/// The end of a thread's heap, and pages in which a little is left: glibc gives neither back.
const KEPT: u64 = 3 << 20;

/// After which freed memory is given back again, if that took a fresh process some milliseconds.
const PAUSE: Duration = Duration::from_secs(2);

/// Kilobytes, summed over the lines that begin so.
fn kilobytes<'t>(lines: impl Iterator<Item = &'t str>, name: &str) -> u64 {
    let values = lines.filter_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    values.map(|value| value.parse::<u64>().expect("a number")).sum()
}

/// Memory of our own that is there. (/proc/self/status knows it to some 100 pages only.)
fn anonymous() -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    1024 * kilobytes(smaps.lines(), "Anonymous:")
}

/// What is there of mapped files below a directory.
fn mapped(dir: &Path) -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("Linux");
    let mut ours = false;
    let lines = smaps.lines().filter(|line| {
        if line.split_once('-').is_some_and(|(start, _)| u64::from_str_radix(start, 16).is_ok()) {
            ours = line.contains(dir.to_str().expect("UTF-8"));
        }
        ours
    });
    1024 * kilobytes(lines, "Rss:")
}

/// Has freed memory given back: that is done at the end of a load, unless it was done just before.
fn settle() {
    std::thread::sleep(PAUSE);
    let index = Index::in_memory(&Config::default()).expect("in memory");
    Run { keys: 50_000, before: 0 }.load(&index);
}

struct Run {
    keys: u64,
    /// Before there was an index.
    before: u64,
}

impl Run {
    fn load(&self, index: &Index) {
        let mut loader = Loader::new(index);
        for n in 0..self.keys {
            loader.add(index, &n.to_le_bytes(), n as u32).expect("add");
            if loader.is_full() {
                loader.step(index).expect("step");
            }
        }
        while loader.step(index).expect("step") {}
        index.compact().expect("compact");
    }

    /// Replaces a tenth of the keys.
    fn churn(&self, index: &Index) {
        for first in (0..self.keys / 10).step_by(100) {
            let new = (first..first + 100).map(|n| (Op::Put, (n + self.keys).to_le_bytes(), 1));
            let old = (first..first + 100).map(|n| (Op::Delete, n.to_le_bytes(), n as u32));
            let changes: Vec<_> = new.chain(old).collect();
            index.write(&changes).expect("write");
            while index.work().expect("work") {}
        }
        // In churn freed memory is given back now and then.
        std::thread::sleep(PAUSE);
        while index.work().expect("work") {}
    }

    /// Says as much as there is, to a twentieth of the whole, and to what the C library keeps for itself.
    fn compare(&self, index: &Index, dir: &Path, when: &str) {
        for lane in 0..index.num_lanes() {
            index.warm_lane(lane).expect("warm");
        }
        let memory = index.memory().expect("memory");
        let found = [anonymous().saturating_sub(self.before), mapped(dir)];
        let said = [memory.own(), memory.mapped_files];
        let per_key = |bytes: u64| bytes as f64 / self.keys as f64;
        support::report(&format!(
            "{when}: {:.2} B/key of our own, {:.2} said; {:.2} mapped, {:.2} said; {:.2} overlays, \
             {:.2} tables",
            per_key(found[0]),
            per_key(said[0]),
            per_key(found[1]),
            per_key(said[1]),
            per_key(memory.overlays),
            per_key(memory.tables),
        ));
        for (found, said) in found.into_iter().zip(said) {
            let most = memory.total() / 20 + KEPT;
            assert!(found.abs_diff(said) <= most, "{when}: {found}, {said} said");
        }
    }
}

#[test]
fn memory_is_what_the_system_holds() {
    if std::env::var_os("ASAN_OPTIONS").is_some() {
        // Under AddressSanitizer memory is another matter.
        return;
    }
    let keys = std::env::var("LSM_KEYS").map_or(3_000_000, |keys| keys.parse().expect("a number"));
    for (name, residency, on_disk) in [
        ("in memory", Residency::Mmap, false),
        ("in memory, huge pages", Residency::Heap, false),
        ("mapped files", Residency::Mmap, true),
    ] {
        let dir = tempfile::tempdir().expect("temporary directory");
        settle();
        let run = Run { keys, before: anonymous() };
        let config = Config { residency, hash_key: Some(support::HASH_KEY), ..Config::default() };
        let index = if on_disk {
            Index::open(dir.path(), &config).expect("open")
        } else {
            Index::in_memory(&config).expect("in memory")
        };
        run.load(&index);
        settle();
        run.compare(&index, dir.path(), &format!("{name}, loaded"));
        run.churn(&index);
        run.compare(&index, dir.path(), &format!("{name}, in churn"));
        index.close().expect("close");
    }
    closing_leaves_nothing(1_000_000);
}

/// Or only pages in which a little is left: of an index that was only read, and whose segments are too
/// small to be mapped.
fn closing_leaves_nothing(keys: u64) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = Config { num_lanes: Some(1024), ..Config::default() };
    let index = Index::open(dir.path(), &config).expect("open");
    Run { keys, before: 0 }.load(&index);
    index.close().expect("close");
    settle();
    let before = anonymous();
    let index = Index::open(dir.path(), &config).expect("open");
    let memory = index.memory().expect("memory");
    assert!(memory.mapped_files == 0 && memory.own() > 10 * keys, "{memory:?}");
    assert!(anonymous() - before > 10 * keys);
    std::thread::sleep(PAUSE);
    index.close().expect("close");
    let left = anonymous().saturating_sub(before);
    assert!(left <= memory.own() / 2, "{left} bytes are left");
}
