//! Fails a run that has too many rejects or no events, with the first rejects and a hint that fits them.

use serde::Deserialize;

use super::rejects::RejectedLine;
use crate::{
    error::{Error, Result},
    event::reject::{LinePosition, MaxRejects, RejectReason},
    json::TRAILING_TEXT,
    progress::Progress,
    read::inputs::Input,
    summary::IngestSummary,
};

/// The maximum number of rejects reported one by one.
const MAX_REPORTED: usize = 3;

/// Formats of files that are not events: how the text of their first reject starts, the format, and the tool to
/// decompress it. One layer of gzip or zstd is decompressed on reading.
const FOREIGN_FORMATS: [(&str, &str, &str); 6] = [
    ("\u{fffd}7zXZ\0", "xz", "xz -d"),
    ("BZh", "bzip2", "bzip2 -d"),
    ("PK\u{3}\u{4}", "zip", "unzip"),
    ("7z\u{fffd}\u{fffd}'", "7z", "7z x"),
    ("\u{1f}\u{fffd}\u{8}", "gzip, compressed twice", "gzip -d"),
    ("(\u{fffd}/\u{fffd}", "zstd, compressed twice", "zstd -d"),
];

/// The first rejects of a run, in the order of the inputs.
#[derive(Debug, Default)]
pub struct FirstRejects {
    rows: Vec<(LinePosition, Vec<u8>)>,
    /// The last lines of inputs that end in the middle of an event.
    cut_off: Vec<(LinePosition, Vec<u8>)>,
}

impl FirstRejects {
    /// Adds the rejects of a chunk, in order. `is_cut_off` means that the last one is an incomplete event.
    pub fn add(&mut self, lines: &[RejectedLine], is_cut_off: bool, inputs: &[Input]) {
        if lines.is_empty() {
            return;
        }
        self.rows.extend(lines.iter().flat_map(|line| line.rows(inputs)).take(MAX_REPORTED));
        self.cut_off.extend(lines.last().filter(|_| is_cut_off).and_then(|line| line.rows(inputs).next()));
        for kept in [&mut self.rows, &mut self.cut_off] {
            kept.sort_unstable();
            kept.truncate(MAX_REPORTED);
        }
    }

    fn rows(&self) -> Vec<RejectedRow> {
        read(&self.rows)
    }
}

fn read(rows: &[(LinePosition, Vec<u8>)]) -> Vec<RejectedRow> {
    rows.iter().filter_map(|(_, row)| serde_json::from_slice(row).ok()).collect()
}

/// The reported columns of a row of `rejected`.
#[derive(Deserialize)]
struct RejectedRow {
    file: String,
    line: u64,
    reason: String,
    detail: String,
    text: String,
}

impl RejectedRow {
    fn describe(&self) -> String {
        format!("{}:{}: {} ({})", self.file, self.line, self.reason, self.detail)
    }
}

/// The default limit, as a percentage of all events and rejects.
const DEFAULT_PERCENT: f64 = 5.0;

/// By default, this many rejects are always allowed: a small run must not fail because of one malformed line.
const DEFAULT_FLOOR: u64 = 100;

/// Fails a run with lines but without events, or with more rejects than allowed.
pub(crate) fn check_rejects(
    given: Option<MaxRejects>,
    counted: &IngestSummary,
    first: &FirstRejects,
) -> Result<()> {
    if 0 < counted.lines && counted.events == 0 {
        return Err(no_events_error(counted, &first.rows()));
    }
    let n_rejected: u64 = counted.rejected.values().sum();
    let n_all = counted.events + n_rejected;
    let above = |percent: f64| percent * to_f64(n_all) < 100.0 * to_f64(n_rejected);
    let too_many = match given {
        Some(MaxRejects::Lines(most)) => most < n_rejected,
        Some(MaxRejects::Percent(most)) => above(most),
        None => DEFAULT_FLOOR < n_rejected && above(DEFAULT_PERCENT),
    };
    if !too_many {
        return Ok(());
    }
    let most = given.unwrap_or(MaxRejects::Percent(DEFAULT_PERCENT));
    Err(Error::Refused(format!(
        "{n_rejected} of {n_all} events and lines rejected, more than the {most} allowed: {}",
        list_rejects(n_rejected, &first.rows())
    ))
    .hint("run with `--dry-run --max-rejects 100%` to count them by reason, list them with `--rejects FILE`, or allow more with `--max-rejects`"))
}

