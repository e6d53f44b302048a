//! The body of every fuzz target: bytes in the place of files of a small index, which is then
//! verified, opened, read, written to and closed. Nothing may panic; what `verify` finds sound has
//! to work.

mod base;
mod repair;
mod work;

use std::path::Path;

use super::simulated::{Loss, Simulated};

pub(crate) const ROOT: &str = "/db";
const CURRENT: &str = "/db/CURRENT";
const META: &str = "/db/epoch-00000001/META";
const TERMS: &str = "/db/epoch-00000001/TERMS";
const MANIFESTS: [&str; 2] =
    ["/db/epoch-00000001/lane-0000/MANIFEST", "/db/epoch-00000001/lane-0001/MANIFEST"];
/// Files of the log that one input makes.
const MOST_LOGS: u64 = 4;

/// What the input stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All files of the write-ahead log: for each its length, 2 bytes, and its bytes; the last one
    /// takes the rest.
    Wal,
    /// One of the small files.
    Frames,
    /// A segment.
    Segment,
    /// The dictionary's file.
    Terms,
    /// Edits of any files.
    Directory,
}

impl Target {
    /// All of them, by the names of the targets and the corpora.
    pub const ALL: [(&'static str, Self); 5] = [
        ("wal", Self::Wal),
        ("frames", Self::Frames),
        ("segment", Self::Segment),
        ("terms", Self::Terms),
        ("directory", Self::Directory),
    ];
}

/// The first byte of an input.
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    /// Checksums are put right, and what refers to the file agrees with it.
    fn repair(self) -> bool {
        self.0 & 1 != 0
    }

    fn salvage(self) -> bool {
        self.0 & 2 != 0
    }

    /// The system was started anew: what was not synced may be missing.
    fn restarted(self) -> bool {
        self.0 & 4 != 0
    }

    /// No lane relies on the log.
    fn unflushed(self) -> bool {
        self.0 & 8 != 0
    }

    /// Which of several files.
    fn file(self) -> usize {
        usize::from(self.0 >> 4)
    }
}

/// Inputs to begin with: the files as they are, with and without repairs.
pub fn seeds(target: Target) -> Vec<Vec<u8>> {
    let files = base::files();
    let with_flags = |flags: u8, bytes: &[u8]| [&[flags], bytes].concat();
    let mut bodies = Vec::new();
    match target {
        Target::Wal => {
            let logs = files.iter().filter(|(path, _)| path.starts_with("/db/wal"));
            let framed = logs.flat_map(|(_, log)| {
                [(log.len() as u16).to_le_bytes().as_slice(), log.as_slice()].concat()
            });
            bodies.push((0, framed.collect()));
        }
        Target::Frames => {
            for (place, path) in [CURRENT, META, MANIFESTS[0], MANIFESTS[1]].iter().enumerate() {
                bodies.push((place, files[Path::new(path)].clone()));
            }
        }
        Target::Segment => {
            for (place, (_, _, path)) in base::segments().iter().enumerate() {
                bodies.push((place, files[Path::new(path)].clone()));
            }
        }
        Target::Terms => bodies.push((0, files[Path::new(TERMS)].clone())),
        Target::Directory => {
            for place in 0..files.len() as u8 {
                bodies.push((0, vec![place, 1, 20, 0, 3, 0, 7, 7, 7, 9, 3, 0, 0, 0, 0]));
            }
        }
    }
    let kinds = if target == Target::Directory { 0..2 } else { 0..16 };
    let all = bodies.iter().flat_map(|(place, bytes)| {
        kinds.clone().map(move |flags| with_flags(flags | (*place as u8) << 4, bytes))
    });
    all.collect()
}

