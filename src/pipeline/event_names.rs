//! Decides which event names have a table of their own. Events whose table would exceed the limit are written to
//! `tracks` only.

use std::sync::Arc;

use crate::{
    catalog,
    collections::Set,
    config::rules::Rules,
    event::{
        Call,
        block::{Event, EventBlock, NO_TABLE},
    },
    space::manifest::Manifest,
};

/// The tables of event names in a space.
#[derive(Debug)]
pub struct EventTableLimit {
    /// Existing and admitted tables. Tables that the config excludes do not count.
    tables: Set<Box<[u8]>>,
    rules: Arc<Rules>,
    /// The number of events without a table because of the limit.
    n_refused: u64,
}

impl EventTableLimit {
    /// Reads the tables of a space from its manifest.
    #[must_use]
    pub fn of(manifest: &Manifest, rules: &Arc<Rules>) -> Self {
        let is_own = |name: &&String| {
            catalog::is_event_table(name)
                && !Call::ALL.iter().any(|call| call.table() == *name)
                && rules.tables.has(name)
        };
        let tables = manifest.tables.keys().filter(is_own).map(|name| name.as_bytes().into()).collect();
        Self { tables, rules: Arc::clone(rules), n_refused: 0 }
    }

    /// Returns whether an event name has a table, admitting it if there is room. Call this in the order of processing.
    pub fn admit(&mut self, table: &[u8]) -> bool {
        if self.tables.contains(table) || !self.rules.tables.has(&String::from_utf8_lossy(table)) {
            return true;
        }
        if (self.rules.max_tables as usize) <= self.tables.len() {
            return false;
        }
        self.tables.insert(table.into());
        true
    }

    /// Returns whether an event with a name has that table. `known` caches the answers for the event's block.
    pub fn admit_event(&mut self, block: &EventBlock, event: &Event, known: &mut Vec<Option<bool>>) -> bool {
        if event.event_table == NO_TABLE {
            return true;
        }
        let number = event.event_table as usize;
        if known.len() <= number {
            known.resize(block.tables.len(), None);
        }
        let admitted = *known[number].get_or_insert_with(|| self.admit(&block.tables[number]));
        self.n_refused += u64::from(!admitted);
        admitted
    }

    /// Returns the number of events without a table because of the limit.
    #[must_use]
    pub fn n_over_limit(&self) -> u64 {
        self.n_refused
    }
}
