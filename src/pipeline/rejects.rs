//! Collects rejected lines and returns them in the order of the inputs, however chunks were read. Spills them as sorted
//! runs if they are many, and merges the runs at the end.
//!
//! A batch may have a million malformed items, and the row of each contains the text of its line. So a line is stored
//! once, with the errors of its items, and rows are rendered on output.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    event::reject::{self, LinePosition, MAX_TEXT, Reject, RejectReason},
    files::{Files, OutFile},
    read::{
        inputs::Input,
        spill::{SpillStore, SpilledBytes},
    },
    space::guard::belongs_to_space,
};

/// How many bytes of encoded lines are spilled at once.
const SPILL_BYTES: usize = 1 << 18;
/// This many sorted runs are merged into one, so that few are open at the end.
const MERGE_WIDTH: usize = 16;

/// A rejected line, or a line with rejected items. Ordered by input and line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectedLine {
    input: u32,
    line: u64,
    byte_offset: u64,
    /// The start of the line, as far as rows may need it.
    text: Box<[u8]>,
    /// The encoded errors of its items: the item's index, then 0 if the error is that of the item before. Otherwise 1
    /// plus the reason, the length of the detail, and the detail.
    items: Vec<u8>,
}

impl RejectedLine {
    /// Creates a line with its first error.
    #[must_use]
    pub fn new(position: LinePosition, reject: &Reject, line: &[u8]) -> Self {
        let LinePosition { input, line: number, item, byte_offset } = position;
        let text = line[..line.len().min(MAX_TEXT + 4)].into();
        let mut rejected = Self { input, line: number, byte_offset, text, items: Vec::new() };
        rejected.push(item, None, reject);
        rejected
    }

    /// Adds the error of an item. `before` is the error added last.
    pub fn push(&mut self, item: u32, before: Option<&Reject>, reject: &Reject) {
        self.items.extend_from_slice(&item.to_le_bytes());
        if before == Some(reject) {
            self.items.push(0);
            return;
        }
        self.items.push(reject.reason as u8 + 1);
        let length = u32::try_from(reject.detail.len()).expect("a detail is shorter than 4 GiB");
        self.items.extend_from_slice(&length.to_le_bytes());
        self.items.extend_from_slice(reject.detail.as_bytes());
    }

    /// Returns whether this is the line at `position`.
    #[must_use]
    pub fn is_of(&self, position: LinePosition) -> bool {
        (self.input, self.line) == (position.input, position.line)
    }

    /// Renders its rows, with their positions.
    pub fn rows<'a>(&'a self, inputs: &'a [Input]) -> impl Iterator<Item = (LinePosition, Vec<u8>)> + 'a {
        let Self { input, line, byte_offset, text, .. } = self;
        let (input, line, byte_offset) = (*input, *line, *byte_offset);
        let file = inputs[input as usize].name();
        let mut rest = self.items.as_slice();
        let mut reject = None;
        std::iter::from_fn(move || {
            let (item, now) = decode_item(&mut rest)?;
            reject = now.or(reject.take());
            let position = LinePosition { input, line, item, byte_offset };
            let mut row = Vec::new();
            reject::push_row(&mut row, &file, position, reject.as_ref()?, text);
            Some((position, row))
        })
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.items.capacity()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.input.to_le_bytes());
        out.extend_from_slice(&self.line.to_le_bytes());
        out.extend_from_slice(&self.byte_offset.to_le_bytes());
        for bytes in [&*self.text, &*self.items] {
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }

    fn decode(rest: &mut &[u8]) -> Option<Self> {
        let input = u32::from_le_bytes(take(rest)?);
        let line = u64::from_le_bytes(take(rest)?);
        let byte_offset = u64::from_le_bytes(take(rest)?);
        let text = take_bytes(rest)?.into();
        let items = take_bytes(rest)?.into();
        Some(Self { input, line, byte_offset, text, items })
    }
}

