//! Replaces some rows of a sorted view. The view is read once from front to end and written again.
//!
//! Rows are found by binary search within a block, so a block without changes costs only a copy and its digest.

use crate::{
    error::Result,
    read::digest::Digest,
    table::{source::TableSource, write::ViewWriter},
    view::row_key::KeyReader,
};

/// New rows that replace all old rows with a key, or with keys that begin with it.
pub(super) struct Patch {
    /// The encoded key.
    pub(super) key: Vec<u8>,
    /// Their range in the text of all new rows.
    pub(super) rows: std::ops::Range<usize>,
}

/// The result of patching a view.
pub(super) struct PatchResult {
    /// The number of rows removed.
    pub(super) n_removed: u64,
    /// The digest of the old view.
    pub(super) digest: String,
}

/// Bytes read at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// Fewer bytes than this are buffered before they are written.
const FEW_BYTES: usize = 1 << 15;

/// Writes a view with patches applied, which must be sorted by key. `keys` reads as much of a row's key as the patches
/// have.
///
/// Returns `None` if a line is not a row of the view.
pub(super) fn patch(
    old: &TableSource,
    new_rows: &[u8],
    edits: &[Patch],
    keys: &mut KeyReader,
    out: &mut ViewWriter<'_>,
) -> Result<Option<PatchResult>> {
    let mut splicing =
        Patcher { new_rows, edits, keys, out, waiting: Vec::new(), n_removed: 0, scratch: Vec::new() };
    let mut digest = Digest::default();
    let mut block = Vec::new();
    let mut at = 0;
    while at < old.length() {
        let n_kept = block.len();
        let n_read = usize::try_from(old.length() - at).map_or(BLOCK_BYTES, |rest| rest.min(BLOCK_BYTES));
        block.resize(n_kept + n_read, 0);
        old.read_at(&mut block[n_kept..], at)?;
        digest.update(&block[n_kept..]);
        at += n_read as u64;
        let Some(end) = memchr::memrchr(b'\n', &block[n_kept..]) else { continue };
        let end = n_kept + end + 1;
        if splicing.take(&block[..end])?.is_none() {
            return Ok(None);
        }
        block.drain(..end);
    }
    if !block.is_empty() {
        return Ok(None);
    }
    while let Some(edit) = splicing.edits.first() {
        splicing.insert(edit)?;
    }
    let Patcher { waiting, n_removed, out, .. } = splicing;
    out.write(&waiting)?;
    Ok(Some(PatchResult { n_removed, digest: digest.hex() }))
}

struct Patcher<'a, 'o> {
    new_rows: &'a [u8],
    /// The patches that have not been applied.
    edits: &'a [Patch],
    keys: &'a mut KeyReader,
    out: &'a mut ViewWriter<'o>,
    /// The buffer of rows to write.
    waiting: Vec<u8>,
    n_removed: u64,
    scratch: Vec<u8>,
}

impl<'a> Patcher<'a, '_> {
    /// Patches whole lines of the old view. Returns `None` if one of them is not a row.
    fn take(&mut self, mut lines: &[u8]) -> Result<Option<()>> {
        while let Some(edit) = self.edits.first() {
            let Some(start) = self.first_not_below(lines, &edit.key) else { return Ok(None) };
            self.write(&lines[..start])?;
            lines = &lines[start..];
            let Some(end) = self.first_above(lines, &edit.key) else { return Ok(None) };
            self.n_removed += memchr::memchr_iter(b'\n', &lines[..end]).count() as u64;
            lines = &lines[end..];
            if lines.is_empty() {
                // The next lines may have the same key.
                return Ok(Some(()));
            }
            self.insert(edit)?;
        }
        self.write(lines)?;
        Ok(Some(()))
    }

    fn insert(&mut self, edit: &'a Patch) -> Result<()> {
        self.edits = &self.edits[1..];
        self.write(&self.new_rows[edit.rows.clone()])
    }

    fn write(&mut self, lines: &[u8]) -> Result<()> {
        // Only small slices are worth a copy.
        let is_large = FEW_BYTES <= lines.len();
        if !self.waiting.is_empty() && (is_large || BLOCK_BYTES <= self.waiting.len() + lines.len()) {
            self.out.write(&self.waiting)?;
            self.waiting.clear();
        }
        if is_large {
            return self.out.write(lines);
        }
        self.waiting.extend_from_slice(lines);
        Ok(())
    }

    /// Returns the start of the first line whose key is not less than this one.
    fn first_not_below(&mut self, lines: &[u8], key: &[u8]) -> Option<usize> {
        self.binary_search(lines, |other| other < key)
    }

    /// Returns the start of the first line whose key is greater than this one.
    fn first_above(&mut self, lines: &[u8], key: &[u8]) -> Option<usize> {
        self.binary_search(lines, |other| other <= key)
    }

    fn binary_search(&mut self, lines: &[u8], is_before: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let mut scratch = std::mem::take(&mut self.scratch);
        // Lines before `low` are before the target, those from `high` on are after it. The target is usually near, so
        // the search starts with small steps.
        let (mut low, mut high) = (0, lines.len());
        let mut step = 1 << 10;
        while low < high {
            let near = low.saturating_add(step);
            let middle = if near < high { near } else { usize::midpoint(low, high) };
            let start = memchr::memrchr(b'\n', &lines[low..middle]).map_or(low, |end| low + end + 1);
            let end = middle + memchr::memchr(b'\n', &lines[middle..])? + 1;
            self.keys.encode(&lines[start..end - 1], &mut scratch)?;
            if is_before(&scratch) {
                low = end;
                step = step.saturating_mul(2);
            } else {
                high = start;
                step = usize::MAX;
            }
        }
        self.scratch = scratch;
        Some(low)
    }
}
