//! Parts as one: profiles and messages looked up in the newest part that has them.

use super::part::Part;
use crate::{
    collections::Set,
    error::Result,
    event::{duplicates::Remembered, timestamp::Millis},
    identity::graph::{Cluster, Cold, ProfileId},
};

/// All parts of a state, oldest first.
#[derive(Debug)]
pub(super) struct Parts {
    parts: Vec<Part>,
}

/// So many blocks of entries are read at once.
const BLOCKS: usize = 1024;

impl Parts {
    pub(super) fn new(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    /// Profiles ever created.
    pub(super) fn n_profiles(&self) -> u32 {
        self.parts.iter().map(|part| part.n_profiles).max().unwrap_or_default()
    }

    /// How many messages there are.
    pub(super) fn n_messages(&self) -> u64 {
        self.parts.iter().map(|part| part.messages.len()).sum()
    }

    /// Calls `each` with every profile as the newest part has it.
    pub(super) fn clusters(&self, mut each: impl FnMut(Cluster) -> Result<()>) -> Result<()> {
        // What stands in a newer part holds all that stood in an older one, the profile's own id among it.
        let mut met: Set<ProfileId> = Set::default();
        for (newer, part) in self.parts.iter().rev().enumerate() {
            part.records(|_, cluster| {
                let known = 0 < newer && cluster.segments.first().is_some_and(|(id, _)| met.contains(id));
                if known {
                    return Ok(());
                }
                if newer + 1 < self.parts.len() {
                    met.extend(cluster.segments.iter().map(|(id, _)| *id));
                }
                each(cluster)
            })?;
        }
        Ok(())
    }

    /// Calls `each` with every message.
    pub(super) fn messages(&self, mut each: impl FnMut(u128, Millis)) -> Result<()> {
        for part in &self.parts {
            let n_blocks = part.messages.n_blocks();
            for first in (0..n_blocks).step_by(BLOCKS) {
                for (key, value) in part.entries(&part.messages, first..n_blocks.min(first + BLOCKS))? {
                    each(key, as_time(value));
                }
            }
        }
        Ok(())
    }
}

impl Cold for Parts {
    fn cluster(&self, key: u128) -> Result<Option<Cluster>> {
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

impl Remembered for Parts {
    fn near(&self, message_key: u128, received_at: Millis, window: Millis) -> Result<bool> {
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

fn as_time(value: u64) -> Millis {
    Millis::try_from(value).unwrap_or(Millis::MAX)
}