/// Lists the first rejects, and how many more there are.
fn list_rejects(n_rejected: u64, first: &[RejectedRow]) -> String {
    let mut named: Vec<_> = first.iter().map(RejectedRow::describe).collect();
    let n_more = n_rejected - named.len() as u64;
    if 0 < n_more {
        named.push(format!("and {n_more} more"));
    }
    named.join("; ")
}

/// Warns about rejects in a run that continues. A quiet run warns only if they are many, or if the first ones show that
/// a file is of the wrong format.
pub(crate) fn warn_of_rejects(counted: &IngestSummary, first: &FirstRejects, progress: &dyn Progress) {
    let n_rejected: u64 = counted.rejected.values().sum();
    if n_rejected == 0 {
        return;
    }
    let rows = first.rows();
    if let Some(doubt) = rows.iter().find_map(|row| Some(format!("{}: {}", row.describe(), hint_for(row)?))) {
        progress.warning(&doubt);
    }
    for RejectedRow { file, line, .. } in read(&first.cut_off) {
        progress.warning(&format!("{file}:{line}: the last line is cut off, so the file may be incomplete"));
    }
    let n_all = counted.events + n_rejected;
    let told =
        format!("{n_rejected} of {n_all} events and lines rejected: {}", list_rejects(n_rejected, &rows));
    warn_if_many(n_rejected, counted.events, &told, progress);
}

/// Warns about something that affects some of the events. A quiet run warns only if it affects at least one event in a
/// thousand.
pub(crate) fn warn_if_many(n: u64, n_events: u64, told: &str, progress: &dyn Progress) {
    if n_events <= n.saturating_mul(1000) { progress.warning(told) } else { progress.minor_warning(told) }
}

/// Returns the reason why a run accepted no event; `None` if it accepted some. If there are no inputs, that has been
/// reported elsewhere.
pub(crate) fn nothing_ingested(summary: &IngestSummary, dry_run: bool) -> Option<String> {
    if 0 < summary.accepted || summary.files == 0 && summary.files_skipped.is_empty() {
        return None;
    }
    let IngestSummary { events, duplicates, filtered, .. } = summary;
    let why = if summary.files == 0 {
        "every input was ingested before".to_owned()
    } else if *events == 0 {
        "the inputs have no lines".to_owned()
    } else {
        match (duplicates, filtered) {
            (1, 0) => "the only event was ingested before".to_owned(),
            (_, 0) => format!("all {events} events were ingested before"),
            (0, 1) => "a drop rule dropped the only event".to_owned(),
            (0, _) => format!("drop rules dropped all {events} events"),
            _ => format!(
                "of {events} events, {duplicates} were ingested before and drop rules dropped {filtered}"
            ),
        }
    };
    Some(format!("nothing {} ingested: {why}", if dry_run { "would be" } else { "was" }))
}

fn no_events_error(counted: &IngestSummary, first: &[RejectedRow]) -> Error {
    let n_lines = counted.lines;
    let mut message = format!("{n_lines} {}, but no events", if n_lines == 1 { "line" } else { "lines" });
    let mut reasons: Vec<_> = counted.rejected.iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    if let Some(row) = first.first() {
        let counts: Vec<_> = reasons.iter().map(|(reason, n)| format!("{reason}: {n}")).collect();
        message = format!("{message} ({}); {}", counts.join(", "), row.describe());
    }
    let most_lack_a_time =
        reasons.first().is_some_and(|(reason, _)| *reason == RejectReason::NoUsableTime.word());
    let hint = match first.first().and_then(hint_for) {
        Some(hint) => hint,
        None if most_lack_a_time => "give each event a time: a `timestamp`, `originalTimestamp`, `sentAt` or `receivedAt` such as \"2026-01-05T10:00:00Z\"".to_owned(),
        None => "give a dump of events: one JSON object per line, with a \"type\" of identify, track, page, screen, group or alias".to_owned(),
    };
    Error::Refused(message).hint(hint)
}

