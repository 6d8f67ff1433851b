//! Connected components of segment ids. The rows of one component can be folded without those of another.
//!
//! Takes about 30 bytes per segment id, however large the tables are.

use super::keys::KeyNumbers;
use crate::{
    collections::local_key_of,
    error::Result,
    raw::id_graph_updates::TABLE,
    table::{
        blocks::{LineProblem, SharedProgress, each_block, non_blank_lines},
        row::RowReader,
        source::TableSource,
        to_u32,
    },
};

/// The connected components of all segment ids.
#[derive(Debug, Default)]
pub struct Components {
    keys: KeyNumbers,
    /// For each number, another one in its component; a root has its own.
    parents: Vec<u32>,
}

impl Components {
    /// Reads all rows of `id_graph_updates`, whatever their time.
    pub fn read(sources: &[TableSource], block_bytes: u64, meter: &SharedProgress<'_>) -> Result<Self> {
        let mut components = Self::default();
        let parse = |block: crate::table::blocks::TableBlock<'_>| {
            let mut reader = RowReader::new(["segment_id", "canonical_segment_id"]);
            let mut pairs = Vec::with_capacity(block.estimated_rows());
            for (at, line) in non_blank_lines(block.text) {
                let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
                let pair = || -> Result<_, LineProblem> {
                    Ok((local_key_of(&row.required_name(0)?), local_key_of(&row.required_name(1)?)))
                };
                pairs.push(pair().map_err(|problem| (at, problem))?);
            }
            Ok(pairs)
        };
        each_block(sources, block_bytes, meter, parse, |pairs| {
            for (one, other) in pairs {
                components.connect(one, other);
            }
            Ok(())
        })?;
        Ok(components)
    }

    /// Returns an id of the component of a segment id. Two components have different ids, barring a collision of
    /// 128-bit hashes.
    #[must_use]
    pub fn component_of(&self, segment_id: &[u8]) -> u128 {
        let key = local_key_of(segment_id);
        let Some(mut at) = self.keys.find(key) else { return key };
        while self.parents[at as usize] != at {
            at = self.parents[at as usize];
        }
        self.keys.key(at)
    }

    fn connect(&mut self, one: u128, other: u128) {
        let (one, other) = (self.root(one), self.root(other));
        // The smaller number becomes the root. This keeps paths short, because a survivor is older.
        self.parents[one.max(other) as usize] = one.min(other);
    }

    fn root(&mut self, key: u128) -> u32 {
        let (mut at, is_new) = self.keys.intern(key);
        if is_new {
            debug_assert_eq!(at, to_u32(self.parents.len()), "{TABLE}: numbers are assigned in order");
            self.parents.push(at);
        }
        while self.parents[at as usize] != at {
            let up = self.parents[self.parents[at as usize] as usize];
            self.parents[at as usize] = up;
            at = up;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_connected_over_others_is_in_one_component() {
        let mut components = Components::default();
        let names: Vec<Vec<u8>> = (0..100).map(|number| format!("use_{number}").into_bytes()).collect();
        for (one, other) in [(5, 5), (7, 8), (9, 8), (20, 30), (30, 7)] {
            components.connect(local_key_of(&names[one]), local_key_of(&names[other]));
        }
        for one in 0..100 {
            for other in 0..100 {
                let together = [7, 8, 9, 20, 30];
                let expected = one == other || together.contains(&one) && together.contains(&other);
                assert_eq!(
                    components.component_of(&names[one]) == components.component_of(&names[other]),
                    expected,
                    "{one} {other}"
                );
            }
        }
    }
}
