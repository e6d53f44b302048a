//! Records drawn at random: whatever widths they ask for, all come back, each as it was.

use super::*;

/// Numbers below a bound, without end.
struct Draw<I>(I);

impl<I: Iterator<Item = u64>> Draw<I> {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next().expect("without end") % bound
    }

    /// Up to and including the largest there may be, which comes up often.
    fn id(&mut self, largest: u32) -> u32 {
        if self.below(4) == 0 { largest } else { self.below(u64::from(largest) + 1) as u32 }
    }

    fn ids(&mut self, largest: u32, most: u64) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..=self.below(most)).map(|_| self.id(largest)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// A record of one of the kinds, a bit each.
    fn record(&mut self, kinds: u64, largest: u32) -> Record {
        loop {
            let kind = self.below(5);
            if kinds & 1 << kind == 0 {
                continue;
            }
            let low = largest.min((1 << 30) - 1);
            return match kind {
                0 => Record::One(self.id(low)),
                1 => Record::One(1 << 30 | self.id(low)),
                2 => match self.ids(largest, 40) {
                    ids if ids.len() > 1 => Record::Many(ids),
                    _ => continue,
                },
                3 => Record::Tombstone,
                _ => Record::Delta(Box::new(Delta {
                    adds: self.ids(largest, 20),
                    removes: self.ids(largest, 20),
                    len: self.below(1 << 31) as u32,
                })),
            };
        }
    }
}

fn assert_whole(records: &[(Fingerprint, Record)], slots: &SlotTable, lane: u32, what: &str) {
    let bytes = written(records, slots, lane);
    let segment = opened(&bytes, slots).expect("sound");
    segment.check().expect("checksums");
    segment.check_structure().expect("structure");
    for (fingerprint, record) in records {
        for verify in [Verify::Full, Verify::Fast] {
            let found = get(&segment, *fingerprint, verify).expect("get");
            assert_eq!(found.as_ref(), Some(record), "{what}");
            let found = staged(&segment, *fingerprint, verify).expect("staged");
            assert_eq!(found.as_ref(), Some(record), "{what}");
        }
    }
    let listed = listed(&segment);
    let mut expected = records.to_vec();
    expected.sort_by_key(|(fingerprint, _)| *fingerprint);
    assert_eq!(listed, expected, "{what}");
}

#[test]
fn random_records_come_back_at_every_width() {
    for lanes in [1, 2, 3, 64, 1000, 16_384] {
        let slots = SlotTable::new(lanes);
        let owners: Vec<u32> = (0..lanes).filter(|&lane| !slots.of_lane(lane).is_empty()).collect();
        for bits in 0..=31 {
            // Every mixture of kinds, with one of the sizes each.
            for kinds in 1..32 {
                let mut draw = Draw(random(u64::from(lanes << 8 | bits) << 5 | kinds));
                if kinds == 4 && bits == 0 {
                    // There is no list of several ids then.
                    continue;
                }
                let lane = owners[draw.below(owners.len() as u64) as usize];
                let keys = 1 + draw.below(60);
                let largest = ((1_u64 << bits) - 1) as u32;
                let mut records: Vec<_> = (0..keys)
                    .map(|_| {
                        (in_lane(draw.below(u64::MAX), &slots, lane), draw.record(kinds, largest))
                    })
                    .collect();
                records.sort_by_key(|(fingerprint, _)| *fingerprint);
                records.dedup_by_key(|(fingerprint, _)| *fingerprint);
                let what = format!("{lanes} lanes, ids of {bits} bits, kinds {kinds:#b}");
                assert_whole(&records, &slots, lane, &what);
            }
        }
    }
}

/// The narrower the lane, the fewer bytes; the smaller the ids too.
#[test]
fn a_key_takes_what_its_lane_and_its_ids_need() {
    let size = |lanes: u32, largest: u32| {
        let slots = SlotTable::new(lanes);
        let lane = (0..lanes).find(|&lane| !slots.of_lane(lane).is_empty()).expect("one of them");
        let members = random(17).map(|f| in_lane(f, &slots, lane));
        let ids = (0..20_000).map(|i| Record::One(if i == 0 { largest } else { i & largest }));
        let records: Vec<_> = members.zip(ids).collect();
        written(&records, &slots, lane).len() as f64 / 20_000.0
    };
    for (lanes, largest, bits) in [
        (1, (1 << 30) - 1, 8 + 14 + 26 + 16 + 30),
        (64, (1 << 20) - 1, 8 + 9 + 26 + 16 + 20),
        (64, (1 << 24) - 1, 8 + 9 + 26 + 16 + 24),
        (16_384, 0, 8 + 3 + 26 + 16),
    ] {
        // The hash function takes three bits a key, and some for the places above the last.
        let beyond = size(lanes, largest) - f64::from(bits) / 8.0;
        assert!((0.36..0.41).contains(&beyond), "{lanes} lanes, ids to {largest}: {beyond}");
    }
}
