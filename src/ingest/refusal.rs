//! A run whose lines are no events, or too few of them: the first rejects by name, and a hint that fits what was seen.

use serde::Deserialize;

use super::{MaxRejects, real, rejects::RejectedLine};
use crate::{
    error::{Error, Result},
    event::{
        json::MORE,
        reject::{Position, Reason},
    },
    read::inputs::Input,
    summary::IngestSummary,
};

/// So many rejects are named.
const NAMED: usize = 3;

/// What files start with that hold something else, as far as it shows in the text of a reject; what that is, and what
/// unpacks it. Of gzip and zstd one layer is unpacked by us.
const PACKED: [(&str, &str, &str); 6] = [
    ("\u{fffd}7zXZ\0", "xz", "xz -d"),
    ("BZh", "bzip2", "bzip2 -d"),
    ("PK\u{3}\u{4}", "zip", "unzip"),
    ("7z\u{fffd}\u{fffd}'", "7z", "7z x"),
    ("\u{1f}\u{fffd}\u{8}", "gzip, packed twice", "gzip -d"),
    ("(\u{fffd}/\u{fffd}", "zstd, packed twice", "zstd -d"),
];

/// The first rejects of a run, in the order of the inputs.
#[derive(Debug, Default)]
pub struct FirstRejects(Vec<(Position, Vec<u8>)>);

impl FirstRejects {
    /// Looks at the rejects of a unit, which stand in order.
    pub fn see(&mut self, lines: &[RejectedLine], inputs: &[Input]) {
        if lines.is_empty() {
            return;
        }
        self.0.extend(lines.iter().flat_map(|line| line.rows(inputs)).take(NAMED));
        self.0.sort_unstable();
        self.0.truncate(NAMED);
    }

    fn rows(&self) -> Vec<Row> {
        let read = |(_, row): &(Position, Vec<u8>)| serde_json::from_slice(row).ok();
        self.0.iter().filter_map(read).collect()
    }
}

/// A row of `rejected`, as far as it is told.
#[derive(Deserialize)]
struct Row {
    file: String,
    line: u64,
    reason: String,
    detail: String,
    text: String,
}

impl Row {
    fn told(&self) -> String {
        let told = format!("{}:{}: {} ({})", self.file, self.line, self.reason, self.detail);
        // What stands in a line must not move the cursor of a terminal.
        told.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
    }
}

/// A run needs events, and bears so many rejects.
pub(crate) fn check_lines(
    most: Option<MaxRejects>,
    counted: &IngestSummary,
    first: &FirstRejects,
) -> Result<()> {
    if 0 < counted.lines && counted.events == 0 {
        return Err(not_one_event(counted, &first.rows()));
    }
    let (n_lines, n_rejected) = (counted.lines, counted.rejected.values().sum());
    let (too_many, most) = match most {
        None => return Ok(()),
        Some(MaxRejects::Lines(most)) => (most < n_rejected, format!("{most}")),
        Some(MaxRejects::Percent(most)) => {
            (real(n_lines) * most / 100.0 < real(n_rejected), format!("{most} %"))
        }
    };
    if too_many { Err(too_many_rejects(n_rejected, n_lines, &most, &first.rows())) } else { Ok(()) }
}

fn too_many_rejects(n_rejected: u64, n_lines: u64, most: &str, first: &[Row]) -> Error {
    let mut named: Vec<_> = first.iter().map(Row::told).collect();
    let n_more = n_rejected - named.len() as u64;
    if 0 < n_more {
        named.push(format!("and {n_more} more"));
    }
    Error::Refused(format!(
        "{n_rejected} of {n_lines} lines rejected, more than the {most} allowed: {}",
        named.join("; ")
    ))
    .hint("run with `--dry-run` and without `--max-rejects` to have them counted by reason, and nothing committed")
}

fn not_one_event(counted: &IngestSummary, first: &[Row]) -> Error {
    let n_lines = counted.lines;
    let mut message = format!("{n_lines} {}, but not one event", if n_lines == 1 { "line" } else { "lines" });
    let mut reasons: Vec<_> = counted.rejected.iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    if let Some(row) = first.first() {
        let counts: Vec<_> = reasons.iter().map(|(reason, n)| format!("{reason}: {n}")).collect();
        message = format!("{message} ({}); {}", counts.join(", "), row.told());
    }
    let most_lack_a_time = reasons.first().is_some_and(|(reason, _)| *reason == Reason::NoUsableTime.word());
    let hint = match first.first().and_then(hint_for) {
        Some(hint) => hint,
        None if most_lack_a_time => "give each event a time: a `timestamp`, `originalTimestamp`, `sentAt` or `receivedAt` such as \"2026-01-05T10:00:00Z\"".to_owned(),
        None => "give a dump of events: one JSON object a line, with a \"type\" of identify, track, page, screen, group or alias".to_owned(),
    };
    Error::Refused(message).hint(hint)
}

/// What the first rejects show a file to be that has events all the same, and what to do about it.
pub(crate) fn doubt(first: &FirstRejects) -> Option<String> {
    first.rows().iter().find_map(|row| Some(format!("{}: {}", row.told(), hint_for(row)?)))
}

/// What to do about a file with such a line, where that shows what it is.
fn hint_for(row: &Row) -> Option<String> {
    let text = &row.text;
    if let Some((_, what, with)) = PACKED.iter().find(|(magic, ..)| text.starts_with(magic)) {
        return Some(format!("unpack it first, with `{with}`: it is {what}"));
    }
    if text.starts_with("PAR1") {
        return Some("unpack it first, to one JSON object a line: it is parquet".to_owned());
    }
    // Either byte order mark is two bytes that are not UTF-8; without one, each second byte is 0.
    let is_utf_16 = ["\u{fffd}\u{fffd}", "{\0", "\0{"].iter().any(|start| text.starts_with(start));
    if is_utf_16 && text.contains('\0') {
        return Some("convert it first, with `iconv -f UTF-16 -t UTF-8 FILE`: it is UTF-16".to_owned());
    }
    let line = text.trim();
    if line == "{" {
        return Some("give each event on one line, as `jq -c . FILE` prints them".to_owned());
    }
    if line.starts_with('{') && line.ends_with("},") {
        return Some(
            "take the commas off the ends of the lines, with `sed 's/,[[:space:]]*$//' FILE`".to_owned(),
        );
    }
    if line.starts_with('{') && row.detail.starts_with(MORE) {
        return Some("give each event on one line, as `jq -c . FILE` prints them".to_owned());
    }
    let items = line.strip_prefix('[')?.trim_start();
    let hint = "give its items one a line, as `jq -c '.[]' FILE` prints them: it is an array";
    (items.is_empty() || items.starts_with('{')).then(|| hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::reject::Reject;

    fn row(text: &str) -> Row {
        let detail =
            if text.contains("}{") { format!("{MORE} at byte 3 of the line") } else { String::new() };
        Row { file: String::new(), line: 1, reason: String::new(), detail, text: text.to_owned() }
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
            let reject = Reject { reason: Reason::NotJson, detail: String::new() };
            RejectedLine::new(Position { input, line, item: 0, byte_offset: 0 }, &reject, b"x")
        };
        let mut first = FirstRejects::default();
        first.see(&[row(1, 1), row(1, 2), row(1, 3), row(1, 4)], &inputs);
        first.see(&[row(0, 7), row(0, 9)], &inputs);
        first.see(&[], &inputs);
        let kept: Vec<_> = first.0.iter().map(|(position, _)| (position.input, position.line)).collect();
        assert_eq!(kept, [(0, 7), (0, 9), (1, 1)]);
    }
}
