//! What all ways of making views need.

use super::{columns::ViewColumns, options::MaterializeOptions};
use crate::{
    config::rules::Compression, files::Files, progress::Progress, table::find::RawTable, view::View,
};

/// What every way of building the views needs.
pub(super) struct ViewsJob<'a> {
    pub(super) options: &'a MaterializeOptions,
    pub(super) tables: &'a [RawTable],
    pub(super) views: &'a [View],
    pub(super) columns: &'a ViewColumns,
    /// How the views are stored, which is how the tables of the space are stored.
    pub(super) compress: Compression,
    pub(super) files: &'a Files,
    pub(super) progress: &'a dyn Progress,
}
