//! The table that a run ends with, and the file that it is written to as well.

use std::fmt::Write;

use crate::measure::Figures;
use crate::peers;

/// The name of each row's figures, and what the table calls it.
const ROWS: [(&str, &str); 12] = [
    ("hit_ns", "hit, ns"),
    ("fresh_hit_ns", "hit, a read transaction each, ns"),
    ("miss_ns", "miss, ns"),
    ("batch_ns", "batch of 100 hits, ns per key"),
    ("put_ns", "put of a new key, ns"),
    ("put_batch_ns", "100 new keys at once, ns per key"),
    ("load_ns", "load, ns per key"),
    ("sort_ns", "sorting for it, not in it, ns per key"),
    ("disk_bytes", "on disk after the load, bytes per key"),
    ("resident_bytes", "resident after the look-ups, bytes per key"),
    ("private_bytes", "of that not of files, bytes per key"),
    ("open_ms", "open and first look-up, ms"),
];

/// What the figures are and are not, so that each peer is seen in its best light.
const NOTES: &str = "
Caches are warm: every key was looked up before. All hits but those of the second row share one read
transaction, if the peer has such, and would not see later writes. Writes are kept if the process ends
(with redb if it is closed), not if the power fails; merges that they make due for later are not
counted. The best peer is the best of those that outlive the process.";

/// What the project wants of a hit, beside the best peer's, with ten million keys.
const HIT_TARGET: f64 = 0.15;

/// What was measured.
pub(crate) struct Run {
    pub(crate) keys: u64,
    pub(crate) rounds: u64,
    /// Those of each peer, in the order of [`peers::ALL`].
    pub(crate) figures: Vec<Figures>,
}

impl Run {
    /// The median of what a row has of a peer.
    fn median(&self, peer: usize, row: &str) -> Option<f64> {
        let mut values = self.figures[peer].get(row)?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        Some(if values.len() % 2 == 0 { (values[middle - 1] + upper) / 2.0 } else { upper })
    }

    /// The first peer's value of a row, over the least of other persistent peers', and whose it is.
    fn ratio(&self, row: &str) -> Option<(f64, &'static str)> {
        let others = (1..peers::ALL.len()).filter(|&peer| peers::ALL[peer].persistent);
        let values =
            others.filter_map(|peer| Some((self.median(peer, row)?, peers::ALL[peer].name)));
        let (best, name) = values.min_by(|a, b| a.0.total_cmp(&b.0))?;
        Some((self.median(0, row)? / best, name))
    }
}

/// The settings, the table, and how the first peer's hit compares.
pub(crate) fn text(run: &Run) -> String {
    let mut lines = vec![format!(
        "{} keys of 8 bytes in random order, one id each; medians of {} rounds.\n",
        run.keys, run.rounds
    )];
    for peer in peers::ALL {
        let (name, version) = (peer.name, version(peer.crate_name));
        let settings = (peer.settings)(run.keys);
        lines.push(format!("- {name} ({} {version}): {settings}.", peer.crate_name));
    }
    lines.push(String::new());
    lines.extend(table(run));
    lines.push(NOTES.to_owned());
    if let Some((ratio, name)) = run.ratio("hit_ns") {
        let first = peers::ALL[0].name;
        lines.push(format!(
            "\nA hit of {first} takes {ratio:.2} of one of {name}, the best persistent peer; the target is \
             {HIT_TARGET}."
        ));
    }
    lines.join("\n") + "\n"
}

fn table(run: &Run) -> Vec<String> {
    let width = ROWS.iter().map(|(_, label)| label.len()).max().unwrap_or_default();
    let mut head = format!("{:width$}", "");
    for peer in peers::ALL {
        let _ = write!(head, " {:>10}", peer.name);
    }
    let _ = write!(head, "  {} / best peer", peers::ALL[0].name);
    let mut lines = vec![head];
    for (row, label) in ROWS {
        let mut line = format!("{label:width$}");
        for peer in 0..peers::ALL.len() {
            let value = run.median(peer, row).map_or("-".into(), rounded);
            let _ = write!(line, " {value:>10}");
        }
        if let Some((ratio, name)) = run.ratio(row) {
            let _ = write!(line, "  {ratio:.2} ({name})");
        }
        lines.push(line);
    }
    lines
}

/// Three digits of what is small.
fn rounded(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The same figures with all digits, and who the peers are, as `elixir/bench/report.exs` reads them: a
/// line with the title, then the header and each row with tabs in between, then an empty line.
pub(crate) fn tables(run: &Run) -> String {
    let best = format!("{} / best peer", peers::ALL[0].name);
    let mut header = vec![""];
    header.extend(peers::ALL.iter().map(|peer| peer.name));
    header.extend([best.as_str(), "which"]);
    let mut figures = vec![header.join("\t")];
    for (row, label) in ROWS {
        let mut cells = vec![label.to_owned()];
        let medians = (0..peers::ALL.len()).map(|peer| run.median(peer, row));
        cells.extend(medians.map(|median| median.map_or("-".into(), |value| format!("{value:?}"))));
        match run.ratio(row) {
            Some((ratio, name)) => cells.extend([format!("{ratio:?}"), name.to_owned()]),
            None => cells.extend(["-".into(), "-".into()]),
        }
        figures.push(cells.join("\t"));
    }
    let mut who = vec!["\tcrate\tversion\tsettings".to_owned()];
    who.extend(peers::ALL.iter().map(|peer| {
        let settings = (peer.settings)(run.keys);
        [peer.name, peer.crate_name, version(peer.crate_name), &settings].join("\t")
    }));
    let (keys, rounds) = (run.keys, run.rounds);
    format!(
        "The same {keys} keys of 8 bytes in each, in random order; medians of {rounds} rounds\n{}\n\n\
         The peers and their settings\n{}\n\n",
        figures.join("\n"),
        who.join("\n")
    )
}

/// The version that this was built with.
fn version(crate_name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    // Of several, the last one is the newest: ours, where dependencies have older ones.
    let entry = lock.rsplit_once(&format!("name = \"{crate_name}\"\nversion = \""));
    entry.and_then(|(_, rest)| rest.split('"').next()).unwrap_or("?")
}
