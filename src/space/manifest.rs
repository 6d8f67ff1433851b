//! `manifest.json`: what is committed of each table. Replacing this file is the commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::Path,
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    after::SpaceRecord,
    kept::KeptMessages,
    layout::MANIFEST,
    table_state::{CommittedTable, CompressedExtent},
};
use crate::{
    collections::Set,
    config::{
        self,
        rules::{Compression, Rules, SegmentIdStyle},
    },
    error::{Error, Result},
    event::order::EventKey,
    files::Files,
    read::digest::Hashing,
    time::timestamp::{Micros, Millis},
};

/// The format that this version writes. Earlier versions of the program refuse it.
pub const FORMAT: u32 = 3;

/// Earlier formats that this version still reads: the first for plain tables, the second for compressed ones. The next
/// run adds what they lack.
pub const EARLIER_FORMATS: [u32; 2] = [1, 2];

/// The content of `manifest.json`: what is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format number that was read.
    pub format: u32,
    /// How new tables and views are stored. The first run decides.
    #[serde(default, skip_serializing_if = "Compression::is_none")]
    pub compress: Compression,
    /// The newest `uuid_ts` assigned, in microseconds; -1 if none was assigned yet, because 0 is a valid time.
    pub uuid_ts: Micros,
    /// The rules of the last run.
    #[serde(default)]
    pub config: Option<ConfigUsed>,
    /// The rules of earlier runs by digest, as `--print-config` prints them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, String>,
    /// The tables, by name.
    pub tables: BTreeMap<String, CommittedTable>,
    /// Committed rows that may not be in their tables yet, by file name. Empty between two commands, unless one of them
    /// was killed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub placing: BTreeMap<String, Placement>,
    /// The segment files of the state cache that belongs to these tables, oldest first.
    #[serde(default, rename = "state_parts")]
    pub state: Vec<StateFile>,
    /// The views in the space by name, with the raw tables that each reflects. The content of a view that is not listed
    /// is unknown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub views: BTreeMap<String, CommittedView>,
    /// The key for digests of inputs: random bytes in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The greatest order key of all accepted events. Events before it are late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<EventKey>,
    /// Accepted messages that are not recorded in any table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_messages: Option<KeptMessages>,
    /// The committed runs, oldest first.
    pub runs: Vec<RunRecord>,
}

/// Committed rows that wait in a staged file: the table's own, or the one that small additions share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Length of the table's file before the commit; `None` if the table is new, so that the staged file becomes its
    /// file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Offset of the rows in the shared staged file; `None` if they have a staged file of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_from: Option<u64>,
    /// Number of staged bytes.
    pub bytes: u64,
    /// Digest of these bytes, as defined in [`crate::read::digest`].
    pub digest: String,
}

/// A view as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedView {
    /// Number of rows.
    pub rows: u64,
    /// Number of bytes, before compression.
    pub bytes: u64,
    /// Digest of these bytes, as defined in [`crate::read::digest`].
    pub digest: String,
    /// Number of bytes of its file if it is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<u64>,
    /// Number of the last run whose raw rows the view reflects.
    pub run: u64,
    /// The raw tables that the view reflects, by name.
    pub raw: BTreeMap<String, ReflectedTable>,
    /// If set, the view reflects only rows up to this time, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Micros>,
    /// The program version that wrote the view.
    pub made_by: String,
    /// The selected columns, in the notation of the config.
    pub columns: String,
    /// Number of profiles that are not merged away.
    pub profiles: u64,
    /// Whether every identifier has exactly one row.
    pub plain: bool,
}

impl CommittedView {
    /// Returns the record of the view in the form of a table's.
    #[must_use]
    pub fn as_table(&self) -> CommittedTable {
        CommittedTable {
            rows: self.rows,
            bytes: self.bytes,
            digest: self.digest.clone(),
            link: String::new(),
            stored: self.stored.map(|bytes| CompressedExtent { bytes, tail: 0 }),
        }
    }
}

