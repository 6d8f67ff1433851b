//! Raw tables: what each row holds and how it is spelled.

pub mod columns;
pub mod event_row;
pub mod external_id_mapping_updates;
pub mod id_graph_updates;
pub mod identity_violations;
pub mod profile_traits_updates;
pub mod trigger;

/// What is to come of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// They are rendered and written.
    Written,
    /// They are only counted, and what would be left out or renamed in them.
    Counted,
}
