//! The current traits of a profile, from its rows in `profile_traits_updates`.
//!
//! Every row is a full snapshot, and a merge that brings in traits writes one for the survivor. So the newest row of a
//! profile, over all segment ids merged into it, has its current traits. `__trait_seqs` in that row gives the `seq` of
//! the row that set each trait, for the same profile or for one merged into it. For nearly every profile in tables that
//! this program wrote, this row is enough, and usually its traits are cached from the first read.
//!
//! A warehouse's export may have neither snapshots after merges nor `__trait_seqs`. In that case, all rows of the
//! profile are read and [`super::history`] computes its traits. If both ways are possible, they give the same values.

use super::{
    graph::MergeGraph,
    history,
    present::CurrentTrait,
    row_cache::CachedTraits,
    segments::Segment,
    snapshot::Snapshot,
    snapshot_reader::SnapshotReader,
    traits::TraitsByProfile,
    traits_row::{TraitsRow, newest_is_enough, row_of_seq},
};
use crate::{error::Result, table::reread::RowTexts};

/// Computes the traits of profiles, a few hundred at a time. Keeps its buffers between calls.
#[derive(Debug, Default)]
pub struct TraitFold {
    texts: RowTexts,
    reader: SnapshotReader,
    snapshots: Vec<Snapshot>,
}

impl TraitFold {
    /// Calls `each` for every profile with its rows and its current traits, sorted by name.
    ///
    /// `set_by` is only valid if `with_clocks` is true.
    pub fn fold(
        &mut self,
        traits: &TraitsByProfile,
        graph: &MergeGraph,
        profiles: &[Segment],
        with_clocks: bool,
        mut each: impl FnMut(Segment, &[TraitsRow], &[CurrentTrait<'_>]),
    ) -> Result<()> {
        let needed =
            |rows: &[TraitsRow]| if newest_is_enough(rows, graph, with_clocks) { 1 } else { rows.len() };
        self.texts.clear();
        let mut touched = 0;
        for &profile in profiles {
            let rows = traits.rows_of(profile);
            let n_needed = needed(rows);
            let kept = traits.cached(profile);
            touched ^= kept.as_ref().map_or(0, CachedTraits::prefetch);
            if 1 < n_needed || kept.is_none() {
                for row in &rows[rows.len() - n_needed..] {
                    self.texts.request(row.place);
                }
            }
        }
        std::hint::black_box(touched);
        traits.load(&mut self.texts)?;
        let mut slot = 0;
        for &profile in profiles {
            let rows = traits.rows_of(profile);
            let n_needed = needed(rows);
            if n_needed == 1
                && let Some(kept) = traits.cached(profile)
            {
                if let Some(present) = kept.present(rows, with_clocks) {
                    each(profile, rows, &present);
                    continue;
                }
                self.read_all(traits, rows)?;
                each(profile, rows, &history::current_traits(rows, &self.snapshots[..rows.len()], graph));
                continue;
            }
            let read = &rows[rows.len() - n_needed..];
            // If there is only one row, it set everything that it has.
            let with_seqs = 1 < rows.len() && (with_clocks || 1 < n_needed);
            self.read(traits, read, slot, with_seqs)?;
            slot += n_needed;
            if n_needed == 1 {
                if let Some(present) = traits_of_newest(&self.snapshots[0], rows, with_clocks) {
                    each(profile, rows, &present);
                    continue;
                }
                // A row that set a trait is not in the table, so the other rows have to do.
                self.read_all(traits, rows)?;
            }
            each(profile, rows, &history::current_traits(rows, &self.snapshots[..rows.len()], graph));
        }
        Ok(())
    }

    /// Reads rows into the first snapshots. Their texts begin at `slot`.
    fn read(
        &mut self,
        traits: &TraitsByProfile,
        rows: &[TraitsRow],
        slot: usize,
        with_seqs: bool,
    ) -> Result<()> {
        if self.snapshots.len() < rows.len() {
            self.snapshots.resize_with(rows.len(), Snapshot::default);
        }
        for (place, (row, snapshot)) in rows.iter().zip(&mut self.snapshots).enumerate() {
            let text = self.texts.text(slot + place);
            let read = self.reader.read(text, with_seqs && row.with_seqs, snapshot);
            read.map_err(|error| traits.unreadable(row, error))?;
        }
        Ok(())
    }

    /// Reads all rows of a profile if only the newest was requested.
    fn read_all(&mut self, traits: &TraitsByProfile, rows: &[TraitsRow]) -> Result<()> {
        let mut texts = RowTexts::default();
        for row in rows {
            texts.request(row.place);
        }
        traits.load(&mut texts)?;
        std::mem::swap(&mut self.texts, &mut texts);
        let read = self.read(traits, rows, 0, true);
        self.texts = texts;
        read
    }
}

/// Returns the traits of a profile's newest row; `None` if it is unknown which row set one of them.
fn traits_of_newest<'a>(
    newest: &'a Snapshot,
    rows: &[TraitsRow],
    with_clocks: bool,
) -> Option<Vec<CurrentTrait<'a>>> {
    let present = newest.traits().iter().map(|one| {
        let set_by = if with_clocks { row_of_seq(rows, one.seq)? } else { 0 };
        Some(CurrentTrait {
            name: newest.name(one),
            json: newest.json(one),
            is_text: one.is_text(),
            is_plain: one.is_plain,
            set_by,
        })
    });
    present.collect()
}
