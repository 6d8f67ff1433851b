//! Reads several segment files as one: looks up profiles and messages in the newest file that has them.

use rayon::prelude::*;

use super::{
    segment_file::SegmentFile,
    spilled_messages::{as_message, as_time},
};
use crate::{
    collections::Set,
    error::Result,
    event::duplicates::{MessageLookup, SeenMessage, key_ranges},
    identity::graph::{ProfileId, ProfileLoader, ProfileRecord},
    time::timestamp::Millis,
};

/// All segment files of a state, oldest first.
#[derive(Debug)]
pub(super) struct SegmentFiles {
    parts: Vec<SegmentFile>,
}

impl SegmentFiles {
    pub(super) fn new(parts: Vec<SegmentFile>) -> Self {
        Self { parts }
    }

    /// Returns the number of profiles ever created.
    pub(super) fn n_profiles(&self) -> u32 {
        self.parts.iter().map(|part| part.n_profiles).max().unwrap_or_default()
    }

    /// Returns the number of messages.
    pub(super) fn n_messages(&self) -> u64 {
        self.parts.iter().map(|part| part.messages.len()).sum()
    }

    /// Returns whether the lookup of every segment file is complete and has no other entries.
    pub(super) fn lookup_is_complete(&self) -> Result<bool> {
        for part in &self.parts {
            if !part.lookup_is_whole()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Calls `each` with the newest record of every profile.
    pub(super) fn profiles(&self, mut each: impl FnMut(ProfileRecord) -> Result<()>) -> Result<()> {
        // The newer record of a profile has all segment ids of an older one, including the profile's own.
        let mut met: Set<ProfileId> = Set::default();
        for (newer, part) in self.parts.iter().rev().enumerate() {
            part.records(|_, record| {
                let known =
                    0 < newer && record.segments.first().is_some_and(|segment| met.contains(&segment.id));
                if known {
                    return Ok(());
                }
                if newer + 1 < self.parts.len() {
                    met.extend(record.segments.iter().map(|segment| segment.id));
                }
                each(record)
            })?;
        }
        Ok(())
    }

    /// Calls `each` with all messages in batches, sorted by key.
    pub(super) fn messages(&self, mut each: impl FnMut(&[SeenMessage]) -> Result<()>) -> Result<()> {
        let mut some = Vec::new();
        for (first, last) in key_ranges(usize::try_from(self.n_messages()).unwrap_or(usize::MAX)) {
            some.clear();
            for part in &self.parts {
                part.messages(first, last, |entry| some.push(as_message(entry)))?;
            }
            if 1 < self.parts.len() {
                some.par_sort_unstable();
            }
            each(&some)?;
        }
        Ok(())
    }
}

impl ProfileLoader for SegmentFiles {
    fn load(&self, key: u128) -> Result<Option<ProfileRecord>> {
        for part in self.parts.iter().rev() {
            let mut place = None;
            part.find(&part.places, key, |found| {
                place = Some(found);
                true
            })?;
            if let Some(place) = place {
                return part.record(place).map(Some);
            }
        }
        Ok(None)
    }
}

impl MessageLookup for SegmentFiles {
    fn has_within_window(&self, message_key: u128, received_at: Millis, window: Millis) -> Result<bool> {
        for part in self.parts.iter().rev() {
            let mut near = false;
            part.find(&part.messages, message_key, |value| {
                near = as_time(value).abs_diff(received_at) <= window.unsigned_abs();
                near
            })?;
            if near {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
