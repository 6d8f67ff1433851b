//! `diff`: what it finds, what it ignores, and how it reports.

mod across_formats;
mod beside_a_writer;
mod cases;
mod formats;
mod profiles;
mod twin;

use std::path::Path;

use profiles_sync::{
    diff::{Comparison, DiffOptions, IdMode, Sizes, diff},
    files::Files,
    progress::Silent,
};
use serde_json::Value;

/// Returns the default options of the program, but with all changes kept.
fn options(old: &Path, new: &Path) -> DiffOptions {
    DiffOptions {
        old: old.to_owned(),
        new: new.to_owned(),
        key: Vec::new(),
        tables: Vec::new(),
        ignore_columns: Vec::new(),
        ids: IdMode::Exact,
        limit: 3,
        every: u64::MAX,
        memory: None,
        sizes: Sizes::default(),
    }
}

/// Compares and returns the comparison with all changes.
fn compare(options: &DiffOptions) -> (Comparison, Vec<Value>) {
    let mut changes = Vec::new();
    let comparison = diff(options, &Files::real(), &Silent, &mut changes).unwrap();
    let changes = String::from_utf8(changes).unwrap();
    (comparison, changes.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A random number generator that gives the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}
