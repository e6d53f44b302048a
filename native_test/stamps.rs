//! Stamps: how far an index has seen, in order with its changes.

mod support;

use lsm_index::{Config, Durability, Error, Index, MAX_STAMP_LEN, verify};
use support::small::temporary;

fn open(path: &std::path::Path, durability: Durability) -> Index {
    let config = Config { durability, ..support::config(4, 100) };
    Index::open(path, &config).expect("open")
}

fn stamp(index: &Index) -> Option<Vec<u8>> {
    index.stamp().expect("stamp")
}

#[test]
fn a_stamp_is_what_was_put_last_and_no_key() {
    let index = Index::in_memory(&support::config(4, 2)).expect("in memory");
    assert_eq!(stamp(&index), None);
    for len in [0, 1, 8, 3, MAX_STAMP_LEN, 7, 0] {
        let put: Vec<u8> = (0..len).map(|n| (n * 31 + len) as u8).collect();
        index.put_stamp(&put, Durability::Memory).expect("put");
        assert_eq!(stamp(&index), Some(put));
        assert_eq!(index.count().expect("count"), 0);
        assert_eq!(index.ids().expect("ids"), [0; 0]);
        index.for_each_key(|_, _| panic!("a key")).expect("keys");
        while index.work().expect("work") {}
    }
    index.put(b"key", 7).expect("put");
    assert_eq!((index.count().expect("count"), index.ids().expect("ids")), (1, vec![7]));
    let long = index.put_stamp(&[7; MAX_STAMP_LEN + 1], Durability::Memory);
    assert!(matches!(long, Err(Error::TooLarge { .. })));
}

/// What the stamp speaks for is there after a crash, whatever came after it.
#[test]
fn a_stamp_never_tells_of_more_than_is_there() {
    for durability in [Durability::Memory, Durability::Os, Durability::Sync] {
        for kept in 0..30_u32 {
            let dir = temporary();
            let index = open(dir.path(), durability);
            for n in 0..30_u32 {
                index.put(&n.to_le_bytes(), n).expect("put");
                index.put_stamp(&n.to_le_bytes(), durability).expect("stamp");
                match n {
                    n if n == kept => index.sync().expect("sync"),
                    n if n % 7 == 3 => drop(index.work().expect("work")),
                    // A lane alone says nothing of the others.
                    n if n % 7 == 5 => index.flush_lane(n % 4).expect("flush"),
                    _ => {}
                }
            }
            assert_eq!(stamp(&index), Some(29_u32.to_le_bytes().to_vec()));
            drop(index);
            verify(dir.path()).expect("sound");
            let index = open(dir.path(), durability);
            let seen = stamp(&index).expect("stamped");
            let seen = u32::from_le_bytes(seen.try_into().expect("four bytes"));
            assert!(seen >= kept);
            if durability != Durability::Memory {
                assert_eq!(seen, 29);
            }
            for n in 0..=seen {
                assert_eq!(index.get(&n.to_le_bytes()).expect("get").as_slice(), [n]);
            }
        }
    }
}

#[test]
fn a_stamp_outlives_a_close_and_whatever_the_log_does() {
    for durability in [Durability::Memory, Durability::Os] {
        let dir = temporary();
        for n in 0..5_u8 {
            let index = open(dir.path(), durability);
            let before = n.checked_sub(1).map(|before| vec![before; 8]);
            assert_eq!(stamp(&index), before);
            index.put_stamp(&[n; 8], durability).expect("stamp");
            for k in 0..500_u32 {
                index.put(&k.to_le_bytes(), u32::from(n)).expect("put");
            }
            index.compact().expect("compact");
            index.close().expect("close");
            assert!(matches!(index.stamp(), Err(Error::Closed)));
            assert!(matches!(index.put_stamp(b"", durability), Err(Error::Closed)));
        }
    }
}

/// A stamp that came during the flush waits for the next one, and the one from before is written.
#[test]
fn stamps_that_come_all_the_time_last_all_the_same() {
    let dir = temporary();
    let index = open(dir.path(), Durability::Memory);
    index.put_stamp(b"first", Durability::Memory).expect("stamp");
    let pending = index.pending_stamp().expect("it waits");
    index.flush_lane(0).expect("flush");
    index.put_stamp(b"second", Durability::Memory).expect("stamp");
    for lane in 0..4 {
        index.flush_lane(lane).expect("flush");
    }
    index.write_pending_stamp(&pending).expect("write");
    assert_eq!(stamp(&index), Some(b"second".to_vec()));
    let later = index.pending_stamp().expect("the second waits");
    drop(index);
    let index = open(dir.path(), Durability::Memory);
    assert_eq!(stamp(&index), Some(b"first".to_vec()));
    // An older one never takes the place of a newer one.
    index.put_stamp(b"third", Durability::Os).expect("stamp");
    index.write_pending_stamp(&lsm_index::Pending { number: 0, ..later }).expect("write");
    assert_eq!(stamp(&index), Some(b"third".to_vec()));
    index.close().expect("close");
}

/// A record of the log makes one stamp of another; what it starts from must not be in memory alone.
#[test]
fn a_stamp_that_could_not_be_flushed_does_not_mix_with_the_next() {
    let dir = temporary();
    let config = Config { durability: Durability::Os, ..support::config(1, 100) };
    let open = || Index::open(dir.path(), &config).expect("open");
    let index = open();
    index.put_stamp(b"the first", Durability::Memory).expect("stamp");
    index.flush().expect("flush");
    index.put_stamp(b"second, which is longer", Durability::Memory).expect("stamp");
    let pending = index.pending_stamp().expect("it waits");
    let in_the_way = dir.path().join("epoch-00000001/lane-0000/MANIFEST.tmp");
    std::fs::create_dir(&in_the_way).expect("directory");
    assert!(matches!(index.write_pending_stamp(&pending), Err(Error::Io { .. })));
    assert!(matches!(index.put_stamp(b"third", Durability::Os), Err(Error::Io { .. })));
    std::fs::remove_dir(&in_the_way).expect("removed");
    index.put_stamp(b"third", Durability::Os).expect("stamp");
    drop(index);
    assert_eq!(stamp(&open()), Some(b"third".to_vec()));
}

/// A stamp speaks for what is lost, whichever lane had that.
#[test]
fn a_repair_that_loses_something_takes_the_stamp_away() {
    let dir = temporary();
    let index = open(dir.path(), Durability::Os);
    for n in 0..1_000_u32 {
        index.put(&n.to_le_bytes(), n).expect("put");
    }
    index.put_stamp(b"seen", Durability::Os).expect("stamp");
    index.close().expect("close");
    for lane in 0..4 {
        let copy = temporary();
        support::copy_dir(dir.path(), copy.path());
        let lane = format!("epoch-00000001/lane-{lane:04}");
        for file in support::files(copy.path()) {
            if file.starts_with(&lane) && file.extension().is_some_and(|e| e == "seg") {
                std::fs::remove_file(copy.path().join(file)).expect("removed");
            }
        }
        lsm_index::repair(copy.path(), true).expect("repair");
        verify(copy.path()).expect("sound");
        assert_eq!(stamp(&open(copy.path(), Durability::Os)), None, "{lane} was lost");
    }
    // Nothing is lost: CURRENT can be made anew.
    std::fs::remove_file(dir.path().join("CURRENT")).expect("removed");
    assert_eq!(lsm_index::repair(dir.path(), true).expect("repair").len(), 1);
    assert_eq!(stamp(&open(dir.path(), Durability::Os)), Some(b"seen".to_vec()));
}
