//! What is committed of a table.

use serde::{Deserialize, Serialize};

/// What is committed of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedTable {
    /// Number of rows.
    pub rows: u64,
    /// Number of bytes, before compression.
    pub bytes: u64,
    /// Digest of these bytes, as defined in [`crate::read::digest`].
    pub digest: String,
    /// Digest of the whole pieces only, from which the digest is resumed.
    pub link: String,
    /// The committed extent of the file if the table is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<CompressedExtent>,
}

/// The committed extent of a compressed table file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompressedExtent {
    /// Number of bytes of the file.
    pub bytes: u64,
    /// Offset of the frames after the last whole piece of the digest.
    pub tail: u64,
}
