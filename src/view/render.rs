//! Views are rendered from the folds, those of traits beside the others.

use super::{
    View, external_id_mapping, folds::FoldedTables, id_graph, profile_merges, trait_views, user_identifiers,
};
use crate::{
    error::Result,
    table::write::{ViewStaging, ViewStats},
};

/// Writes views.
pub fn write(
    folds: &FoldedTables,
    views: &[View],
    staging: &ViewStaging<'_>,
) -> Result<Vec<(View, ViewStats)>> {
    let (of_traits, others) = rayon::join(
        || trait_views::write(views, folds, staging),
        || -> Result<Vec<(View, ViewStats)>> {
            let mut written = Vec::new();
            for &view in views {
                written.extend(match view {
                    View::ProfileTraits | View::UserTraits => None,
                    View::IdGraph => Some((view, id_graph::write(folds, staging)?)),
                    View::ProfileMerges => Some((view, profile_merges::write(folds, staging)?)),
                    View::ExternalIdMapping => Some((view, external_id_mapping::write(folds, staging)?)),
                    View::UserIdentifiers => Some((view, user_identifiers::write(folds, staging)?)),
                });
            }
            Ok(written)
        },
    );
    Ok([of_traits?, others?].concat())
}
