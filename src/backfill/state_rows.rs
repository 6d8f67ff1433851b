//! The tables of a current state, parsed: of each row its clocks, its place and the texts that matter, on all cores.

use crate::{
    error::Result,
    event::json::{Kind, unescape},
    table::{
        blocks::{BLOCK_BYTES, Block, Meter, Problem, map_blocks, rows},
        clock::Clock,
        reread::Place,
        row::{RowReader, not_json},
        small,
        source::Source,
    },
    view::snapshot::{Snapshot, SnapshotReader},
};

/// What a column is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A text that is no empty one.
    Name,
    /// A text; the row says nothing without it.
    Text,
    /// Anything, or nothing.
    Any,
}

/// Rows of some lines of a table.
#[derive(Debug, Default)]
pub struct StateRows<const N: usize> {
    /// The rows.
    pub rows: Vec<StateRow<N>>,
    /// The traits of all rows, where they were asked for.
    pub traits: Vec<StateTrait>,
    texts: Vec<u8>,
}

/// A row of a table of a current state.
#[derive(Debug, Clone, Copy)]
pub struct StateRow<const N: usize> {
    /// Its clocks.
    pub clock: Clock,
    /// Where it is.
    pub place: Place,
    columns: [Option<Text>; N],
    /// Its traits, as a range of [`StateRows::traits`].
    pub traits: (u32, u32),
}

/// A trait in a row of `profile_traits`.
#[derive(Debug, Clone, Copy)]
pub struct StateTrait {
    name: Text,
    json: Text,
}

#[derive(Debug, Clone, Copy)]
struct Text {
    start: u32,
    end: u32,
}

impl<const N: usize> StateRows<N> {
    /// The text of a column, decoded; `None` for null.
    #[must_use]
    pub fn text(&self, row: &StateRow<N>, column: usize) -> Option<&[u8]> {
        row.columns[column].map(|text| self.of(text))
    }

    /// The name and the JSON of a trait.
    #[must_use]
    pub fn trait_of(&self, one: &StateTrait) -> (&[u8], &[u8]) {
        (self.of(one.name), self.of(one.json))
    }

    fn of(&self, text: Text) -> &[u8] {
        &self.texts[text.start as usize..text.end as usize]
    }

    fn push(&mut self, text: &[u8]) -> Text {
        let start = small(self.texts.len());
        self.texts.extend_from_slice(text);
        Text { start, end: small(self.texts.len()) }
    }
}

/// Reads a table.
pub fn read<const N: usize>(
    sources: &[Source],
    columns: [(&'static str, Wanted); N],
    with_traits: bool,
    meter: &Meter<'_>,
) -> Result<Vec<StateRows<N>>> {
    map_blocks(sources, BLOCK_BYTES, meter, |block| parse(block, columns, with_traits))
}

fn parse<const N: usize>(
    block: Block<'_>,
    columns: [(&'static str, Wanted); N],
    with_traits: bool,
) -> Result<StateRows<N>, (usize, Problem)> {
    let mut reader = RowReader::new(columns.map(|(name, _)| name));
    let mut snapshots = SnapshotReader::default();
    let mut snapshot = Snapshot::default();
    let mut parsed = StateRows { rows: Vec::new(), traits: Vec::new(), texts: Vec::new() };
    for (at, line) in rows(block.text) {
        let mut add = || -> Result<(), Problem> {
            let row = reader.read(line, block.clean)?;
            let mut texts = [None; N];
            for (column, (_, wanted)) in columns.into_iter().enumerate() {
                texts[column] = match wanted {
                    Wanted::Name => Some(parsed.push(&row.name(column)?)),
                    Wanted::Text => Some(parsed.push(&row.needed(column)?)),
                    Wanted::Any => row.value(column).map(|value| match value {
                        (Kind::Escaped, raw) => parsed.push(&unescape(raw)),
                        (_, raw) => parsed.push(raw),
                    }),
                };
            }
            let first = small(parsed.traits.len());
            if with_traits {
                snapshots.read(line, false, &mut snapshot).map_err(not_json)?;
                for one in snapshot.traits() {
                    let one = StateTrait {
                        name: parsed.push(snapshot.name(one)),
                        json: parsed.push(snapshot.json(one)),
                    };
                    parsed.traits.push(one);
                }
            }
            let place =
                Place { source: block.source, offset: block.offset + at as u64, length: small(line.len()) };
            let traits = (first, small(parsed.traits.len()));
            parsed.rows.push(StateRow { clock: row.clock, place, columns: texts, traits });
            Ok(())
        };
        add().map_err(|problem| (at, problem))?;
    }
    Ok(parsed)
}