/// Decodes the next item and its error. The error is `None` if it is that of the item before.
fn decode_item(rest: &mut &[u8]) -> Option<(u32, Option<Reject>)> {
    let item = u32::from_le_bytes(take(rest)?);
    let [reason] = take(rest)?;
    let Some(reason) = reason.checked_sub(1) else { return Some((item, None)) };
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (detail, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    let detail = String::from_utf8_lossy(detail).into_owned();
    Some((item, Some(Reject { reason: *RejectReason::ALL.get(usize::from(reason))?, detail })))
}

/// All rejected lines of one execution of the program.
#[derive(Debug)]
pub struct RejectStore {
    lines: Vec<RejectedLine>,
    bytes: usize,
    /// How many bytes of lines may be in memory before they are spilled.
    in_memory: usize,
    /// Sorted runs, each with the number of times it was merged.
    runs: Vec<(u32, Vec<SpilledBytes>)>,
}

impl RejectStore {
    /// Creates an empty collection. `memory` is the program's memory limit.
    #[must_use]
    pub fn new(memory: u64) -> Self {
        let in_memory = usize::try_from(memory / 16).unwrap_or(usize::MAX).clamp(1 << 20, 32 << 20);
        Self { lines: Vec::new(), bytes: 0, in_memory, runs: Vec::new() }
    }

    /// Adds lines, spilling them if they exceed the memory limit.
    pub fn add(&mut self, lines: Vec<RejectedLine>, spill: &SpillStore) -> Result<()> {
        for line in lines {
            self.bytes += line.size();
            self.lines.push(line);
            if self.in_memory < self.bytes {
                self.spill(spill)?;
            }
        }
        Ok(())
    }

    fn spill(&mut self, spill: &SpillStore) -> Result<()> {
        self.lines.sort_unstable();
        let mut run = RejectRunWriter::new(spill);
        for line in self.lines.drain(..) {
            run.push(&line)?;
        }
        self.runs.push((0, run.finish()?));
        self.bytes = 0;
        while let Some(from) = self.runs.len().checked_sub(MERGE_WIDTH)
            && self.runs[from..].iter().all(|(level, _)| *level == self.runs[from].0)
        {
            let level = self.runs[from].0 + 1;
            let runs = self.runs.drain(from..).map(|(_, pieces)| RejectRun::of(pieces)).collect();
            let mut merged = RejectRunWriter::new(spill);
            merge(runs, |line| merged.push(&line))?;
            self.runs.push((level, merged.finish()?));
        }
        Ok(())
    }

    /// Passes all rows to `give`, in order.
    pub fn drain(mut self, inputs: &[Input], mut give: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.lines.sort_unstable();
        self.lines.reverse();
        let mut runs: Vec<RejectRun> =
            self.runs.into_iter().map(|(_, pieces)| RejectRun::of(pieces)).collect();
        runs.push(RejectRun { lines: self.lines, pieces: Vec::new() });
        merge(runs, |line| line.rows(inputs).try_for_each(|(_, row)| give(&row)))
    }
}

fn merge(mut runs: Vec<RejectRun>, mut give: impl FnMut(RejectedLine) -> Result<()>) -> Result<()> {
    let mut next: BinaryHeap<Reverse<(RejectedLine, usize)>> = BinaryHeap::new();
    for (number, run) in runs.iter_mut().enumerate() {
        next.extend(run.next()?.map(|line| Reverse((line, number))));
    }
    while let Some(Reverse((line, number))) = next.pop() {
        give(line)?;
        next.extend(runs[number].next()?.map(|line| Reverse((line, number))));
    }
    Ok(())
}

/// Writes a sorted run.
struct RejectRunWriter<'a> {
    spill: &'a SpillStore,
    piece: Vec<u8>,
    pieces: Vec<SpilledBytes>,
}

impl<'a> RejectRunWriter<'a> {
    fn new(spill: &'a SpillStore) -> Self {
        Self { spill, piece: Vec::new(), pieces: Vec::new() }
    }