/// Returns a hint if a rejected line shows the format of its file.
fn hint_for(row: &RejectedRow) -> Option<String> {
    let text = &row.text;
    if let Some((_, what, with)) = FOREIGN_FORMATS.iter().find(|(magic, ..)| text.starts_with(magic)) {
        return Some(format!("decompress it first, with `{with}`: it is {what}"));
    }
    if text.starts_with("PAR1") {
        return Some("convert it first, to one JSON object per line: it is parquet".to_owned());
    }
    // A UTF-16 byte order mark is two bytes that are not UTF-8. Without one, every other byte is 0.
    let is_utf_16 = ["\u{fffd}\u{fffd}", "{\0", "\0{"].iter().any(|start| text.starts_with(start));
    if is_utf_16 && text.contains('\0') {
        return Some("convert it first, with `iconv -f UTF-16 -t UTF-8 FILE`: it is UTF-16".to_owned());
    }
    let line = text.trim();
    if line == "{" {
        return Some("put each event on one line, as `jq -c . FILE` does".to_owned());
    }
    if line.starts_with('{') && line.ends_with("},") {
        return Some(
            "remove the commas at the ends of the lines, with `sed 's/,[[:space:]]*$//' FILE`".to_owned(),
        );
    }
    if line.starts_with('{') && row.detail.starts_with(TRAILING_TEXT) {
        return Some("put each event on one line, as `jq -c . FILE` does".to_owned());
    }
    let items = line.strip_prefix('[')?.trim_start();
    let hint = "put each item on one line, as `jq -c '.[]' FILE` does: it is an array";
    (items.is_empty() || items.starts_with('{')).then(|| hint.to_owned())
}

/// Converts a count to a real number. Above 2^53 it is rounded.
#[expect(clippy::cast_precision_loss, reason = "rates and percentages are printed with a few digits")]
pub(crate) fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::reject::Reject;

    fn row(text: &str) -> RejectedRow {
        let detail = if text.contains("}{") {
            format!("{TRAILING_TEXT} at byte 3 of the line")
        } else {
            String::new()
        };
        RejectedRow { file: String::new(), line: 1, reason: String::new(), detail, text: text.to_owned() }
    }

    #[test]
    fn what_a_file_starts_with_tells_what_it_is() {
        let cases: [(&[u8], &str); 16] = [
            (b"[", "jq -c '.[]' FILE"),
            (b"[{\"type\":\"page\"},", "jq -c '.[]' FILE"),
            (b"  [ {\"type\":\"page\"}]", "jq -c '.[]' FILE"),
            (b"{", "jq -c . FILE"),
            (b"\xff\xfe{\0\"\0", "iconv -f UTF-16 -t UTF-8"),
            (b"\xfe\xff\0{\0\"", "iconv -f UTF-16 -t UTF-8"),
            (b"\xfd7zXZ\0\0", "xz -d"),
            (b"BZh91AY&SY", "bzip2 -d"),
            (b"PK\x03\x04\x14", "unzip"),
            (b"7z\xbc\xaf'\x1c", "7z x"),
            (b"\x1f\x8b\x08\0", "gzip -d"),
            (b"\x28\xb5\x2f\xfd\x04", "zstd -d"),
            (b"PAR1\x15", "parquet"),
            (b"{\0\"\0t\0", "iconv -f UTF-16 -t UTF-8"),
            (b"{\"type\":\"page\"}{\"type\":\"page\"}", "jq -c . FILE"),
            (b"  {\"type\":\"page\"},", "sed 's/,"),
        ];
        for (start, expected) in cases {
            let hint = hint_for(&row(&String::from_utf8_lossy(start)));
            assert!(hint.as_ref().is_some_and(|hint| hint.contains(expected)), "{expected}: {hint:?}");
        }
        for start in ["[2026-01-05] GET /", "id,type", "{\"type\":\"page\"}", ""] {
            assert_eq!(hint_for(&row(start)), None, "{start}");
        }
    }

    #[test]
    fn the_first_rejects_are_kept_in_the_order_of_the_inputs() {
        let inputs = ["a", "b"].map(|path| Input { path: path.into(), source: None });
        let row = |input, line| {
            let reject = Reject { reason: RejectReason::NotJson, detail: String::new() };
            RejectedLine::new(LinePosition { input, line, item: 0, byte_offset: 0 }, &reject, b"x")
        };
        let mut first = FirstRejects::default();
        first.add(&[row(1, 1), row(1, 2), row(1, 3), row(1, 4)], true, &inputs);
        first.add(&[row(0, 7), row(0, 9)], false, &inputs);
        first.add(&[], false, &inputs);
        assert_eq!(first.cut_off.len(), 1);
        let kept: Vec<_> = first.rows.iter().map(|(position, _)| (position.input, position.line)).collect();
        assert_eq!(kept, [(0, 7), (0, 9), (1, 1)]);
    }
}
