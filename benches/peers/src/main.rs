//! lsm_index beside other storage libraries, in one run: the same keys, values and queries.
//!
//! `make peers`, or with RocksDB of the system `make peers ROCKSDB=1`. Environment variables:
//! `KEYS` (1 000 000), `ROUNDS` (5), `TABLES` (a file that the table is appended to).
//!
//! A round takes two processes for each peer, so that none bears another's memory: one loads, the
//! other opens what was loaded, looks up and writes. Peers take turns, each round begins with
//! another one, and the table has the medians.

mod footprint;
mod measure;
mod peers;
mod report;
mod workload;

use std::env;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use measure::{Figures, Stage};
use report::Run;

/// Whatever goes wrong ends the run.
pub(crate) type Error = Box<dyn std::error::Error>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => all_rounds(setting("KEYS", 1_000_000)?, setting("ROUNDS", 5)?),
        // What the first process starts.
        ["load", name, dir, keys] => child(name, Stage::Load, dir, keys),
        ["use", name, dir, keys] => child(name, Stage::Use, dir, keys),
        _ => Err("takes no arguments: see the environment variables in src/main.rs".into()),
    }
}

fn setting(name: &str, default: u64) -> Result<u64> {
    let Ok(text) = env::var(name) else { return Ok(default) };
    match text.replace('_', "").parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{name}={text} is not a number above 0").into()),
    }
}

fn all_rounds(keys: u64, rounds: u64) -> Result<()> {
    let mut figures = vec![Figures::new(); peers::ALL.len()];
    for round in 0..rounds as usize {
        for turn in 0..peers::ALL.len() {
            let number = (round + turn) % peers::ALL.len();
            let name = peers::ALL[number].name;
            eprintln!("round {} of {rounds}: {name}", round + 1);
            let dir = tempfile::tempdir()?;
            for stage in ["load", "use"] {
                for (what, values) in in_process(stage, name, dir.path(), keys)? {
                    figures[number].entry(what).or_default().extend(values);
                }
            }
        }
    }
    let run = Run { keys, rounds, figures };
    print!("{}", report::text(&run));
    if let Some(file) = env::var_os("TABLES") {
        let mut file = File::options().create(true).append(true).open(file)?;
        file.write_all(report::tables(&run).as_bytes())?;
    }
    Ok(())
}

/// What a process of its own measures of one peer.
fn in_process(stage: &str, name: &str, dir: &Path, keys: u64) -> Result<Figures> {
    let mut command = Command::new(env::current_exe()?);
    command.args([stage, name]).arg(dir).arg(keys.to_string());
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{name} failed in the process that was to {stage} it").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// That process: its figures are all it prints.
fn child(name: &str, stage: Stage, dir: &str, keys: &str) -> Result<()> {
    let peer = peers::ALL.iter().find(|peer| peer.name == name).ok_or("no such peer")?;
    let figures = (peer.run)(stage, Path::new(dir), keys.parse()?)?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
