//! Rebuilds the resolver's state from the raw tables. They are the source of truth, whatever the state cache contains.
//!
//! The three raw profile tables are merged in the order of `uuid_ts`. The rows of each event are one step: first the
//! graph, then identifiers, then traits. Accepted messages come from the tables that contain them and from the kept
//! messages.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::{
    adopted,
    event_rows::{self, RESOLVED},
    kept,
    layout::MANIFEST,
    manifest::{Manifest, RunKind, RunRecord},
    replayed::ResolverState,
    tables::committed_file,
};
use crate::{
    catalog,
    collections::{Map, Set, key_of},
    error::{Error, Result},
    event::{Call, duplicates::SeenMessages},
    files::Files,
    identity::{
        extract::identifier_key,
        graph::{IdentityGraph, MappedIdentifier, ProfileId, UNKNOWN_CLOCK, UNKNOWN_TIME},
        packed_traits::{EncodedValue, SetAt},
        traits::{ProfileTraits, column_of},
        types::IdentifierTypes,
    },
    json::{Document, JsonKind, Tape},
    progress::Progress,
    raw::{
        external_id_mapping_updates, id_graph_updates, identity_links, identity_violations,
        profile_traits_updates,
    },
    table::{
        blocks::SharedProgress,
        find::RawTableFile,
        source::{SourceReader, TableSource},
    },
    time::timestamp::{Micros, Millis, parse_micros, parse_millis},
};

/// Rebuilds the state of a space from its raw tables.
pub fn replay(
    folder: &Path,
    manifest: &Manifest,
    types: &IdentifierTypes,
    files: &Files,
    progress: &dyn Progress,
) -> Result<ResolverState> {
    let mut replayed = ResolverState::default();
    let as_views =
        manifest.runs.iter().find(|run| run.job == RunKind::BackfillRaw && !run.written.is_empty());
    if let Some(run) = as_views {
        let tables = adopted::tables(folder, manifest, &run.written);
        replayed = adopted::fold(&tables, types, files, &SharedProgress::new(progress))?;
    }
    let may_have_inferred =
        |run: &RunRecord| matches!(run.job, RunKind::BackfillProfiles | RunKind::BackfillRaw);
    if manifest.runs.iter().any(may_have_inferred) {
        create_adopted(folder, manifest, files, &mut replayed.graph)?;
    }
    replay_profiles(folder, manifest, types, files, progress, &mut replayed)?;
    replay_messages(folder, manifest, files, progress, &mut replayed.accepted)?;
    Ok(replayed)
}

/// Creates adopted profiles that are not in the graph yet. They are older than live ones, wherever their rows are.
/// Their rows have neither a `timestamp` nor a triggering event.
pub fn create_adopted(
    folder: &Path,
    manifest: &Manifest,
    files: &Files,
    graph: &mut IdentityGraph,
) -> Result<()> {
    let mut rows = CommittedRows::open(folder, id_graph_updates::TABLE, manifest, files, false)?;
    while rows.fill()? {
        let segment_id = rows.text("segment_id")?;
        let inferred = rows.optional("timestamp").is_none() && rows.optional("triggering_event_id").is_none();
        if inferred && graph.find_segment_id(&segment_id).is_none() {
            let uuid_ts = rows.optional("uuid_ts").and_then(|text| parse_micros(text.as_bytes()));
            graph.create(&segment_id, uuid_ts.unwrap_or(UNKNOWN_CLOCK));
        }
        rows.advance();
    }
    Ok(())
}

fn replay_profiles(
    folder: &Path,
    manifest: &Manifest,
    types: &IdentifierTypes,
    files: &Files,
    progress: &dyn Progress,
    replayed: &mut ResolverState,
) -> Result<()> {
    let open = |table| CommittedRows::open(folder, table, manifest, files, false);
    let mut graph_rows = open(id_graph_updates::TABLE)?;
    let mut mapping_rows = open(external_id_mapping_updates::TABLE)?;
    let mut trait_rows = open(profile_traits_updates::TABLE)?;
    loop {
        let clocks = [graph_rows.clock()?, mapping_rows.clock()?, trait_rows.clock()?];
        let Some(now) = clocks.into_iter().flatten().min() else { return Ok(()) };
        if progress.interrupted() {
            return Err(Error::Interrupted);
        }
        while graph_rows.clock()? == Some(now) {
            graph_row(&graph_rows, now, replayed)?;
            graph_rows.advance();
        }
        while mapping_rows.clock()? == Some(now) {
            mapping_row(&mapping_rows, now, types, replayed)?;
            mapping_rows.advance();
        }
        while trait_rows.clock()? == Some(now) {
            trait_row(&trait_rows, now, replayed)?;
            trait_rows.advance();
        }
    }
}