/// Runs one input; whether the index was found sound.
pub fn run(target: Target, input: &[u8]) -> bool {
    let Some((&flags, bytes)) = input.split_first() else { return false };
    let flags = Flags(flags);
    let mut system = base::index();
    match target {
        Target::Wal => wal(&system, flags, bytes),
        Target::Frames => {
            let files = [CURRENT, META, MANIFESTS[0], MANIFESTS[1]];
            put(&system, files[flags.file() % files.len()], flags, bytes, |bytes| {
                repair::frame(bytes);
            });
        }
        Target::Segment => segment(&system, flags, bytes),
        Target::Terms => {
            put(&system, TERMS, flags, bytes, |bytes| repair::terms(bytes));
            if flags.repair() {
                MANIFESTS
                    .iter()
                    .for_each(|path| edit(&system, path, |bytes| repair::forget_terms(bytes)));
            }
        }
        Target::Directory => directory(&system, flags, bytes),
    }
    if flags.unflushed() {
        MANIFESTS
            .iter()
            .for_each(|path| edit(&system, path, |bytes| repair::forget_flushed(bytes)));
    }
    if flags.restarted() {
        system = system.crash(Loss::Unsynced);
    }
    work::exercise(&system, flags.salvage(), flags.repair())
}

fn put(system: &Simulated, path: &str, flags: Flags, bytes: &[u8], repair: impl Fn(&mut Vec<u8>)) {
    let mut bytes = bytes.to_vec();
    if flags.repair() {
        repair(&mut bytes);
    }
    system.set_file(path, &bytes);
}

/// Changes a file that may be there.
fn edit(system: &Simulated, path: impl AsRef<Path>, change: impl Fn(&mut Vec<u8>)) {
    if let Some(mut bytes) = system.files().remove(path.as_ref()) {
        change(&mut bytes);
        system.set_file(path, &bytes);
    }
}

fn wal(system: &Simulated, flags: Flags, mut bytes: &[u8]) {
    let oldest = base::remove_log(system);
    for number in oldest..oldest + MOST_LOGS {
        let len =
            bytes.split_off(..2).map_or(0, |len| usize::from(len[0]) | usize::from(len[1]) << 8);
        let whole = number + 1 == oldest + MOST_LOGS || len >= bytes.len();
        let file = if whole { std::mem::take(&mut bytes) } else { &bytes[..len] };
        bytes = bytes.get(len..).unwrap_or_default();
        let path = format!("{ROOT}/wal/{number:020}.wal");
        put(system, &path, flags, file, |bytes| repair::log(bytes, number));
        if whole {
            return;
        }
    }
}

fn segment(system: &Simulated, flags: Flags, bytes: &[u8]) {
    let segments = base::segments();
    let (manifest, place, path) = &segments[flags.file() % segments.len()];
    put(system, path, flags, bytes, repair::segment);
    if flags.repair() {
        let bytes = system.files().remove(Path::new(path)).unwrap_or_default();
        edit(system, manifest, |manifest| repair::agree(manifest, *place, &bytes));
    }
}

/// Edits: the file, what is done to it, and two numbers. One that replaces bytes takes them from
/// what follows.
fn directory(system: &Simulated, flags: Flags, mut bytes: &[u8]) {
    let mut files = base::files().clone();
    let names: Vec<_> = files.keys().cloned().collect();
    while let Some(edit) = bytes.split_off(..6) {
        let name = &names[usize::from(edit[0]) % names.len()];
        let at = usize::from(u16::from_le_bytes([edit[2], edit[3]]));
        let len = usize::from(u16::from_le_bytes([edit[4], edit[5]]));
        let Some(file) = files.get_mut(name) else { continue };
        match edit[1] % 6 {
            // The rest of the input replaces the file.
            0 => *file = std::mem::take(&mut bytes).to_vec(),
            1 => {
                let given = bytes.split_off(..len % 16).unwrap_or_default();
                let at = at % (file.len() + 1);
                let end = file.len().min(at + given.len());
                file.splice(at..end, given.iter().copied());
            }
            2 => file.truncate(at % (file.len() + 1)),
            3 => drop(files.remove(name)),
            4 => {
                let other = &names[len % names.len()];
                let other = files.get(other).cloned().unwrap_or_default();
                files.insert(name.clone(), other);
            }
            // Bytes cut out.
            _ => {
                let at = at % (file.len() + 1);
                file.drain(at..file.len().min(at + len % 256));
            }
        }
    }
    if flags.repair() {
        files.iter_mut().for_each(|(path, bytes)| repair::any(path, bytes));
    }
    base::replace_files(system, &files);
}
