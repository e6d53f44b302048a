//! The corpora of the fuzz targets (`fuzz/`) as plain tests: inputs that the fuzzer found worth
//! keeping, and every one that once broke something.

#[path = "../fuzz/src/body/mod.rs"]
#[allow(unreachable_pub, reason = "the fuzzer's crate makes it public")]
mod body;
mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use body::{Target, run, seeds};
use support::simulated;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name)
}

/// Verifying damage waits for it to go away, so threads are many.
const THREADS: usize = 32;

/// How many of them make an index that is found sound.
fn run_all(target: Target, inputs: &[(PathBuf, Vec<u8>)]) -> usize {
    let (next, sound) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((path, input)) = inputs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match std::panic::catch_unwind(|| run(target, input)) {
                        Ok(is_sound) => sound.fetch_add(is_sound.into(), Ordering::Relaxed),
                        Err(_) => panic!("{target:?}, {}", path.display()),
                    };
                }
            });
        }
    });
    sound.into_inner()
}

#[test]
fn no_input_of_the_corpora_does_harm() {
    let mut all = 0;
    for (name, target) in Target::ALL {
        let entries = fs::read_dir(corpus(name)).expect("a corpus of every target");
        let read = |path: PathBuf| (path.clone(), fs::read(path).expect("read"));
        let mut inputs: Vec<_> = entries.map(|entry| read(entry.expect("entry").path())).collect();
        assert!(!inputs.is_empty(), "{name} has no corpus");
        inputs.sort();
        // Or they are of another format, and all that is tested is how that is refused.
        assert!(run_all(target, &inputs) > 0, "nothing in the corpus of {name} is sound");
        let seeds = seeds(target).into_iter().map(|seed| ("a seed".into(), seed));
        let seeds: Vec<_> = seeds.collect();
        run_all(target, &seeds);
        all += inputs.len() + seeds.len();
    }
    // Past what captures the output of tests.
    let _ = writeln!(std::io::stderr(), "corpus test: {all} inputs");
}

/// Or all that is tested is how an index is refused.
#[test]
fn files_as_they_are_make_a_sound_index() {
    for (name, target) in Target::ALL.into_iter().filter(|(name, _)| *name != "directory") {
        for seed in seeds(target).iter().filter(|seed| seed[0] % 16 < 2) {
            assert!(run(target, seed), "{name} with flags {:#x}", seed[0]);
        }
    }
    assert!(run(Target::Directory, &[0]) && run(Target::Directory, &[1]));
}

/// The fuzzer begins with these; to be done again when the format changes:
/// `cargo test --no-default-features --test corpus -- --ignored`.
#[test]
#[ignore = "writes into the sources"]
fn seeds_are_written() {
    for (name, target) in Target::ALL {
        fs::create_dir_all(corpus(name)).expect("directory");
        for (number, seed) in seeds(target).iter().enumerate() {
            fs::write(corpus(name).join(format!("seed-{number:02}")), seed).expect("write");
        }
    }
}