fn graph_row(rows: &CommittedRows, uuid_ts: Micros, replayed: &mut ResolverState) -> Result<()> {
    let segment_id = rows.text("segment_id")?;
    let canonical_id = rows.text("canonical_segment_id")?;
    let graph = &mut replayed.graph;
    let mut find = |id: &str| match graph.find_segment_id(id) {
        Some(profile) => profile,
        None => graph.create(id, uuid_ts),
    };
    let into = find(&canonical_id);
    let from = find(&segment_id);
    let into = graph.canonical(into);
    // The recursive entries of a merge find that it is already done.
    if graph.canonical(from) != into {
        let from = graph.canonical(from);
        graph.merge(from, into, uuid_ts);
        let theirs = graph.take_traits(from);
        if !theirs.is_empty() {
            let mut traits = ProfileTraits::default();
            traits.decode(graph.traits(into));
            traits.merge(&[theirs], &replayed.trait_names);
            graph.set_traits(into, traits.encode());
        }
    }
    graph.record_seq(into, rows.seq()?);
    Ok(())
}

fn mapping_row(
    rows: &CommittedRows,
    uuid_ts: Micros,
    types: &IdentifierTypes,
    replayed: &mut ResolverState,
) -> Result<()> {
    let segment = profile(rows, &mut replayed.graph)?;
    let type_name = rows.text("external_id_type")?;
    let value = rows.text("external_id_value")?;
    let key = identifier_key(&mut Vec::new(), &type_name, value.as_bytes());
    let timestamp =
        rows.optional("timestamp").and_then(|text| parse_millis(text.as_bytes())).unwrap_or(UNKNOWN_TIME);
    if replayed.graph.find(key).is_none() {
        let type_id = types.intern(&type_name);
        replayed.graph.map(MappedIdentifier { key, timestamp, uuid_ts, profile: segment, type_id });
    }
    replayed.graph.record_seq(segment, rows.seq()?);
    Ok(())
}

/// Applies a row, which is a full snapshot. Its event set the traits that have the row's own `seq`; the other traits
/// keep their clocks.
fn trait_row(rows: &CommittedRows, uuid_ts: Micros, replayed: &mut ResolverState) -> Result<()> {
    let profile = profile(rows, &mut replayed.graph)?;
    let profile = replayed.graph.canonical(profile);
    let seq = rows.seq()?;
    let timestamp =
        rows.optional("timestamp").and_then(|text| parse_millis(text.as_bytes())).unwrap_or(UNKNOWN_TIME);
    let row_at = SetAt { timestamp, uuid_ts, seq };
    let seqs = rows.text("__trait_seqs")?;
    let mut tape = Tape::default();
    tape.read(seqs.as_bytes()).map_err(|_| rows.error("\"__trait_seqs\" is not JSON"))?;
    let doc = Document { text: seqs.as_bytes(), tokens: &tape.tokens };
    let names = &mut replayed.trait_names;
    let known: Map<u32, SetAt> =
        replayed.graph.traits(profile).values().map(|one| (one.name, one.at)).collect();
    let columns = rows.columns();
    let nested: Set<Vec<u8>> = doc
        .members(0)
        .map(|(path, _)| doc.raw(path))
        .filter(|path| path.contains(&b'.'))
        .map(column_of)
        .collect();
    let mut traits = ProfileTraits::default();
    for (path, set) in doc.members(0) {
        let path = doc.raw(path);
        let set: u64 =
            std::str::from_utf8(doc.raw(set)).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
        let name = names.intern(path.split(|&b| b == b'.').next().unwrap_or(path));
        let at = if set == seq {
            row_at
        } else {
            known.get(&name).copied().unwrap_or(SetAt { seq: set, ..row_at })
        };
        let path_id = names.intern(path);
        let column = column_of(path);
        // If a bare name and a path share a column, the bare name is a removed trait and the value belongs to the path.
        let removed = !path.contains(&b'.') && nested.contains(&column);
        let value = columns.get(&column[..]).filter(|_| !removed).copied().unwrap_or_default();
        // Of a removed trait, only the name is stored.
        let path = if value.is_empty() { name } else { path_id };
        traits.push(EncodedValue { name, at, path, value });
    }
    replayed.graph.set_traits(profile, traits.encode());
    replayed.graph.record_seq(profile, seq);
    Ok(())
}