/// A raw table as a view reflects it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReflectedTable {
    /// Number of committed bytes.
    pub bytes: u64,
    /// Digest of these bytes.
    pub digest: String,
}

/// The rules that a run applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigUsed {
    /// Digest of the text.
    pub digest: String,
    /// The rules in force, as `--print-config` prints them.
    pub text: String,
}

impl ConfigUsed {
    /// Returns the record of these rules.
    #[must_use]
    pub fn of(rules: &Rules) -> Self {
        let text = config::print(rules);
        // Earlier versions of the program wrote the same digest. Only the author of a config could make two texts
        // collide.
        Self { digest: format!("{:032x}", xxh3_128(text.as_bytes())), text }
    }

    /// Returns how segment ids are made; `None` if the text does not say.
    #[must_use]
    pub fn segment_ids(&self) -> Option<SegmentIdStyle> {
        let style = flatten_config(&self.text).remove("segment_ids")?;
        [SegmentIdStyle::Ksuid, SegmentIdStyle::Sequential]
            .into_iter()
            .find(|known| style.trim_matches('"') == known.word())
    }

    /// Returns a sentence for each config key that changed since the last run.
    #[must_use]
    pub fn changes_since(&self, last: Option<&Self>) -> Vec<String> {
        let Some(last) = last.filter(|last| last.digest != self.digest) else { return Vec::new() };
        let (mut before, now) = (flatten_config(&last.text), flatten_config(&self.text));
        // If an earlier version did not know a key, it worked like its default value.
        for (key, value) in flatten_config(&config::print(&Rules::default())) {
            before.entry(key).or_insert(value);
        }
        let mut changes = Vec::new();
        for key in before.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
            let told =
                |value: Option<&String>| value.map_or("not set".to_owned(), |value| format!("`{value}`"));
            let (old, new) = (before.get(key), now.get(key));
            if old != new {
                changes.push(format!(
                    "the config changed since the last run: `{key}` was {}, is {} (for new events only)",
                    told(old),
                    told(new)
                ));
            }
        }
        changes
    }
}

/// Flattens a config into dotted keys.
fn flatten_config(text: &str) -> BTreeMap<String, String> {
    fn walk(prefix: &str, value: &toml::Value, out: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    walk(&key, value, out);
                }
            }
            other => {
                out.insert(prefix.to_owned(), other.to_string());
            }
        }
    }
    let mut out = BTreeMap::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        walk("", &toml::Value::Table(table), &mut out);
    }
    out
}

/// A segment file of the state cache, in the state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// File name.
    pub name: String,
    /// Digest of its index.
    pub digest: String,
    /// Number of messages, identifiers and segment ids in it.
    pub entries: u64,
}

/// The job of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// Accepted events: wrote their rows and resolved profiles.
    #[default]
    Ingest,
    /// Adopted profiles from a snapshot.
    BackfillProfiles,
    /// Wrote rows of event tables and nothing else.
    BackfillEvents,
    /// Adopted raw tables.
    BackfillRaw,
}

impl RunKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_ingest(&self) -> bool {
        *self == Self::Ingest
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One committed run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The job that ran.
    #[serde(default, skip_serializing_if = "RunKind::is_ingest")]
    pub job: RunKind,
    /// The inputs that it read.
    pub inputs: Vec<RunInput>,
    /// Digest of the rules that it applied.
    pub config: String,
    /// Number of events accepted.
    pub accepted: u64,
    /// Number of events dropped as duplicates.
    pub duplicates: u64,
    /// Number of events dropped by a filter.
    pub filtered: u64,
    /// Number of lines rejected.
    pub rejected: u64,
    /// Number of `seq` values given to inferred rows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub inferred: u64,
    /// Number of profiles adopted, including merged ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub adopted: u64,
    /// Number of snapshot rows that were not adopted because of a conflict.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conflicts: u64,
    /// Arrival time of the newest event that a backfill of events wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Millis>,
    /// For a backfill of events or raw tables: the byte range that it wrote of each table; the end is exclusive.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub written: BTreeMap<String, (u64, u64)>,
    /// The space after the run, as long as a rollback to it is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<SpaceRecord>,
}

