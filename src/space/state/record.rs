//! Encodes a canonical profile with everything that belongs to it.
//!
//! Types and trait paths are stored as their numbers in the segment file. A record begins with its length (u32) and the
//! checksum of what follows (u64).

use xxhash_rust::xxh3::xxh3_64;

use super::encode::{Decoder, Encoder};
use crate::{
    event::block::TypeId,
    identity::{
        graph::{IdentityGraph, MappedIdentifier, ProfileId, ProfileRecord, SegmentRecord, UNKNOWN_CLOCK},
        packed_traits::{EncodedTraits, PathId},
    },
    time::timestamp::{Micros, Millis},
};

/// Size of a record's header: length and checksum.
pub(super) const HEAD: usize = 12;

/// Appends the record of a canonical profile in the graph.
pub(super) fn encode(graph: &IdentityGraph, profile: ProfileId, out: &mut Encoder) {
    let merged = graph.merged(profile);
    let segments = std::iter::once((profile, UNKNOWN_CLOCK)).chain(merged.iter().copied());
    let segments = segments.map(|(id, merged)| (id, graph.segment_id(id), graph.created(id), merged));
    push(
        out,
        graph.last_seq(profile),
        (1 + merged.len(), segments),
        (graph.n_identifiers_of(profile) as usize, graph.identifiers_of(profile)),
        graph.traits(profile),
    );
}

/// Appends the record of a profile that was read from a segment file.
pub(super) fn encode_cluster(cluster: &ProfileRecord, out: &mut Encoder) {
    let segments = cluster
        .segments
        .iter()
        .map(|SegmentRecord { id, segment_id, created, merged }| (*id, &**segment_id, *created, *merged));
    push(
        out,
        cluster.last_seq,
        (cluster.segments.len(), segments),
        (cluster.identifiers.len(), cluster.identifiers.iter().copied()),
        &cluster.traits,
    );
}

fn push<'a>(
    out: &mut Encoder,
    last_seq: u64,
    segments: (usize, impl Iterator<Item = (ProfileId, &'a str, Micros, Micros)>),
    identifiers: (usize, impl Iterator<Item = MappedIdentifier>),
    traits: &EncodedTraits,
) {
    let start = out.0.len();
    out.0.extend_from_slice(&[0; HEAD]);
    out.u64(last_seq);
    out.length(segments.0);
    for (number, (id, text, created, merged)) in segments.1.enumerate() {
        out.u32(id);
        out.text(text.as_bytes());
        out.i64(created);
        if 0 < number {
            out.i64(merged);
        }
    }
    out.length(identifiers.0);
    for identifier in identifiers.1 {
        out.u128(identifier.key);
        out.i64(identifier.uuid_ts);
        out.signed_varint(identifier.timestamp.wrapping_sub(millis(identifier.uuid_ts)));
        out.u32(identifier.profile);
        out.varint(identifier.type_id.into());
    }
    out.0.extend_from_slice(traits.bytes());
    fill_header(out, start);
}

/// Converts microseconds to milliseconds. An event's `timestamp` is usually near its `uuid_ts`, so only the difference
/// is stored.
fn millis(uuid_ts: Micros) -> Millis {
    uuid_ts.div_euclid(1000)
}

/// Fills in length and checksum of the record that begins at `start`.
fn fill_header(out: &mut Encoder, start: usize) {
    let body = &out.0[start + HEAD..];
    let length = u32::try_from(body.len()).expect("a record is shorter than 4 GiB");
    let checksum = xxh3_64(body);
    out.0[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out.0[start + 4..start + HEAD].copy_from_slice(&checksum.to_le_bytes());
}

/// Decodes the header of a record: length and checksum.
pub(super) fn head(bytes: &[u8; HEAD]) -> (usize, u64) {
    let [a, b, c, d, checksum @ ..] = *bytes;
    (u32::from_le_bytes([a, b, c, d]) as usize, u64::from_le_bytes(checksum))
}

/// Decodes a record without its header; returns `None` if it is malformed. `type_ids` and `paths` map the numbers of
/// the segment file to current ones.
pub(super) fn decode(bytes: &[u8], type_ids: &[TypeId], paths: &[PathId]) -> Option<ProfileRecord> {
    let mut rest = Decoder(bytes);
    let mut cluster = ProfileRecord { last_seq: rest.u64()?, ..ProfileRecord::default() };
    for number in 0..rest.u32()? {
        let id = rest.u32()?;
        let segment_id = std::str::from_utf8(rest.text()?).ok()?.into();
        let created = rest.i64()?;
        let merged = if 0 < number { rest.i64()? } else { UNKNOWN_CLOCK };
        cluster.segments.push(SegmentRecord { id, segment_id, created, merged });
    }
    for _ in 0..rest.u32()? {
        let (key, uuid_ts) = (rest.u128()?, rest.i64()?);
        let timestamp = rest.signed_varint()?.wrapping_add(millis(uuid_ts));
        let profile = rest.u32()?;
        let type_id = *type_ids.get(usize::try_from(rest.varint()?).ok()?)?;
        cluster.identifiers.push(MappedIdentifier { key, timestamp, uuid_ts, profile, type_id });
    }
    cluster.traits = EncodedTraits::read(rest.0, paths)?;
    (!cluster.segments.is_empty()).then_some(cluster)
}
