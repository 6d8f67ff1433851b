//! Which profiles new raw rows touch, and all raw rows of these.
//!
//! A profile's rows in the views depend on the raw rows of the segment ids merged into it and on nothing else. So of the
//! segment ids that new rows name, all that are one profile with them in the old views are taken, and all old raw rows of
//! these are found in one pass that looks at nothing but the `segment_id` of each row.

use crate::{
    collections::{Set, local_key_of},
    error::{Error, Result},
    json::{Document, Kind, Tape, unescape},
    table::{
        blocks::{BLOCK_BYTES, Block, Meter, map_blocks, map_unseen_blocks, rows},
        scan::{Scanner, Value, value_from},
        source::Source,
    },
    view::{View, row_key::KeyReader},
};

/// Segment ids, for looking up.
pub(super) struct Touched {
    keys: Set<u128>,
    /// Their texts, each once.
    texts: Vec<Vec<u8>>,
    /// Old profiles among them that have rows in the graph.
    pub(super) n_profiles: u64,
}

/// More segment ids than these are not worth the trouble where they are a good part of all.
const FEW: usize = 1000;

impl Touched {
    /// The segment ids that rows name, and those of the profiles that these were in `merges`, a view `profile_merges`.
    ///
    /// `None` where the view is not what it should be, or so much is touched that all may be folded anew.
    pub(super) fn find(
        new: &[&[Source]],
        merges: &Source,
        n_merges: u64,
        meter: &Meter<'_>,
    ) -> Result<Option<Self>> {
        let mut touched = Self { keys: Set::default(), texts: Vec::new(), n_profiles: 0 };
        for sources in new {
            let named = map_blocks(sources, BLOCK_BYTES, meter, |block| {
                let mut finder = Finder::default();
                let mut named: Vec<Vec<u8>> = Vec::new();
                for (_, line) in rows(block.text) {
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
        // A profile that goes on in the next block is one all the same.
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

    /// Profiles of a block of the view that may be touched: all those of which a row is, and the first and the last, which
    /// may have rows in other blocks. `None` where a line is no row of the view.
    fn groups(&self, block: Block<'_>) -> Option<Vec<Group>> {
        let mut reader = KeyReader::new(View::ProfileMerges);
        let mut groups: Vec<Group> = Vec::new();
        let mut n_groups = 0;
        for (_, line) in rows(block.text) {
            let [canonical, segment, _] = reader.parts(line)?;
            if groups.last().is_none_or(|group| group.canonical != *canonical) {
                if 1 < n_groups && groups.last().is_some_and(|group| !group.is_touched) {
                    groups.pop();
                }
                n_groups += 1;
                let is_touched = self.has(&canonical);
                groups.push(Group { canonical: canonical.to_vec(), members: Vec::new(), is_touched });
            }
            let group = groups.last_mut()?;
            group.is_touched |= self.has(&segment);
            group.members.push(segment.into_owned());
        }
        Some(groups)
    }

    /// Whether a segment id is one of them.
    pub(super) fn has(&self, segment_id: &[u8]) -> bool {
        self.keys.contains(&local_key_of(segment_id))
    }

    /// The segment ids, sorted.
    pub(super) fn texts(&self) -> &[Vec<u8>] {
        &self.texts
    }

    /// The rows of a raw table that are of one of them, in their order.
    pub(super) fn rows_of(&self, source: &Source, meter: &Meter<'_>) -> Result<Vec<u8>> {
        let kept = map_unseen_blocks(std::slice::from_ref(source), BLOCK_BYTES, meter, |block| {
            let mut finder = Finder::default();
            let mut kept = Vec::new();
            for (_, line) in rows(block.text) {
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

/// Some rows of one profile in `profile_merges`.
struct Group {
    canonical: Vec<u8>,
    members: Vec<Vec<u8>>,
    is_touched: bool,
}

/// Finds segment ids in raw rows.
#[derive(Default)]
struct Finder {
    scanner: Scanner<Column>,
    tape: Tape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Segment,
    Canonical,
    Other,
}

fn column_of(name: &[u8]) -> Column {
    if name.eq_ignore_ascii_case(b"segment_id") {
        Column::Segment
    } else if name.eq_ignore_ascii_case(b"canonical_segment_id") {
        Column::Canonical
    } else {
        Column::Other
    }
}

impl Finder {
    /// Calls `each` with the segment ids that a row names. A row that cannot be read names none here; whoever reads it
    /// next says what is wrong with it.
    fn names(&mut self, line: &[u8], each: &mut dyn FnMut(&[u8])) {
        let Self { tape, .. } = self;
        if tape.read(line).is_err() {
            return;
        }
        let document = Document { text: line, tokens: &tape.tokens };
        if document.kind(0) == Kind::Object {
            for (key, value) in document.members(0) {
                if column_of(&document.string(key).unwrap_or_default()) != Column::Other
                    && let Some(name) = document.scalar_text(value)
                {
                    each(&name);
                }
            }
        }
    }

    /// Asks of a row's `segment_id`. What stands behind it is not looked at.
    fn segment_of(&mut self, line: &[u8], is_wanted: impl Fn(&[u8]) -> bool) -> bool {
        let Self { scanner, tape } = self;
        let mut found: Option<Value> = None;
        let is_last = |column: &Column| *column == Column::Segment;
        let plain = scanner.scan(line, column_of, is_last, |label, value| {
            if label.class == Column::Segment {
                found = value_from(line, value.start);
            }
        });
        if let (Some(()), Some(value)) = (plain, found) {
            let raw = &line[value.start..value.end];
            return match value.kind {
                Kind::Plain | Kind::Integer | Kind::Number => is_wanted(raw),
                Kind::Escaped => is_wanted(&unescape(raw)),
                _ => false,
            };
        }
        if tape.read(line).is_err() {
            return false;
        }
        let document = Document { text: line, tokens: &tape.tokens };
        document.kind(0) == Kind::Object
            && document.members(0).any(|(key, value)| {
                column_of(&document.string(key).unwrap_or_default()) == Column::Segment
                    && document.scalar_text(value).is_some_and(|text| is_wanted(&text))
            })
    }
}

/// The bytes of a committed raw table behind those that the views reflect.
pub(super) fn rows_behind(source: &Source, reflected: u64) -> Result<Vec<u8>> {
    let length = usize::try_from(source.length() - reflected)
        .map_err(|_| Error::Refused("the new rows are more than memory can hold".into()))?;
    let mut bytes = vec![0; length];
    source.read_at(&mut bytes, reflected)?;
    Ok(bytes)
}
