//! Columns of views that the config leaves out. Those of the key stay: without them rows could not be told apart.

use std::sync::{Mutex, PoisonError};

use crate::{
    collections::key_of,
    config::{rules::Rules, select::ColumnFilter},
    glob::Globs,
    view::View,
};

/// What takes columns out of rows; see [`crate::table::write::Polish`].
type OwnedPolish<'a> = Box<dyn Fn(&str, &mut Vec<u8>) + Sync + 'a>;

/// What is left of the rows of views.
pub(super) struct Columns {
    rules: Rules,
    /// Filters at rest, by view: as many as threads were ever at work.
    filters: [Mutex<Vec<ColumnFilter>>; View::ALL.len()],
}

impl Columns {
    pub(super) fn new(rules: &Rules) -> Self {
        Self { rules: rules.clone(), filters: Default::default() }
    }

    /// The selection in a few letters: the same where the same columns are left.
    pub(super) fn digest(&self) -> String {
        if self.rules.columns.all() {
            return String::new();
        }
        let written = |globs: &Option<Globs>| globs.as_ref().map(|globs| globs.written.clone());
        let columns = &self.rules.columns;
        let text = format!("{:?}", (written(&columns.include), written(&columns.exclude)));
        format!("{:032x}", key_of(text.as_bytes()))
    }

    /// Takes out of rows what is not selected; `None` where everything is.
    pub(super) fn polish(&self) -> Option<OwnedPolish<'_>> {
        if self.rules.columns.all() {
            return None;
        }
        Some(Box::new(move |name, rows| {
            let Some(place) = View::ALL.iter().position(|view| view.name() == name) else { return };
            let at_rest = || self.filters[place].lock().unwrap_or_else(PoisonError::into_inner);
            let filter = at_rest().pop();
            let new = || ColumnFilter::keeping(View::ALL[place].key(), name, &self.rules);
            let mut filter = filter.unwrap_or_else(new);
            filter.apply(rows, 0);
            at_rest().push(filter);
        }))
    }
}