    fn push(&mut self, line: &RejectedLine) -> Result<()> {
        line.encode(&mut self.piece);
        if SPILL_BYTES < self.piece.len() {
            self.pieces.push(self.spill.write(&self.piece)?);
            self.piece.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<SpilledBytes>> {
        if !self.piece.is_empty() {
            self.pieces.push(self.spill.write(&self.piece)?);
        }
        Ok(self.pieces)
    }
}

/// Reads a sorted run. The lines in memory and the spilled pieces are both in reverse order.
struct RejectRun {
    lines: Vec<RejectedLine>,
    pieces: Vec<SpilledBytes>,
}

impl RejectRun {
    fn of(mut pieces: Vec<SpilledBytes>) -> Self {
        pieces.reverse();
        Self { lines: Vec::new(), pieces }
    }

    fn next(&mut self) -> Result<Option<RejectedLine>> {
        if self.lines.is_empty()
            && let Some(piece) = self.pieces.pop()
        {
            let mut bytes = Vec::new();
            piece.read(&mut bytes).map_err(|e| Error::io("read the spilled rows of", "rejected", e))?;
            let mut rest = bytes.as_slice();
            while let Some(line) = RejectedLine::decode(&mut rest) {
                self.lines.push(line);
            }
            self.lines.reverse();
        }
        Ok(self.lines.pop())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (now, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*now)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u64::from_le_bytes(take(rest)?)).ok()?;
    let (now, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(now)
}

/// The file of `--rejects`. It is written under a temporary name and renamed once it is complete; pipes and devices are
/// written directly.
pub(crate) struct RejectList<'a> {
    path: &'a Path,
    out: OutFile,
    is_beside: bool,
    waiting: Vec<u8>,
    files: &'a Files,
}

impl<'a> RejectList<'a> {
    /// Opens the file, so that a path that cannot be written is reported early.
    pub(crate) fn new(path: &'a Path, files: &'a Files) -> Result<Self> {
        let there = std::fs::metadata(path).ok();
        let is_beside = there.is_none_or(|there| there.is_file());
        let out = if is_beside {
            files.create_replacing(&temporary_path(path))?
        } else {
            files.open_to_write(path)?
        };
        Ok(Self { path, out, is_beside, waiting: Vec::new(), files })
    }

    pub(crate) fn push(&mut self, row: &[u8]) -> Result<()> {
        self.waiting.extend_from_slice(row);
        if SPILL_BYTES < self.waiting.len() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.out.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }

    /// Writes the remaining rows and renames the file.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        if std::mem::take(&mut self.is_beside) {
            self.files.rename(&temporary_path(self.path), self.path)?;
        }
        Ok(())
    }
}

/// Removes the temporary file if the run failed before the list was complete.
impl Drop for RejectList<'_> {
    fn drop(&mut self) {
        if self.is_beside {
            let _ = self.files.remove_file(&temporary_path(self.path));
        }
    }
}

/// Returns the temporary name of the list, which nobody else should use.
fn temporary_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.profiles-sync.tmp"))
}

/// Fails if the path is that of an input, of a folder, or of a file of a space.
pub(crate) fn check_list_path(path: &Path, space: &Path, inputs: &[Input]) -> Result<()> {
    let hint = |error: Error| Err(error.hint("choose another file for `--rejects`"));
    if path.is_dir() {
        return hint(Error::file(path, "is a folder"));
    }
    let same =
        |other: &Path| path.canonicalize().is_ok_and(|path| other.canonicalize().is_ok_and(|it| it == path));
    if inputs.iter().any(|input| same(&input.path)) {
        return hint(Error::file(path, "is an input of this run"));
    }
    if belongs_to_space(path, &[space]) {
        return hint(Error::file(path, "is the path of a table or another file of a space"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_that_do_not_fit_come_out_in_the_order_of_the_inputs() {
        const LINES: u64 = 2000;
        let folder = tempfile::tempdir().unwrap();
        let spill = SpillStore::new(folder.path());
        let inputs = ["a", "b"].map(|path| Input { path: path.into(), source: None });
        let mut rejects = RejectStore::new(0);
        let reject = |detail: &str| Reject { reason: RejectReason::NotJson, detail: detail.to_owned() };
        for number in 0..2 * LINES {
            // In no particular order, and much larger than the memory limit.
            let place = number * 1237 % (2 * LINES);
            let input = u32::from(place % 2 == 1);
            let position = LinePosition { input, line: place / 2, item: 1, byte_offset: 7 };
            let mut line = RejectedLine::new(position, &reject("one"), &vec![b'x'; 20_000]);
            line.push(2, Some(&reject("one")), &reject("one"));
            line.push(5, Some(&reject("one")), &reject("two"));
            rejects.add(vec![line], &spill).unwrap();
        }
        assert!(rejects.bytes < 2 << 20 && rejects.runs.len() < 2 * MERGE_WIDTH);
        let mut rows: Vec<(String, u64, String)> = Vec::new();
        let give = |row: &[u8]| {
            let row: serde_json::Value = serde_json::from_slice(row).unwrap();
            let text = |column: &str| row[column].as_str().unwrap().to_owned();
            assert_eq!(text("text").len(), 20_000);
            rows.push((text("file"), row["line"].as_u64().unwrap(), text("detail")));
            Ok(())
        };
        rejects.drain(&inputs, give).unwrap();
        let of_line =
            |file: &str, line: u64| ["one", "one", "two"].map(|d| (file.to_owned(), line, d.to_owned()));
        let expected = ["a", "b"].into_iter().flat_map(|file| (0..LINES).flat_map(move |n| of_line(file, n)));
        assert!(rows.into_iter().eq(expected));
    }
}
