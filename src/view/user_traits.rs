//! `user_traits`: the traits of each profile as rows.
//!
//! Grain: one current trait of a profile. Key and order: `canonical_segment_id`, `name`. `value` is text: a string as
//! it is, any other value as JSON. The clocks are those of the row that last set the trait, even if it was written for
//! a profile that is merged away now.

use super::{
    present::CurrentTrait,
    segments::{Segment, Segments},
    traits_row::TraitsRow,
};
use crate::{json::push_string, table::write::Batch};

/// What the rows of one profile share. Keeps its buffers between profiles.
#[derive(Debug, Default)]
pub struct RowBuffers {
    head: Vec<u8>,
    tails: Vec<u8>,
    /// The tail of each raw row of the profile, once rendered, as a range in `tails`.
    places: Vec<Option<(usize, usize)>>,
}

/// Appends the rows of a profile.
pub fn push_rows(
    segments: &Segments,
    profile: Segment,
    rows: &[TraitsRow],
    traits: &[CurrentTrait<'_>],
    shared: &mut RowBuffers,
    page: &mut Batch,
) {
    let RowBuffers { head, tails, places } = shared;
    head.clear();
    head.extend_from_slice(b"{\"canonical_segment_id\":");
    segments.push(head, profile);
    head.extend_from_slice(b",\"name\":");
    tails.clear();
    places.clear();
    places.resize(rows.len(), None);
    let out = &mut page.bytes;
    for one in traits {
        let (start, end) = *places[one.set_by].get_or_insert_with(|| {
            let start = tails.len();
            tails.push(b',');
            rows[one.set_by].clock.push_all(tails);
            tails.extend_from_slice(b"}\n");
            (start, tails.len())
        });
        out.extend_from_slice(head);
        one.push_name(out);
        out.extend_from_slice(b",\"value\":");
        if one.is_text {
            out.extend_from_slice(one.json);
        } else {
            push_string(out, one.json);
        }
        out.extend_from_slice(&tails[start..end]);
        page.rows += 1;
    }
}