/// One input of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInput {
    /// Name of the input as it was given.
    pub name: String,
    /// Digest of its bytes as stored.
    pub digest: String,
    /// The source that its path determines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Number of bytes after decompression.
    pub bytes: u64,
    /// Number of lines, including blank ones.
    pub lines: u64,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            format: FORMAT,
            compress: Compression::None,
            uuid_ts: -1,
            config: None,
            rules: BTreeMap::new(),
            tables: BTreeMap::new(),
            placing: BTreeMap::new(),
            state: Vec::new(),
            views: BTreeMap::new(),
            secret: None,
            newest: None,
            kept_messages: None,
            runs: Vec::new(),
        }
    }
}

impl Manifest {
    /// Returns the manifest of a new space.
    #[must_use]
    pub fn of(compress: Compression) -> Self {
        Self { compress, ..Self::default() }
    }

    /// Reads the manifest as it is, without putting rows in place.
    pub(super) fn load(space: &Path, files: &Files) -> Result<Option<Self>> {
        let path = space.join(MANIFEST);
        let Some(bytes) = files.read_if_exists(&path)? else { return Ok(None) };
        let wrong = |message: String| {
            Error::file(&path, message)
                .hint("restore it from a backup: without it, the tables cannot be trusted")
        };
        let format: ManifestFormat =
            serde_json::from_slice(&bytes).map_err(|e| wrong(format!("is not a manifest: {e}")))?;
        if format.format != FORMAT && !EARLIER_FORMATS.contains(&format.format) {
            return Err(Error::file(
                &path,
                format!("is in format {}, which this version cannot read", format.format),
            )
            .hint(format!(
                "use the version that wrote it, or a new space: this version reads formats up to {FORMAT}"
            )));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|e| wrong(format!("is not a manifest: {e}")))
    }

    /// Replaces the manifest of a space, which is the commit. The caller still has to sync the folder.
    pub fn write(&self, space: &Path, files: &Files) -> Result<()> {
        let of_today = Self { format: FORMAT, ..self.clone() };
        let mut bytes = serde_json::to_vec_pretty(&of_today).expect("a manifest always serializes");
        bytes.push(b'\n');
        files.replace(&space.join(MANIFEST), &bytes)
    }

    /// Creates a secret if the space has none. Inputs ingested before that are no longer recognized by their digest.
    pub fn ensure_secret(&mut self, files: &Files) -> Result<()> {
        if self.secret.is_none() {
            let path = Path::new("/dev/urandom");
            let mut bytes = [0; 32];
            files.open(path)?.read_exact(&mut bytes).map_err(|e| Error::io("read", path, e))?;
            self.secret = Some(blake3::Hash::from_bytes(bytes).to_hex().to_string());
        }
        Ok(())
    }

    /// Returns how digests of inputs are computed in this space.
    #[must_use]
    pub fn hashing(&self) -> Hashing {
        let secret = self.secret.as_ref().and_then(|secret| blake3::Hash::from_hex(secret).ok());
        secret.map_or_else(Hashing::default, |secret| Hashing::keyed(secret.as_bytes()))
    }

    /// Returns digest and source of every input ever ingested.
    #[must_use]
    pub fn known_inputs(&self) -> Set<(String, Option<String>)> {
        let ingested = self.runs.iter().filter(|run| run.job == RunKind::Ingest);
        ingested.flat_map(|run| &run.inputs).map(|i| (i.digest.clone(), i.source.clone())).collect()
    }
}

#[derive(Deserialize)]
struct ManifestFormat {
    format: u32,
}
