//! The raw tables: the content and spelling of their rows.

pub mod event_row;
pub mod external_id_mapping_updates;
pub mod id_graph_updates;
pub mod identity_links;
pub mod identity_violations;
pub mod profile_traits_updates;
pub mod trigger;

/// Whether rows are rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowMode {
    /// Rows are rendered and written.
    Write,
    /// Rows are only counted, along with the notices that rendering them would count.
    Count,
}
