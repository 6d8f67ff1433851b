//! `profile_traits`: the traits of each profile as columns.
//!
//! Grain: one profile ever created, merged away or not. A `segment_id` that is only in `profile_traits_updates` is a
//! profile, too. Key and order: `canonical_segment_id`. A merged-away profile has no traits, and its `merged_to` is the
//! survivor; for other profiles, `merged_to` is null. Trait columns are sorted by name; those without a value are
//! omitted.

use super::{
    present::CurrentTrait,
    segments::{Segment, Segments},
};
use crate::table::write::Batch;

/// Appends the row of a profile.
pub fn push_row(
    segments: &Segments,
    profile: Segment,
    survivor: Segment,
    traits: &[CurrentTrait<'_>],
    page: &mut Batch,
) {
    let out = &mut page.bytes;
    out.extend_from_slice(b"{\"canonical_segment_id\":");
    segments.push(out, profile);
    if survivor == profile {
        for one in traits {
            out.push(b',');
            one.push_name(out);
            out.push(b':');
            out.extend_from_slice(one.json);
        }
        out.extend_from_slice(b",\"merged_to\":null}\n");
    } else {
        out.extend_from_slice(b",\"merged_to\":");
        segments.push(out, survivor);
        out.extend_from_slice(b"}\n");
    }
    page.rows += 1;
}
