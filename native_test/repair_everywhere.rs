//! Repairs of random indexes with damaged files: whatever is lost, no key leads to what was never
//! its own, and the index opens and is sound. A repair that is cut short is made up for by the next.
//!
//! `REPAIR_SEEDS=from..to` sets which indexes are tried.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_index::{
    Config, Durability, Error, Index, Most, Op, Result, SMALLEST_LOG, Target, repair_on, verify_on,
};
use support::simulated::{EIO, ENOSPC, Fault, FaultKind, Loss, Simulated};
use support::{Item, Random, config, names, report, resolved, seeds, step_round, terms_of_a_shard};

const ROOT: &str = "/db";
const LANES: u32 = 2;
const KEYS: usize = 12;
/// Terms that a key may lead to: its own, so that one of another key's is told.
const OWN: usize = 5;
const NAMES: usize = 4;

fn key(n: usize) -> Vec<u8> {
    format!("key {n}").into_bytes()
}

/// What an index is about: keys of its own, or of namespaces, and terms.
struct World {
    terms: Vec<Vec<u8>>,
    in_namespaces: bool,
}

impl World {
    fn new(in_namespaces: bool) -> Self {
        Self { terms: terms_of_a_shard(KEYS * OWN), in_namespaces }
    }

    fn own(&self, n: usize) -> &[Vec<u8>] {
        &self.terms[n * OWN..(n + 1) * OWN]
    }

    /// The namespace of a key, and the key in it.
    fn place(n: usize) -> (&'static [u8], Vec<u8>) {
        (&names()[n % NAMES], key(n / NAMES))
    }

    fn change(
        &self,
        index: &Index,
        n: usize,
        term: &[u8],
        op: Op,
        durability: Durability,
    ) -> Result<()> {
        if !self.in_namespaces {
            return index.route_with(&key(n), Target::Term(term), op, durability).map(drop);
        }
        let (name, key) = Self::place(n);
        index.route_in(name, &key, term, op, durability).map(drop)
    }

    fn found(&self, index: &Index, n: usize) -> BTreeSet<Item> {
        if !self.in_namespaces {
            return resolved(index, &key(n));
        }
        let (name, key) = Self::place(n);
        // Some perhaps twice: an older segment may have a former id of a term.
        let mut items = BTreeSet::new();
        let each = |term: &[u8]| {
            items.insert(Item::Term(term.to_vec()));
        };
        assert!(index.targets_in(name, &key, Most::ALL, each).expect("targets"));
        items
    }
}

fn open(system: &Simulated) -> Result<Index> {
    let config = Config { max_log_bytes: Some(SMALLEST_LOG), ..config(LANES, 1000) };
    Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config)
}

/// An index after some sessions, the last of which may have ended by a crash.
fn random_index(random: &mut Random, world: &World) -> Simulated {
    let mut system = Simulated::new();
    for _ in 0..1 + random.below(3) {
        system = used(random, &system, world);
    }
    system
}

/// Some session later. An operation of the disk may fail in it, which is no matter here.
fn used(random: &mut Random, system: &Simulated, world: &World) -> Simulated {
    let index = open(system).expect("open");
    if random.below(4) == 0 {
        let at = random.below(300) as u64;
        system.inject(Fault { at, kind: FaultKind::Error(EIO), repeat: false });
    }
    for _ in 0..20 + random.below(100) {
        let _ = match random.below(60) {
            0 => index.flush(),
            1 => index.compact(),
            2 | 3 => index.flush_lane(random.below(LANES as usize) as u32),
            4 => index.work().map(drop),
            5..8 => step_round(&index),
            8..13 if world.in_namespaces => {
                let durability = [Durability::Memory, Durability::Os][random.below(2)];
                index.drop_namespace(&names()[random.below(NAMES)], durability).map(drop)
            }
            _ => {
                let n = random.below(KEYS);
                let term = &world.own(n)[random.below(OWN)];
                let op = [Op::Put, Op::Delete][random.below(2)];
                let durability = [Durability::Memory, Durability::Os, Durability::Sync];
                let durability = durability[random.below(3)];
                world.change(&index, n, term, op, durability)
            }
        };
    }
    if random.below(3) == 0 {
        let _ = index.close();
    }
    drop(index);
    system.clear_faults();
    match random.below(3) {
        0 => system.killed(),
        1 => system.restarted(),
        _ => system.crash(Loss::Unsynced),
    }
}

