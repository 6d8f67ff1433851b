//! Writes `profile_traits` and `user_traits` in one pass over the profiles, so that each profile is folded only once.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use super::{
    View,
    folds::FoldedTables,
    profile_traits,
    trait_fold::TraitFold,
    user_traits::{self, RowBuffers},
};
use crate::{
    error::Result,
    table::write::{Batch, ViewStaging, ViewStats},
};

/// Number of profiles folded at a time: together about a quarter of a megabyte of rows.
const CHUNK_PROFILES: usize = 64;

/// Writes those of the two views that are requested.
pub fn write(
    views: &[View],
    folds: &FoldedTables,
    staging: &ViewStaging<'_>,
) -> Result<Vec<(View, ViewStats)>> {
    let FoldedTables { graph, segments, traits: Some(traits), .. } = folds else { return Ok(Vec::new()) };
    let both = [View::ProfileTraits, View::UserTraits];
    let wanted: Vec<View> = both.into_iter().filter(|view| views.contains(view)).collect();
    let with_clocks = wanted.contains(&View::UserTraits);
    let profiles = folds.profiles();
    let workers: Mutex<Vec<(TraitFold, RowBuffers)>> = Mutex::default();
    let lock = || workers.lock().unwrap_or_else(PoisonError::into_inner);
    let render = |range: Range<usize>, pages: &mut [Batch]| {
        let (mut folder, mut shared) = lock().pop().unwrap_or_default();
        folder.fold(traits, graph, &profiles[range], with_clocks, |profile, rows, present| {
            for (view, page) in wanted.iter().zip(&mut *pages) {
                if *view == View::UserTraits {
                    user_traits::push_rows(segments, profile, rows, present, &mut shared, page);
                } else {
                    profile_traits::push_row(segments, profile, graph.canonical(profile), present, page);
                }
            }
        })?;
        lock().push((folder, shared));
        Ok(())
    };
    let names: Vec<&str> = wanted.iter().map(|view| view.name()).collect();
    let written = staging.write(&names, profiles.len(), CHUNK_PROFILES, render)?;
    Ok(wanted.into_iter().zip(written).collect())
}
