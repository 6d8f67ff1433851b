//! The profiles that new raw rows affect, and all raw rows of these profiles.
//!
//! A profile's rows in the views depend only on the raw rows of the segment ids merged into it. For the segment ids in
//! new rows, the old views give all other ids of the same profiles. All old raw rows of these ids are then found in one
//! pass, which reads only the `segment_id` of each row.

use crate::{
    collections::{Set, local_key_of},
    error::{Error, Result},
    json::{Document, JsonKind, Tape, unescape},
    table::{
        blocks::{
            BLOCK_BYTES, SharedProgress, TableBlock, map_blocks, map_unchecked_blocks, non_blank_lines,
        },
        scan::{RowScanner, ValueSpan, value_from},
        source::TableSource,
    },
    view::{View, row_key::KeyReader},
};

/// The segment ids of affected profiles.
pub(super) struct AffectedProfiles {
    keys: Set<u128>,
    /// Their texts, without duplicates.
    texts: Vec<Vec<u8>>,
    /// The number of affected profiles in the old views.
    pub(super) n_profiles: u64,
}

/// If more segment ids are affected, and they are a good part of all, an update is not worth it.
const FEW: usize = 1000;

impl AffectedProfiles {
    /// Finds the segment ids in new rows, and all ids of their profiles in `merges`, a view `profile_merges`.
    ///
    /// Returns `None` if the view is malformed, or if so much is affected that all views should be rebuilt.
    pub(super) fn find(
        new: &[&[TableSource]],
        merges: &TableSource,
        n_merges: u64,
        meter: &SharedProgress<'_>,
    ) -> Result<Option<Self>> {
        let mut touched = Self { keys: Set::default(), texts: Vec::new(), n_profiles: 0 };
        for sources in new {
            let named = map_blocks(sources, BLOCK_BYTES, meter, |block| {
                let mut finder = SegmentIdFinder::default();
                let mut named: Vec<Vec<u8>> = Vec::new();
                for (_, line) in non_blank_lines(block.text) {
                    finder.names(line, &mut |name| named.push(name.to_vec()));
                }
                Ok(named)
            })?;
            named.into_iter().flatten().for_each(|name| touched.add(name));
        }
        let most = FEW.max(usize::try_from(n_merges / 4).unwrap_or(usize::MAX));
        let groups =
            map_blocks(std::slice::from_ref(merges), BLOCK_BYTES, meter, |block| Ok(touched.groups(block)))?;
        let Some(groups) = groups.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        // A profile may continue in the next block.
        let mut last: Option<(Vec<u8>, bool)> = None;
        let mut members: Vec<Vec<u8>> = Vec::new();
        for group in groups.into_iter().flatten() {
            let goes_on = last.as_ref().is_some_and(|(canonical, _)| *canonical == group.canonical);
            if !goes_on {
                touched.end_group(last.take(), &mut members);
            }
            let before = last.take().is_some_and(|(_, is_touched)| is_touched);
            members.extend(group.members);
            last = Some((group.canonical, before || group.is_touched));
        }
        touched.end_group(last, &mut members);
        touched.texts.sort_unstable();
        Ok((touched.texts.len() <= most).then_some(touched))
    }

    fn end_group(&mut self, group: Option<(Vec<u8>, bool)>, members: &mut Vec<Vec<u8>>) {
        if let Some((canonical, true)) = group {
            self.n_profiles += 1;
            self.add(canonical);
            members.drain(..).for_each(|member| self.add(member));
        }
        members.clear();
    }

    fn add(&mut self, text: Vec<u8>) {
        if self.keys.insert(local_key_of(&text)) {
            self.texts.push(text);
        }
    }

    /// Returns the profiles in a block of the view that may be affected: those with an affected row, and the first and
    /// the last one, which may have rows in other blocks. Returns `None` if a line is not a row of the view.
    fn groups(&self, block: TableBlock<'_>) -> Option<Vec<AffectedGroup>> {
        let mut reader = KeyReader::new(View::ProfileMerges);
        let mut groups: Vec<AffectedGroup> = Vec::new();
        let mut n_groups = 0;
        for (_, line) in non_blank_lines(block.text) {
            let [canonical, segment, _] = reader.texts(line)?;
            if groups.last().is_none_or(|group| group.canonical != *canonical) {
                if 1 < n_groups && groups.last().is_some_and(|group| !group.is_touched) {
                    groups.pop();
                }
                n_groups += 1;
                let is_touched = self.has(&canonical);
                groups.push(AffectedGroup { canonical: canonical.to_vec(), members: Vec::new(), is_touched });
            }
            let group = groups.last_mut()?;
            group.is_touched |= self.has(&segment);
            group.members.push(segment.into_owned());
        }
        Some(groups)
    }

