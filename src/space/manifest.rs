//! `manifest.json`: what of each table is committed. Replacing it is the commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::Path,
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::{history::After, kept::KeptMessages, lock::Lock, place};
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

/// The file's name in the space.
pub const MANIFEST: &str = "manifest.json";

/// The format that is written. Earlier versions of the program refuse it.
pub const FORMAT: u32 = 3;

/// Earlier formats that are read: of plain tables and of compressed ones. What they lack begins with the next run.
pub const EARLIER_FORMATS: [u32; 2] = [1, 2];

/// What is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this file, as it was read.
    pub format: u32,
    /// How new tables and views are stored: as the first run was told.
    #[serde(default, skip_serializing_if = "Compression::is_none")]
    pub compress: Compression,
    /// The last `uuid_ts` given, in microseconds; -1 before the first, for time begins at 0.
    pub uuid_ts: Micros,
    /// The rules of the last run.
    #[serde(default)]
    pub config: Option<ConfigUsed>,
    /// The rules of earlier runs, by digest: the text as `--print-config` prints it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, String>,
    /// The tables, by name.
    pub tables: BTreeMap<String, TableState>,
    /// Rows of these tables that are committed but may not be in their files yet, by file name. Empty between two commands,
    /// unless one of them was killed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub placing: BTreeMap<String, Placement>,
    /// The parts of the state cache that goes with these tables, oldest first.
    #[serde(default, rename = "state_parts")]
    pub state: Vec<StateFile>,
    /// The views in the space, by name: which raw tables each reflects. A view that is not named here may be anything.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub views: BTreeMap<String, ViewState>,
    /// Keys the digests of inputs: random bytes in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The greatest key of the events accepted so far; what comes before it is late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<EventKey>,
    /// Accepted messages that no table names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_messages: Option<KeptMessages>,
    /// The runs, oldest first.
    pub runs: Vec<Run>,
}

/// What is committed of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Of these bytes, as [`crate::read::digest`] takes it.
    pub digest: String,
    /// The digest behind the last whole piece, from which it is taken up again.
    pub link: String,
    /// Where the table is packed: how it lies in its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
}

/// What of a packed table's file is committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Bytes of the file.
    pub bytes: u64,
    /// Where the frames behind the last whole piece begin.
    pub tail: u64,
}

/// Committed rows that wait in a staged file: one of the same name, or the one that small additions share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Bytes of the table's file before the commit; none if the table is new, so that the staged file becomes its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Offset of the rows in the shared file; none if they have a staged file of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_from: Option<u64>,
    /// Bytes that are staged.
    pub bytes: u64,
    /// Of these bytes, as [`crate::read::digest`] takes it.
    pub digest: String,
}

/// A view as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewState {
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Of these bytes, as [`crate::read::digest`] takes it.
    pub digest: String,
    /// Bytes of its file, where it is packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<u64>,
    /// The number of the last run in the raw tables that it reflects.
    pub run: u64,
    /// The raw tables that it reflects, by name.
    pub raw: BTreeMap<String, RawState>,
    /// Only rows up to this time, in microseconds, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Micros>,
    /// The program that wrote it.
    pub made_by: String,
    /// The columns that were selected, as the config has it.
    pub columns: String,
    /// Profiles that are not merged away.
    pub profiles: u64,
    /// Whether no identifier has more rows than one.
    pub plain: bool,
}

/// A raw table as a view reflects it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawState {
    /// Committed bytes.
    pub bytes: u64,
    /// Of these bytes.
    pub digest: String,
}

/// The rules that a run went by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigUsed {
    /// Of the text.
    pub digest: String,
    /// The rules in force, as `--print-config` prints them.
    pub text: String,
}

impl ConfigUsed {
    /// These rules.
    #[must_use]
    pub fn of(rules: &Rules) -> Self {
        let text = config::print(rules);
        // Spaces of earlier versions have this digest too. Nobody but who writes the config could make two texts collide.
        Self { digest: format!("{:032x}", xxh3_128(text.as_bytes())), text }
    }

    /// How segment ids were made.
    #[must_use]
    pub fn segment_ids(&self) -> Option<SegmentIdStyle> {
        let style = flat(&self.text).remove("segment_ids")?;
        [SegmentIdStyle::Ksuid, SegmentIdStyle::Sequential]
            .into_iter()
            .find(|known| style.trim_matches('"') == known.word())
    }

