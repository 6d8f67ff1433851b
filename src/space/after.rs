//! The space after a run, as the manifest records it.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    kept::KeptMessages,
    table_state::{CommittedTable, CompressedExtent},
};
use crate::{event::order::EventKey, time::timestamp::Micros};

/// The space after a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceRecord {
    /// The newest `uuid_ts` assigned, in microseconds.
    pub uuid_ts: Micros,
    /// Digest of the rules of the last run that had rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
    /// The greatest order key of the events accepted so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<EventKey>,
    /// The messages kept so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_messages: Option<KeptMessages>,
    /// The tables that the run changed, by name, one per line.
    #[serde(serialize_with = "write_tables", deserialize_with = "read_tables")]
    pub tables: BTreeMap<String, CommittedTable>,
}

/// Writes each table as `ROWS BYTES DIGEST LINK`, followed by `STORED TAIL` if it is compressed.
fn write_tables<S: Serializer>(tables: &BTreeMap<String, CommittedTable>, out: S) -> Result<S::Ok, S::Error> {
    out.collect_map(tables.iter().map(|(name, state)| {
        let CommittedTable { rows, bytes, digest, link, stored } = state;
        let mut text = format!("{rows} {bytes} {digest} {link}");
        if let Some(CompressedExtent { bytes, tail }) = stored {
            let _ = write!(text, " {bytes} {tail}");
        }
        (name, text)
    }))
}

fn read_tables<'a, D: Deserializer<'a>>(input: D) -> Result<BTreeMap<String, CommittedTable>, D::Error> {
    let texts: BTreeMap<String, String> = BTreeMap::deserialize(input)?;
    let tables = texts.into_iter().map(|(name, text)| {
        let state = read_table(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not a table")))?;
        Ok((name, state))
    });
    tables.collect()
}

fn read_table(text: &str) -> Option<CommittedTable> {
    let words: Vec<&str> = text.split(' ').collect();
    let (rows, bytes, digest, link, stored) = match words[..] {
        [rows, bytes, digest, link] => (rows, bytes, digest, link, None),
        [rows, bytes, digest, link, stored, tail] => {
            let stored = CompressedExtent { bytes: stored.parse().ok()?, tail: tail.parse().ok()? };
            (rows, bytes, digest, link, Some(stored))
        }
        _ => return None,
    };
    Some(CommittedTable {
        rows: rows.parse().ok()?,
        bytes: bytes.parse().ok()?,
        digest: digest.to_owned(),
        link: link.to_owned(),
        stored,
    })
}