    /// Returns whether a segment id is affected.
    pub(super) fn has(&self, segment_id: &[u8]) -> bool {
        self.keys.contains(&local_key_of(segment_id))
    }

    /// Returns the affected segment ids, sorted.
    pub(super) fn texts(&self) -> &[Vec<u8>] {
        &self.texts
    }

    /// Returns the rows of a raw table that have an affected segment id, in their order.
    pub(super) fn rows_of(&self, source: &TableSource, meter: &SharedProgress<'_>) -> Result<Vec<u8>> {
        let kept = map_unchecked_blocks(std::slice::from_ref(source), BLOCK_BYTES, meter, |block| {
            let mut finder = SegmentIdFinder::default();
            let mut kept = Vec::new();
            for (_, line) in non_blank_lines(block.text) {
                if finder.segment_of(line, |segment| self.has(segment)) {
                    kept.extend_from_slice(line);
                    kept.push(b'\n');
                }
            }
            kept
        })?;
        Ok(kept.concat())
    }
}

/// Consecutive rows of one profile in `profile_merges`.
struct AffectedGroup {
    canonical: Vec<u8>,
    members: Vec<Vec<u8>>,
    is_touched: bool,
}

/// Finds segment ids in raw rows.
#[derive(Default)]
struct SegmentIdFinder {
    scanner: RowScanner<GraphColumn>,
    tape: Tape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum GraphColumn {
    Segment,
    Canonical,
    Other,
}

fn column_of(name: &[u8]) -> GraphColumn {
    if name.eq_ignore_ascii_case(b"segment_id") {
        GraphColumn::Segment
    } else if name.eq_ignore_ascii_case(b"canonical_segment_id") {
        GraphColumn::Canonical
    } else {
        GraphColumn::Other
    }
}

impl SegmentIdFinder {
    /// Calls `each` with the segment ids in a row. A malformed row has none here; the code that reads it next reports
    /// the error.
    fn names(&mut self, line: &[u8], each: &mut dyn FnMut(&[u8])) {
        let Self { tape, .. } = self;
        if tape.read(line).is_err() {
            return;
        }
        let document = Document { text: line, tokens: &tape.tokens };
        if document.kind(0) == JsonKind::Object {
            for (key, value) in document.members(0) {
                if column_of(&document.string(key).unwrap_or_default()) != GraphColumn::Other
                    && let Some(name) = document.scalar_text(value)
                {
                    each(&name);
                }
            }
        }
    }

    /// Returns whether a row's `segment_id` is wanted. Does not read what follows it.
    fn segment_of(&mut self, line: &[u8], is_wanted: impl Fn(&[u8]) -> bool) -> bool {
        let Self { scanner, tape } = self;
        let mut found: Option<ValueSpan> = None;
        let is_last = |column: &GraphColumn| *column == GraphColumn::Segment;
        let plain = scanner.scan(line, column_of, is_last, |label, value| {
            if label.class == GraphColumn::Segment {
                found = value_from(line, value.start);
            }
        });
        if let (Some(()), Some(value)) = (plain, found) {
            let raw = &line[value.start..value.end];
            return match value.kind {
                JsonKind::Plain | JsonKind::Integer | JsonKind::Number => is_wanted(raw),
                JsonKind::Escaped => is_wanted(&unescape(raw)),
                _ => false,
            };
        }
        if tape.read(line).is_err() {
            return false;
        }
        let document = Document { text: line, tokens: &tape.tokens };
        document.kind(0) == JsonKind::Object
            && document.members(0).any(|(key, value)| {
                column_of(&document.string(key).unwrap_or_default()) == GraphColumn::Segment
                    && document.scalar_text(value).is_some_and(|text| is_wanted(&text))
            })
    }
}

/// Returns the rows of a committed raw table that the views do not reflect.
pub(super) fn new_rows(source: &TableSource, reflected: u64) -> Result<Vec<u8>> {
    let length = usize::try_from(source.length() - reflected)
        .map_err(|_| Error::Refused("the new rows do not fit in memory".into()))?;
    let mut bytes = vec![0; length];
    source.read_at(&mut bytes, reflected)?;
    Ok(bytes)
}