/// META, which has the hash key, cannot be made anew, and nothing is read from the lock.
fn can_be_damaged(system: &Simulated) -> Vec<(PathBuf, Vec<u8>)> {
    let files = system.files().into_iter();
    files
        .filter(|(path, bytes)| {
            !path.ends_with("META") && !path.ends_with("LOCK") && !bytes.is_empty()
        })
        .collect()
}

fn damage(random: &mut Random, system: &Simulated) -> String {
    let files = can_be_damaged(system);
    let (path, mut bytes) = files[random.below(files.len())].clone();
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(64)).min(bytes.len());
    let how = random.below(5);
    match how {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes.truncate(at),
        2 => bytes[at..end].fill(0),
        3 => bytes[at..end].fill(0xff),
        _ => bytes.extend(std::iter::repeat_n(0x5a, end - at)),
    }
    system.set_file(&path, &bytes);
    format!("{} at {at}, {how}", path.display())
}

/// A lane without its manifest and its newest segment.
fn damage_lane(random: &mut Random, system: &Simulated) -> String {
    let lane = PathBuf::from(format!("{ROOT}/epoch-00000001/lane-000{}", random.below(2)));
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|e| e == "seg");
    let segments = system.files().into_keys().filter(is_segment);
    let newest = segments.filter(|path| path.starts_with(&lane)).max();
    for path in [Some(lane.join("MANIFEST")), newest].into_iter().flatten() {
        system.set_file(path, b"junk");
    }
    format!("manifest and newest segment of {}", lane.display())
}

/// What keys lead to, each of them to its own terms.
fn contents(index: &Index, world: &World) -> std::result::Result<Vec<BTreeSet<Item>>, String> {
    let own =
        |n: usize, item: &Item| world.own(n).iter().any(|term| *item == Item::Term(term.clone()));
    let mut found = Vec::new();
    for n in 0..KEYS {
        let items = world.found(index, n);
        if let Some(foreign) = items.iter().find(|item| !own(n, item)) {
            return Err(format!("key {n} leads to {foreign:?}"));
        }
        found.push(items);
    }
    Ok(found)
}

fn check(system: &Simulated, world: &World) -> std::result::Result<bool, String> {
    let told = |what: &str, e: Error| format!("{what}: {e}");
    // As it is, it is refused or right. The census looks at all keys, as changes of routes make it.
    let counted = |index: Index| index.take_census().map(|()| index);
    if let Ok(index) = open(system).and_then(counted) {
        let found = contents(&index, world);
        drop(index);
        // Damage that only a full check finds may show.
        return match verify_on(Arc::new(system.clone()), Path::new(ROOT)) {
            Ok(_) => found.map(|_| false),
            Err(_) => Ok(false),
        };
    }
    match repair_on(Arc::new(system.clone()), Path::new(ROOT), true) {
        Ok(_) => {}
        Err(Error::UnsupportedVersion { .. }) => return Ok(false),
        Err(e) => return Err(told("repair", e)),
    }
    verify_on(Arc::new(system.clone()), Path::new(ROOT)).map_err(|e| told("verify", e))?;
    let index = open(system).and_then(counted).map_err(|e| told("open", e))?;
    let found = contents(&index, world)?;
    check_purged(&index, world, &found)?;
    index.close().map_err(|e| told("close", e))?;
    verify_on(Arc::new(system.clone()), Path::new(ROOT)).map_err(|e| told("verify", e))?;
    Ok(true)
}

/// With all background work done, nothing is there that nobody can reach.
fn check_purged(
    index: &Index,
    world: &World,
    found: &[BTreeSet<Item>],
) -> std::result::Result<(), String> {
    while index.work().map_err(|e| format!("work: {e}"))? {}
    if contents(index, world)? != found {
        return Err("background work has changed something".to_owned());
    }
    let there = (0..KEYS).filter(|&n| !found[n].is_empty());
    let names: BTreeSet<usize> = there.clone().map(|n| n % NAMES).collect();
    let keys = there.count() + if world.in_namespaces { names.len() } else { 0 };
    let count = index.count().map_err(|e| e.to_string())?;
    if count == keys as u64 { Ok(()) } else { Err(format!("{count} keys for {keys}: {found:?}")) }
}