    /// What is not as it was in the last run, a sentence each.
    #[must_use]
    pub fn changes_since(&self, last: Option<&Self>) -> Vec<String> {
        let Some(last) = last.filter(|last| last.digest != self.digest) else { return Vec::new() };
        let (mut before, now) = (flat(&last.text), flat(&self.text));
        // A key that an earlier version did not know had its default value.
        for (key, value) in flat(&config::print(&Rules::default())) {
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

/// A config as dotted keys.
fn flat(text: &str) -> BTreeMap<String, String> {
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

/// A part of the state cache, a file in the state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Its name.
    pub name: String,
    /// Of its index, which holds the checksums of all its bytes.
    pub digest: String,
    /// How many messages, identifiers and segment ids stand in it.
    pub entries: u64,
}

/// What a run was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Events became rows and profiles.
    #[default]
    Ingest,
    /// A current state was adopted.
    BackfillProfiles,
    /// Events became rows of event tables, and nothing else.
    BackfillEvents,
    /// Raw tables were adopted.
    BackfillRaw,
}

impl Job {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "so it is called")]
    fn is_ingest(&self) -> bool {
        *self == Self::Ingest
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "so it is called")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One run that was committed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What it was.
    #[serde(default, skip_serializing_if = "Job::is_ingest")]
    pub job: Job,
    /// What it read.
    pub inputs: Vec<RunInput>,
    /// The digest of the rules it went by.
    pub config: String,
    /// Events accepted.
    pub accepted: u64,
    /// Events dropped as duplicates.
    pub duplicates: u64,
    /// Events dropped by a filter.
    pub filtered: u64,
    /// Lines rejected.
    pub rejected: u64,
    /// Running numbers given to inferred rows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub inferred: u64,
    /// Profiles that were adopted, merged ones too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub adopted: u64,
    /// Rows of a state that were set aside.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conflicts: u64,
    /// When the newest event arrived that a backfill of events wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Millis>,
    /// Of a backfill of events or raw tables: which bytes of which table it wrote, from the first to behind the last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub written: BTreeMap<String, (u64, u64)>,
    /// The space after the run, while it can be rolled back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
}

/// One input of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInput {
    /// As it was given.
    pub name: String,
    /// Of its bytes as stored.
    pub digest: String,
    /// The source that its path named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Bytes after unpacking.
    pub bytes: u64,
    /// Lines, blank ones too.
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
    /// That of a new space.
    #[must_use]
    pub fn of(compress: Compression) -> Self {
        Self { compress, ..Self::default() }
    }

    /// Reads the manifest of a space; `None` where the space has none yet. All that it has committed is in the tables then:
    /// what a killed run did not put in place is put there. Whoever holds the lock calls [`Manifest::read_locked`].
    pub fn read(space: &Path, files: &Files) -> Result<Option<Self>> {
        match Self::load(space, files)? {
            Some(manifest) if !manifest.placing.is_empty() => place::complete(space, files),
            manifest => Ok(manifest),
        }
    }

    /// Does the same under the lock.
    pub fn read_locked(space: &Path, lock: &Lock, files: &Files) -> Result<Option<Self>> {
        place::complete_locked(space, lock, files)
    }

    /// Reads the manifest as it is.
    pub(super) fn load(space: &Path, files: &Files) -> Result<Option<Self>> {
        let path = space.join(MANIFEST);
        let Some(bytes) = files.read_if_there(&path)? else { return Ok(None) };
        let wrong = |message: String| {
            Error::file(&path, message).hint("restore it from a backup; tables cannot be trusted without it")
        };
        let format: Format =
            serde_json::from_slice(&bytes).map_err(|e| wrong(format!("not a manifest: {e}")))?;
        if format.format != FORMAT && !EARLIER_FORMATS.contains(&format.format) {
            return Err(Error::file(&path, format!("written in format {}", format.format)).hint(format!(
                "this version reads formats up to {FORMAT}; use the version that wrote it, or a new space"
            )));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|e| wrong(format!("not a manifest: {e}")))
    }

    /// Replaces the manifest of a space: the commit. The folder is still to be synced.
    pub fn write(&self, space: &Path, files: &Files) -> Result<()> {
        let of_today = Self { format: FORMAT, ..self.clone() };
        let mut bytes = serde_json::to_vec_pretty(&of_today).expect("a manifest is plain data");
        bytes.push(b'\n');
        files.replace(&space.join(MANIFEST), &bytes)
    }

    /// Makes a secret for a space that has none. What was ingested before it had one is not known by its digest any more.
    pub fn ensure_secret(&mut self, files: &Files) -> Result<()> {
        if self.secret.is_none() {
            let path = Path::new("/dev/urandom");
            let mut bytes = [0; 32];
            files.open(path)?.read_exact(&mut bytes).map_err(|e| Error::io("read", path, e))?;
            self.secret = Some(blake3::Hash::from_bytes(bytes).to_hex().to_string());
        }
        Ok(())
    }

    /// How digests of inputs are taken.
    #[must_use]
    pub fn hashing(&self) -> Hashing {
        let secret = self.secret.as_ref().and_then(|secret| blake3::Hash::from_hex(secret).ok());
        secret.map_or_else(Hashing::default, |secret| Hashing::keyed(secret.as_bytes()))
    }

    /// Digest and source of all inputs ever ingested.
    #[must_use]
    pub fn known_inputs(&self) -> Set<(String, Option<String>)> {
        let ingested = self.runs.iter().filter(|run| run.job == Job::Ingest);
        ingested.flat_map(|run| &run.inputs).map(|i| (i.digest.clone(), i.source.clone())).collect()
    }
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}