fn profile(rows: &CommittedRows, graph: &mut IdentityGraph) -> Result<ProfileId> {
    let segment_id = rows.text("segment_id")?;
    graph
        .find_segment_id(&segment_id)
        .ok_or_else(|| rows.error(&format!("segment id \"{segment_id}\" is not in `id_graph_updates`")))
}

/// Collects the accepted messages. A message is in the table of its call, in [`RESOLVED`], or kept. If this finds too
/// few, because an earlier version of the program kept none, or if raw tables were adopted, it searches all tables that
/// contain message ids.
fn replay_messages(
    folder: &Path,
    manifest: &Manifest,
    files: &Files,
    progress: &dyn Progress,
    accepted: &mut SeenMessages,
) -> Result<()> {
    let of_calls = Call::ALL.map(Call::table);
    let mut messages = MessageCollector {
        folder,
        manifest,
        files,
        progress,
        backfilled: event_rows::backfilled_ranges(manifest, Millis::MIN),
        accepted,
    };
    for table in of_calls {
        messages.replay(table, false)?;
    }
    messages.replay(RESOLVED, true)?;
    kept::read(folder, manifest.kept_messages.as_ref(), files, |message_key, received_at| {
        messages.accepted.insert(message_key, received_at)
    })?;
    let ingested = manifest.runs.iter().filter(|run| run.job == RunKind::Ingest);
    let n_accepted = ingested.map(|run| run.accepted).sum::<u64>();
    let is_adopted = manifest.runs.iter().any(|run| run.job == RunKind::BackfillRaw);
    if is_adopted || (messages.accepted.count() as u64) < n_accepted {
        for table in manifest.tables.keys().filter(|table| !of_calls.contains(&table.as_str())) {
            messages.replay(table, true)?;
        }
    }
    let n_unknown = n_accepted.saturating_sub(messages.accepted.count() as u64);
    if 0 < n_unknown {
        let path = folder.join(MANIFEST);
        return Err(Error::file(
            &path,
            format!(
                "{n_unknown} accepted events are in no table with `id` and `received_at`, so their \
                 duplicates cannot be recognized"
            ),
        )
        .hint(
            "ingest all dumps again into a new space with `--space NEW`; if they are gone, adopt this \
             space's tables with `backfill raw OLD --space NEW`: an event that is in no table is then \
             accepted again if it arrives again",
        ));
    }
    Ok(())
}

/// A collector of the messages that tables contain.
struct MessageCollector<'a> {
    folder: &'a Path,
    manifest: &'a Manifest,
    files: &'a Files,
    progress: &'a dyn Progress,
    /// The byte ranges that backfills of events wrote. These events were never accepted, unless [`RESOLVED`] lists
    /// them.
    backfilled: BTreeMap<&'a str, Vec<(u64, u64)>>,
    accepted: &'a mut SeenMessages,
}

impl MessageCollector<'_> {
    /// Adds the messages of a table. If `may_be_known`, skips those that were added before.
    fn replay(&mut self, table: &str, may_be_known: bool) -> Result<()> {
        let Some(column) = message_column(table).filter(|_| self.manifest.tables.contains_key(table)) else {
            return Ok(());
        };
        let ranges = self.backfilled.get(table).map_or(&[][..], Vec::as_slice);
        let mut rows = CommittedRows::open(self.folder, table, self.manifest, self.files, true)?;
        let mut last = (String::new(), 0);
        while rows.fill()? {
            if self.progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let is_backfilled = ranges.iter().any(|&(from, to)| from <= rows.start && rows.start < to);
            let id = rows.optional(column);
            // Selective sync may have left out a column. The message is then found elsewhere.
            if let (Some(id), Some(received_at), false) = (id, rows.optional("received_at"), is_backfilled) {
                let Some(received_at) = parse_millis(received_at.as_bytes()) else {
                    return Err(rows.error("\"received_at\" is not a time"));
                };
                let message = (id, received_at);
                if !may_be_known {
                    self.accepted.insert(key_of(message.0.as_bytes()), received_at)?;
                } else if message != last {
                    // The rows of one event are neighbours.
                    self.accepted.insert_if_new(key_of(message.0.as_bytes()), received_at);
                    last = message;
                }
            }
            rows.advance();
        }
        Ok(())
    }
}

