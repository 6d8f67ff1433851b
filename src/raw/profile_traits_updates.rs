//! The raw table `profile_traits_updates`: the traits of a profile after each change.
//!
//! Grain: one event that sets traits or merges profiles with traits. Key: `id`. Order: order of processing.
//!
//! Every row is a full snapshot of the canonical profile. A column that the previous snapshot had and this one lacks is
//! written once more as `null`. `__trait_seqs` records when each value was last set: a JSON text of seqs by path, in
//! which a removed trait is listed by its name.

use super::trigger::Trigger;
use crate::{
    identity::traits::{ProfileTraits, TraitNames},
    json::{push_escaped, push_string},
    time::seq::{SEQ_DIGITS, seq_digits},
};

/// The table's name.
pub const TABLE: &str = crate::catalog::PROFILE_TRAITS_UPDATES;

/// Renders rows and reuses its buffers.
#[derive(Debug, Default)]
pub struct TraitRows {
    /// Alphabetical rank of the column, its number, and the index of its value (`None` for a removed column).
    columns: Vec<(u32, u32, Option<u32>)>,
    /// Alphabetical rank of the path, its number, and its seq.
    seqs: Vec<(u32, u32, u64)>,
}

impl TraitRows {
    /// Appends a row.
    pub fn push_row(
        &mut self,
        out: &mut Vec<u8>,
        trigger: &Trigger<'_>,
        segment_id: &str,
        traits: &ProfileTraits,
        gone_columns: &[u32],
        names: &mut TraitNames,
    ) {
        out.push(b'{');
        trigger.push_id(out, TABLE, segment_id.as_bytes());
        out.extend_from_slice(b",\"segment_id\":");
        push_string(out, segment_id.as_bytes());
        trigger.push_seq(out);
        trigger.push_timestamp(out);
        trigger.push_received_at(out);
        trigger.push_uuid_ts(out);
        trigger.push_event_id(out);
        trigger.push_name(out);
        trigger.push_type(out);
        trigger.push_source(out);
        self.push_snapshot(out, traits, gone_columns, names);
    }

    /// Appends the end of a row: `__trait_seqs`, the traits and the line feed.
    pub fn push_snapshot(
        &mut self,
        out: &mut Vec<u8>,
        traits: &ProfileTraits,
        gone_columns: &[u32],
        names: &mut TraitNames,
    ) {
        names.sort();
        self.push_seqs(out, traits, names);
        self.columns.clear();
        for (number, one) in (0..).zip(traits.values()).filter(|(_, one)| !one.value.is_empty()) {
            let column = names.column(one.path);
            self.columns.push((0, column, Some(number)));
        }
        self.columns.extend(gone_columns.iter().map(|&column| (0, column, None)));
        names.sort_columns(&mut self.columns);
        for &(_, column, value) in &self.columns {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(names.column_name(column));
            out.extend_from_slice(b"\":");
            match value {
                Some(number) => out.extend_from_slice(traits.value(number as usize)),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b"}\n");
    }

    fn push_seqs(&mut self, out: &mut Vec<u8>, traits: &ProfileTraits, names: &TraitNames) {
        self.seqs.clear();
        // The path of a removed trait is its name.
        self.seqs.extend(traits.values().map(|one| (0, one.path, one.at.seq)));
        names.sort_paths(&mut self.seqs);
        // This is JSON inside a JSON string, so the inner quotes are escaped.
        out.extend_from_slice(b",\"__trait_seqs\":\"");
        let mut before = b'{';
        let mut last: Option<(u64, [u8; SEQ_DIGITS])> = None;
        for &(_, path, seq) in &self.seqs {
            out.push(before);
            before = b',';
            out.extend_from_slice(b"\\\"");
            push_escaped(out, names.path(path));
            out.extend_from_slice(b"\\\":\\\"");
            // The traits of one call share a seq.
            let digits =
                last.filter(|&(of, _)| of == seq).map_or_else(|| seq_digits(seq), |(_, digits)| digits);
            last = Some((seq, digits));
            out.extend_from_slice(&digits);
            out.extend_from_slice(b"\\\"");
        }
        if self.seqs.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
        out.push(b'"');
    }
}