fn repair_all(seeds: std::ops::Range<u64>, world: &World) {
    let mut repaired = 0;
    for seed in seeds {
        let mut random = Random(seed);
        let mut system = random_index(&mut random, world);
        let mut what = Vec::new();
        // What is repaired is used, and damaged again.
        for _ in 0..1 + random.below(3) {
            match random.below(8) {
                0 => what.push(damage_lane(&mut random, &system)),
                n => (0..1 + n % 3).for_each(|_| what.push(damage(&mut random, &system))),
            }
            match check(&system, world) {
                Ok(was_repaired) => repaired += u64::from(was_repaired),
                Err(e) => panic!("seed {seed}, {what:?}: {e}"),
            }
            if verify_on(Arc::new(system.clone()), Path::new(ROOT)).is_err() {
                break;
            }
            system = used(&mut random, &system, world);
        }
    }
    report(&format!("repair test: {repaired} damaged indexes repaired"));
    assert!(repaired > 0);
}

#[test]
fn what_a_repair_leaves_is_each_keys_own() {
    repair_all(seeds("REPAIR_SEEDS", 0..2000), &World::new(false));
}

#[test]
fn what_a_repair_leaves_of_namespaces_is_each_keys_own() {
    repair_all(seeds("REPAIR_SEEDS", 0..800), &World::new(true));
}

fn repaired_contents(
    system: &Simulated,
    world: &World,
) -> std::result::Result<Vec<BTreeSet<Item>>, String> {
    repair_on(Arc::new(system.clone()), Path::new(ROOT), true).map_err(|e| e.to_string())?;
    verify_on(Arc::new(system.clone()), Path::new(ROOT)).map_err(|e| e.to_string())?;
    contents(&open(system).map_err(|e| e.to_string())?, world)
}

/// By a crash, or by a disk that is full for a while.
#[test]
fn a_repair_that_is_cut_short_is_made_up_for_by_the_next() {
    let worlds = [false, true].map(World::new);
    let (mut cut_short, mut of_repairs) = (0, 0);
    for seed in seeds("REPAIR_SEEDS", 0..32) {
        // A quarter with namespaces.
        let world = &worlds[usize::from(seed % 4 == 3)];
        let mut random = Random(seed);
        let sound = random_index(&mut random, world);
        // What is not on stable storage may be lost by a crash, damaged or not.
        let index = open(&sound).expect("open");
        index.sync().expect("sync");
        drop(index);
        let what: Vec<_> = (0..1 + seed % 2).map(|_| damage(&mut random, &sound)).collect();
        let damaged = || sound.killed();
        let whole = damaged();
        whole.record();
        let Ok(expected) = repaired_contents(&whole, world) else { continue };
        let points = whole.take_recording();
        of_repairs += 1;
        let check = |after: &str, system: &Simulated| {
            let found = repaired_contents(system, world);
            let found = found.unwrap_or_else(|e| panic!("seed {seed}, {what:?}, {after}: {e}"));
            assert_eq!(found, expected, "seed {seed}, {what:?}, {after}");
        };
        for point in points {
            for (variant, crashed, _) in point.variants() {
                check(&format!("crashed before {}, {variant}", point.operation), &crashed);
                cut_short += 1;
            }
            check(&format!("killed before {}", point.operation), &point.killed());
            cut_short += 1;
        }
        for at in 0.. {
            let system = damaged();
            system.inject(Fault { at, kind: FaultKind::Error(ENOSPC), repeat: true });
            let outcome = repair_on(Arc::new(system.clone()), Path::new(ROOT), true);
            if system.faults_hit() == 0 {
                break;
            }
            system.clear_faults();
            check(&format!("full at operation {at}, {outcome:?}"), &system);
            cut_short += 1;
        }
    }
    report(&format!("repair test: {of_repairs} repairs, cut short {cut_short} times"));
    assert!(cut_short > 0);
}