/// Returns the column of a table that contains the `messageId` of an accepted event.
fn message_column(table: &str) -> Option<&'static str> {
    match table {
        id_graph_updates::TABLE
        | external_id_mapping_updates::TABLE
        | profile_traits_updates::TABLE
        | identity_links::TABLE => Some("triggering_event_id"),
        identity_violations::TABLE => Some("message_id"),
        _ if table == RESOLVED || catalog::is_event_table(table) => Some("id"),
        _ => None,
    }
}

/// A reader for the committed rows of a table, one after the other.
struct CommittedRows {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    tape: Tape,
    number: u64,
    /// Offset of the current row in the table, uncompressed.
    start: u64,
    filled: bool,
    ended: bool,
}

impl CommittedRows {
    /// Opens a table. Rows that were folded as views come first; they are skipped unless `all` is set.
    fn open(folder: &Path, table: &str, manifest: &Manifest, files: &Files, all: bool) -> Result<Self> {
        let state = manifest.tables.get(table).cloned().unwrap_or_default();
        let part = committed_file(folder, table, &state);
        let as_views = manifest.runs.iter().filter(|run| run.job == RunKind::BackfillRaw && !all);
        let start = as_views.filter_map(|run| run.written.get(table)).map(|range| range.1).max().unwrap_or(0);
        let reader: Box<dyn BufRead> = if start < state.bytes {
            let stream = SourceReader::new(TableSource::open(&part, files)?, start);
            Box::new(BufReader::with_capacity(1 << 20, stream))
        } else {
            Box::new(std::io::empty())
        };
        Ok(Self {
            path: part.path,
            reader,
            line: Vec::new(),
            tape: Tape::default(),
            number: 0,
            start,
            filled: false,
            ended: false,
        })
    }

    /// Reads the next row unless it was read already. Returns whether there is one.
    fn fill(&mut self) -> Result<bool> {
        if self.filled || self.ended {
            return Ok(self.filled);
        }
        self.start += self.line.len() as u64;
        self.line.clear();
        self.reader.read_until(b'\n', &mut self.line).map_err(|e| Error::io("read", &self.path, e))?;
        self.number += 1;
        if self.line.is_empty() {
            self.ended = true;
            return Ok(false);
        }
        if std::str::from_utf8(&self.line).is_err() || self.tape.read(&self.line).is_err() {
            return Err(self.error("the row is not JSON"));
        }
        self.filled = true;
        Ok(true)
    }

    fn advance(&mut self) {
        self.filled = false;
    }

    fn clock(&mut self) -> Result<Option<Micros>> {
        if !self.fill()? {
            return Ok(None);
        }
        let text = self.text("uuid_ts")?;
        parse_micros(text.as_bytes()).map(Some).ok_or_else(|| self.error("\"uuid_ts\" is not a time"))
    }

    fn doc(&self) -> Document<'_> {
        Document { text: &self.line, tokens: &self.tape.tokens }
    }

    fn optional(&self, column: &str) -> Option<String> {
        let doc = self.doc();
        let text = doc.string(doc.get(0, column.as_bytes())?)?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    fn text(&self, column: &str) -> Result<String> {
        self.optional(column).ok_or_else(|| self.error(&format!("\"{column}\" is missing")))
    }

    /// Returns the `seq` of the row. An adopted row may have none; 0 makes it older than all others.
    fn seq(&self) -> Result<u64> {
        match self.optional("seq") {
            None => Ok(0),
            Some(text) => text.parse().map_err(|_| self.error("\"seq\" is not a number")),
        }
    }

    /// Returns the names of all columns that are not null, with their values as JSON.
    fn columns(&self) -> Map<&[u8], &[u8]> {
        let doc = self.doc();
        let value = |value| {
            let token = doc.tokens[value as usize];
            match token.kind {
                JsonKind::Null => None,
                JsonKind::Plain | JsonKind::Escaped => {
                    Some(&self.line[token.start as usize - 1..=token.end as usize])
                }
                _ => Some(doc.raw(value)),
            }
        };
        doc.members(0).filter_map(|(name, at)| Some((doc.raw(name), value(at)?))).collect()
    }

    fn error(&self, message: &str) -> Error {
        // `number` counts from the first row read, which may not be the first line of the table.
        let part = RawTableFile { path: self.path.clone(), committed: None };
        let source = (self.start != 0).then(|| TableSource::open(&part, &Files::real()));
        let line = source.and_then(|source| source.and_then(|source| source.line_number(self.start)).ok());
        Error::line(&self.path, line.unwrap_or(self.number), message)
            .hint("restore it from a backup, or ingest into a new space: another program changed the table")
    }
}
