//! What the space was after each run, for rollbacks. Part of the manifest.
//!
//! A run records only the tables that it changed. For any other table, the newest record before it counts, so the
//! oldest record lists every table. Old records are dropped except for one per month, and what only the dropped record
//! contained moves to the next one.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike};

use super::{
    after::SpaceRecord,
    manifest::{Manifest, RunRecord},
    table_state::CommittedTable,
};

/// The whole of a manifest.
fn after(manifest: &Manifest) -> SpaceRecord {
    SpaceRecord {
        uuid_ts: manifest.uuid_ts,
        rules: manifest.config.as_ref().map(|config| config.digest.clone()),
        newest: manifest.newest.clone(),
        kept_messages: manifest.kept_messages.clone(),
        tables: manifest.tables.clone(),
    }
}

impl Manifest {
    /// Records what the last run committed. `before` is the manifest that the run started with.
    pub(super) fn record_run(&mut self, before: &Self) {
        let mut after = self::after(self);
        if let Some(last) = self.runs.iter_mut().rev().nth(1) {
            // Runs of earlier versions of the program recorded nothing.
            last.after.get_or_insert_with(|| self::after(before));
            after.tables.retain(|name, state| before.tables.get(name) != Some(state));
        }
        if let Some(run) = self.runs.last_mut() {
            run.after = Some(after);
        }
    }

    /// Keeps the text of the previous rules if the last run changed them. `before` is the manifest that the run started
    /// with.
    pub(super) fn record_rules(&mut self, before: &Self) {
        let current = self.config.as_ref().map(|config| config.digest.clone());
        if let Some(old) = before.config.as_ref().filter(|old| Some(&old.digest) != current.as_ref()) {
            self.rules.insert(old.digest.clone(), old.text.clone());
        }
        self.rules.retain(|digest, _| Some(digest) != current.as_ref());
    }

    /// Returns the text of the rules with this digest.
    #[must_use]
    pub fn rules_text(&self, digest: &str) -> Option<&str> {
        let current = self.config.as_ref().filter(|config| config.digest == digest);
        current.map(|config| &config.text).or_else(|| self.rules.get(digest)).map(String::as_str)
    }

    /// Drops all records except those of the last `keep` runs and of the last run of each month before them, by
    /// `uuid_ts`.
    pub(super) fn drop_old_records(&mut self, keep: u32) {
        let recorded: Vec<usize> = (0..self.runs.len()).filter(|&at| self.runs[at].after.is_some()).collect();
        let n_old = recorded.len().saturating_sub(keep as usize);
        for pair in recorded[..recorded.len().min(n_old + 1)].windows(2) {
            if month(&self.runs[pair[0]]) != month(&self.runs[pair[1]]) {
                continue;
            }
            let dropped = self.runs[pair[0]].after.take();
            if let (Some(dropped), Some(next)) = (dropped, &mut self.runs[pair[1]].after) {
                for (name, state) in dropped.tables {
                    next.tables.entry(name).or_insert(state);
                }
            }
        }
    }

    /// Returns the tables as they were after a run, counted from 1; `None` if the run is not recorded.
    #[must_use]
    pub fn tables_after(&self, run: usize) -> Option<BTreeMap<String, CommittedTable>> {
        let runs = self.runs.get(..run)?;
        runs.last()?.after.as_ref()?;
        let mut tables = BTreeMap::new();
        for after in runs.iter().filter_map(|run| run.after.as_ref()) {
            tables.extend(after.tables.clone());
        }
        Some(tables)
    }
}

/// Returns the year and month of a run's `uuid_ts`.
fn month(run: &RunRecord) -> Option<(i32, u32)> {
    let time = DateTime::from_timestamp_micros(run.after.as_ref()?.uuid_ts)?;
    Some((time.year(), time.month()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{space::table_state::CompressedExtent, time::timestamp::Micros};

    const DAY: Micros = 86_400_000_000;

    fn table(rows: u64) -> CommittedTable {
        let stored = rows.is_multiple_of(2).then_some(CompressedExtent { bytes: rows * 3, tail: rows });
        CommittedTable {
            rows,
            bytes: rows * 10,
            digest: format!("{rows:032x}"),
            link: "0".repeat(32),
            stored,
        }
    }

    /// Returns a space after one run per day, each of which changes two of five tables, and the tables after each run.
    fn space(n_runs: u64, keep: u32) -> (Manifest, Vec<BTreeMap<String, CommittedTable>>) {
        let mut manifest = Manifest::default();
        let mut expected = vec![BTreeMap::new()];
        for run in 1..=n_runs {
            let before = manifest.clone();
            for name in [run % 5, run % 3] {
                manifest.tables.insert(format!("table_{name}"), table(run));
            }
            manifest.uuid_ts = i64::try_from(run).unwrap() * DAY;
            manifest.runs.push(RunRecord::default());
            manifest.record_run(&before);
            manifest.drop_old_records(keep);
            let bytes = serde_json::to_vec(&manifest).unwrap();
            assert_eq!(serde_json::from_slice::<Manifest>(&bytes).unwrap(), manifest);
            expected.push(manifest.tables.clone());
        }
        (manifest, expected)
    }

    #[test]
    fn the_last_runs_and_one_a_month_before_them_are_recorded_whole() {
        let (manifest, expected) = space(100, 30);
        let recorded: Vec<usize> = (1..=100).filter(|&run| manifest.tables_after(run).is_some()).collect();
        // The first run is on 2 January 1970.
        let expected_runs: Vec<usize> = [30, 58].into_iter().chain(71..=100).collect();
        assert_eq!(recorded, expected_runs);
        for run in recorded {
            assert_eq!(manifest.tables_after(run).unwrap(), expected[run], "run {run}");
        }
    }

    #[test]
    fn a_space_of_an_earlier_version_is_recorded_from_its_last_run_on() {
        let (mut manifest, mut expected) = space(3, 30);
        manifest.runs.iter_mut().for_each(|run| run.after = None);
        let before = manifest.clone();
        manifest.tables.insert("table_1".to_owned(), table(7));
        manifest.runs.push(RunRecord::default());
        manifest.record_run(&before);
        expected.push(manifest.tables.clone());
        assert_eq!(manifest.tables_after(2), None);
        assert_eq!(manifest.tables_after(3).unwrap(), expected[3]);
        assert_eq!(manifest.tables_after(4).unwrap(), expected[4]);
        assert_eq!(manifest.runs[3].after.as_ref().unwrap().tables.len(), 1);
    }
}
