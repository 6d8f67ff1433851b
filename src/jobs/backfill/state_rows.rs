//! Parses the tables of a snapshot on all cores: of each row its clocks, its position and the columns that are needed.

use super::conflicts::ConflictReason;
use crate::{
    error::Result,
    json::{JsonKind, unescape},
    names::snake_case,
    table::{
        blocks::{
            BLOCK_BYTES, LineProblem, ROW_HINT, SharedProgress, TableBlock, map_blocks, non_blank_lines,
        },
        clock::Clock,
        reread::RowPosition,
        row::{RowReader, TableRow, not_json},
        source::TableSource,
        to_u32,
    },
    view::{snapshot::Snapshot, snapshot_reader::SnapshotReader},
};

/// What a column must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnRequirement {
    /// A non-empty text.
    Name,
    /// The name of a trait, with a letter or digit.
    Key,
    /// A text, without which the row cannot be used.
    Text,
    /// Any value, or none.
    Any,
}

/// Parsed rows of a block of lines.
#[derive(Debug, Default)]
pub struct SnapshotRows<const N: usize> {
    /// The rows.
    pub rows: Vec<SnapshotRow<N>>,
    /// The traits of all rows, if requested.
    pub traits: Vec<SnapshotTrait>,
    /// Rows that lack a part of their key.
    pub unusable: Vec<UnusableRow>,
    texts: Vec<u8>,
}

/// A row that lacks a part of its key.
#[derive(Debug)]
pub struct UnusableRow {
    /// The position of the row.
    pub place: RowPosition,
    /// Why it cannot be used.
    pub reason: ConflictReason,
    /// The reason as text for people.
    pub detail: String,
    /// What to do if all rows of the table are like this.
    pub hint: &'static str,
}

/// A row of a snapshot's table.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotRow<const N: usize> {
    /// Its clocks.
    pub clock: Clock,
    /// Its position.
    pub place: RowPosition,
    columns: [Option<BlockText>; N],
    /// Its traits, as a range of [`SnapshotRows::traits`].
    pub traits: (u32, u32),
}

/// A trait in a row of `profile_traits`.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotTrait {
    name: BlockText,
    json: BlockText,
    /// Whether SQL models and loaders use this column name for bookkeeping.
    pub is_bookkeeping: bool,
}

#[derive(Debug, Clone, Copy)]
struct BlockText {
    start: u32,
    end: u32,
}

impl<const N: usize> SnapshotRows<N> {
    /// Returns the decoded text of a column; `None` for null.
    #[must_use]
    pub fn text(&self, row: &SnapshotRow<N>, column: usize) -> Option<&[u8]> {
        row.columns[column].map(|text| self.of(text))
    }

    /// Returns the name and the JSON of a trait.
    #[must_use]
    pub fn trait_of(&self, one: &SnapshotTrait) -> (&[u8], &[u8]) {
        (self.of(one.name), self.of(one.json))
    }

    fn of(&self, text: BlockText) -> &[u8] {
        &self.texts[text.start as usize..text.end as usize]
    }

    /// Stores the columns of a row. Fails if it lacks a part of its key.
    fn push_columns(
        &mut self,
        row: &TableRow<'_, N>,
        columns: [(&'static str, ColumnRequirement); N],
    ) -> Result<[Option<BlockText>; N], (ConflictReason, LineProblem)> {
        let mut texts = [None; N];
        for (column, (_, wanted)) in columns.into_iter().enumerate() {
            let without_key = |problem| (ConflictReason::RowWithoutKey, problem);
            texts[column] = match wanted {
                ColumnRequirement::Name => Some(self.push(&row.required_name(column).map_err(without_key)?)),
                ColumnRequirement::Text => Some(self.push(&row.required(column).map_err(without_key)?)),
                ColumnRequirement::Key => {
                    let without_name = |problem| (ConflictReason::TraitWithoutName, problem);
                    let name = row.required_name(column).map_err(without_name)?;
                    if snake_case(&name).is_empty() {
                        return Err(without_name(LineProblem {
                            message: "a trait whose name has no letters or digits".into(),
                            hint: ROW_HINT,
                        }));
                    }
                    Some(self.push(&name))
                }
                ColumnRequirement::Any => row.value(column).map(|value| match value {
                    (JsonKind::Escaped, raw) => self.push(&unescape(raw)),
                    (_, raw) => self.push(raw),
                }),
            };
        }
        Ok(texts)
    }

    fn push(&mut self, text: &[u8]) -> BlockText {
        let start = to_u32(self.texts.len());
        self.texts.extend_from_slice(text);
        BlockText { start, end: to_u32(self.texts.len()) }
    }
}

/// Reads a table.
pub fn read<const N: usize>(
    sources: &[TableSource],
    columns: [(&'static str, ColumnRequirement); N],
    with_traits: bool,
    meter: &SharedProgress<'_>,
) -> Result<Vec<SnapshotRows<N>>> {
    map_blocks(sources, BLOCK_BYTES, meter, |block| parse(block, columns, with_traits))
}

fn parse<const N: usize>(
    block: TableBlock<'_>,
    columns: [(&'static str, ColumnRequirement); N],
    with_traits: bool,
) -> Result<SnapshotRows<N>, (usize, LineProblem)> {
    let mut reader = RowReader::new(columns.map(|(name, _)| name));
    let mut snapshots = SnapshotReader::default();
    let mut snapshot = Snapshot::default();
    let mut parsed =
        SnapshotRows { rows: Vec::new(), traits: Vec::new(), unusable: Vec::new(), texts: Vec::new() };
    for (at, line) in non_blank_lines(block.text) {
        let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
        let place = RowPosition {
            source: block.source,
            offset: block.offset + at as u64,
            length: to_u32(line.len()),
        };
        let texts = match parsed.push_columns(&row, columns) {
            Ok(texts) => texts,
            Err((reason, problem)) => {
                let LineProblem { message, hint } = problem;
                let detail = message.into_owned();
                parsed.unusable.push(UnusableRow { place, reason, detail, hint });
                continue;
            }
        };
        let first = to_u32(parsed.traits.len());
        if with_traits {
            let read = snapshots.read_all(line, &mut snapshot);
            read.map_err(|error| (at, not_json(error)))?;
            for one in snapshot.traits() {
                let one = SnapshotTrait {
                    name: parsed.push(snapshot.name(one)),
                    json: parsed.push(snapshot.json(one)),
                    is_bookkeeping: one.is_bookkeeping,
                };
                parsed.traits.push(one);
            }
        }
        let traits = (first, to_u32(parsed.traits.len()));
        parsed.rows.push(SnapshotRow { clock: row.clock, place, columns: texts, traits });
    }
    Ok(parsed)
}
