//! `profile_traits`: the traits of a profile, each a column.
//!
//! Grain: a profile ever created, merged away or not; a `segment_id` that only `profile_traits_updates` knows is one, too.
//! Key and order: `canonical_segment_id`. A merged-away profile has no traits; `merged_to` names its survivor, and is null
//! for the others. Trait columns stand in name order, those without a value are left out.

use super::{
    present::Present,
    segments::{Segment, Segments},
};
use crate::table::write::Page;

/// Appends the row of a profile.
pub fn push_row(
    segments: &Segments,
    profile: Segment,
    survivor: Segment,
    traits: &[Present<'_>],
    page: &mut Page,
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
