//! Columns of views that the config excludes. Key columns are always kept, because they identify the rows.

use std::sync::{Mutex, PoisonError};

use crate::{
    collections::key_of,
    config::{rules::Rules, select::ColumnFilter},
    glob::Globs,
    view::View,
};

/// A function that removes columns from rows; see [`crate::table::write::RowFilter`].
type OwnedRowFilter<'a> = Box<dyn Fn(&str, &mut Vec<u8>) + Sync + 'a>;

/// Removes the excluded columns from the rows of views.
pub(super) struct ViewColumns {
    rules: Rules,
    /// A pool of filters for each view, with as many as there were threads at work at once.
    filters: [Mutex<Vec<ColumnFilter>>; View::ALL.len()],
}

impl ViewColumns {
    pub(super) fn new(rules: &Rules) -> Self {
        Self { rules: rules.clone(), filters: Default::default() }
    }

    /// Returns a digest of the column selection; empty if all columns are selected.
    pub(super) fn digest(&self) -> String {
        if self.rules.columns.all() {
            return String::new();
        }
        let written = |globs: &Option<Globs>| globs.as_ref().map(|globs| globs.written.clone());
        let columns = &self.rules.columns;
        let text = format!("{:?}", (written(&columns.include), written(&columns.exclude)));
        format!("{:032x}", key_of(text.as_bytes()))
    }

    /// Returns a function that removes the excluded columns from rows; `None` if there are none.
    pub(super) fn row_filter(&self) -> Option<OwnedRowFilter<'_>> {
        if self.rules.columns.all() {
            return None;
        }
        Some(Box::new(move |name, rows| {
            let Some(place) = View::ALL.iter().position(|view| view.name() == name) else { return };
            let at_rest = || self.filters[place].lock().unwrap_or_else(PoisonError::into_inner);
            let filter = at_rest().pop();
            let new = || ColumnFilter::with_fixed(View::ALL[place].key(), name, &self.rules);
            let mut filter = filter.unwrap_or_else(new);
            filter.apply(rows, 0);
            at_rest().push(filter);
        }))
    }
}
