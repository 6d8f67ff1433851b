//! What the resolver needs to carry on, folded from the raw tables: they are the truth, whatever a cache says.
//!
//! The three raw profile tables are read side by side in the order of `uuid_ts`, each event's rows as one step: first the
//! graph, then identifiers, then traits. The memory of accepted messages comes from the event tables.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::{
    adopted,
    event_rows::{self, RESOLVED},
    manifest::{Job, Manifest, Run},
    tables::part_of,
};
use crate::{
    collections::{Map, key_of},
    error::{Error, Result},
    event::{
        Call,
        duplicates::Accepted,
        json::{Document, Kind, Tape},
        timestamp::{Micros, Millis, parse_micros, parse_millis},
    },
    files::Files,
    identity::{
        extract::identifier_key,
        graph::{Graph, NO_TIME, ProfileId},
        packed_traits::PackedValue,
        traits::{ProfileTraits, SetAt, TraitNames, column_of},
        types::Types,
    },
    progress::Progress,
    raw::{external_id_mapping_updates, id_graph_updates, names::BUILT_IN_TABLES, profile_traits_updates},
    table::{
        blocks::Meter,
        find::Part,
        source::{Source, Stream},
    },
};

/// What the resolver and the memory of messages were at the last commit.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Profiles, identifiers and traits.
    pub graph: Graph,
    /// The paths of all traits.
    pub trait_names: TraitNames,
    /// All messages ever accepted, as far as event tables tell.
    pub accepted: Accepted,
}

/// Replays a space.
pub fn replay(
    folder: &Path,
    manifest: &Manifest,
    types: &Types,
    files: &Files,
    progress: &dyn Progress,
) -> Result<Replayed> {
    let mut replayed = Replayed::default();
    let as_views = manifest.runs.iter().find(|run| run.job == Job::BackfillRaw && !run.written.is_empty());
    if let Some(run) = as_views {
        let tables = adopted::tables(folder, manifest, &run.written);
        replayed = adopted::fold(&tables, types, files, &Meter::new(progress))?;
    }
    let may_have_inferred = |run: &Run| matches!(run.job, Job::BackfillProfiles | Job::BackfillRaw);
    if manifest.runs.iter().any(may_have_inferred) {
        create_adopted(folder, manifest, files, &mut replayed.graph)?;
    }
    replay_profiles(folder, manifest, types, files, progress, &mut replayed)?;
    replay_messages(folder, manifest, files, progress, &mut replayed.accepted)?;
    Ok(replayed)
}

/// Adopted profiles are older than live ones, wherever their rows stand. No event triggered those.
pub fn create_adopted(folder: &Path, manifest: &Manifest, files: &Files, graph: &mut Graph) -> Result<()> {
    let mut rows = Rows::open(folder, id_graph_updates::TABLE, manifest, files)?;
    while rows.fill()? {
        let segment_id = rows.text("segment_id")?;
        let inferred = rows.optional("timestamp").is_none() && rows.optional("triggering_event_id").is_none();
        if inferred && graph.find_segment_id(&segment_id).is_none() {
            graph.create(&segment_id);
        }
        rows.advance();
    }
    Ok(())
}

fn replay_profiles(
    folder: &Path,
    manifest: &Manifest,
    types: &Types,
    files: &Files,
    progress: &dyn Progress,
    replayed: &mut Replayed,
) -> Result<()> {
    let open = |table| Rows::open(folder, table, manifest, files);
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
            graph_row(&graph_rows, replayed)?;
            graph_rows.advance();
        }
        while mapping_rows.clock()? == Some(now) {
            mapping_row(&mapping_rows, types, replayed)?;
            mapping_rows.advance();
        }
        while trait_rows.clock()? == Some(now) {
            trait_row(&trait_rows, now, replayed)?;
            trait_rows.advance();
        }
    }
}

fn graph_row(rows: &Rows, replayed: &mut Replayed) -> Result<()> {
    let segment_id = rows.text("segment_id")?;
    let canonical_id = rows.text("canonical_segment_id")?;
    let graph = &mut replayed.graph;
    let mut find = |id: &str| match graph.find_segment_id(id) {
        Some(profile) => profile,
        None => graph.create(id),
    };
    let into = find(&canonical_id);
    let from = find(&segment_id);
    let into = graph.canonical(into);
    // The recursive entries of a merge find it done already.
    if graph.canonical(from) != into {
        let from = graph.canonical(from);
        graph.merge(from, into);
        let theirs = graph.take_traits(from);
        if !theirs.is_empty() {
            let mut traits = ProfileTraits::default();
            traits.unpack(graph.traits(into));
            traits.merge(&[theirs], &replayed.trait_names);
            graph.set_traits(into, traits.pack());
        }
    }
    graph.saw_seq(into, rows.seq()?);
    Ok(())
}

fn mapping_row(rows: &Rows, types: &Types, replayed: &mut Replayed) -> Result<()> {
    let segment = profile(rows, &mut replayed.graph)?;
    let type_name = rows.text("external_id_type")?;
    let value = rows.text("external_id_value")?;
    let key = identifier_key(&mut Vec::new(), &type_name, value.as_bytes());
    let timestamp =
        rows.optional("timestamp").and_then(|text| parse_millis(text.as_bytes())).unwrap_or(NO_TIME);
    if replayed.graph.find(key).is_none() {
        replayed.graph.map(key, types.id(&type_name), segment, timestamp);
    }
    replayed.graph.saw_seq(segment, rows.seq()?);
    Ok(())
}

/// A snapshot. Traits whose seq is the row's own were set by its event; the others keep the clocks they have.
fn trait_row(rows: &Rows, uuid_ts: Micros, replayed: &mut Replayed) -> Result<()> {
    let profile = profile(rows, &mut replayed.graph)?;
    let profile = replayed.graph.canonical(profile);
    let seq = rows.seq()?;
    let timestamp =
        rows.optional("timestamp").and_then(|text| parse_millis(text.as_bytes())).unwrap_or(NO_TIME);
    let row_at = SetAt { timestamp, uuid_ts, seq };
    let seqs = rows.text("__trait_seqs")?;
    let mut tape = Tape::default();
    tape.read(seqs.as_bytes()).map_err(|_| rows.wrong("\"__trait_seqs\" is not JSON"))?;
    let doc = Document { text: seqs.as_bytes(), tokens: &tape.tokens };
    let names = &mut replayed.trait_names;
    let known: Map<u32, SetAt> =
        replayed.graph.traits(profile).values().map(|one| (one.name, one.at)).collect();
    let nested: Vec<Vec<u8>> = doc
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
        let name = names.id(path.split(|&b| b == b'.').next().unwrap_or(path));
        let at = if set == seq {
            row_at
        } else {
            known.get(&name).copied().unwrap_or(SetAt { seq: set, ..row_at })
        };
        let path_id = names.id(path);
        let column = column_of(path);
        // A bare name beside a path of the same column is a removed trait: the value is the path's.
        let removed = !path.contains(&b'.') && nested.contains(&column);
        let value = rows.column(&column).filter(|_| !removed);
        let value = value.unwrap_or_default();
        // A removed trait stands by its name alone.
        let path = if value.is_empty() { name } else { path_id };
        traits.push(PackedValue { name, at, path, value });
    }
    replayed.graph.set_traits(profile, traits.pack());
    replayed.graph.saw_seq(profile, seq);
    Ok(())
}

fn profile(rows: &Rows, graph: &mut Graph) -> Result<ProfileId> {
    let segment_id = rows.text("segment_id")?;
    graph
        .find_segment_id(&segment_id)
        .ok_or_else(|| rows.wrong(&format!("segment id \"{segment_id}\" is not in `id_graph_updates`")))
}

/// Messages stand in the table of their call; a track event's own table is asked only where `tracks` is not written. What a
/// backfill of events wrote was never accepted, until an ingest says so in a table of its own.
fn replay_messages(
    folder: &Path,
    manifest: &Manifest,
    files: &Files,
    progress: &dyn Progress,
    accepted: &mut Accepted,
) -> Result<()> {
    let by_call: Vec<&str> =
        Call::ALL.into_iter().map(Call::table).filter(|t| manifest.tables.contains_key(*t)).collect();
    let with_tracks = by_call.contains(&Call::Track.table());
    let own = manifest.tables.keys().map(String::as_str);
    let own = own.filter(|t| *t == RESOLVED || !with_tracks && !BUILT_IN_TABLES.contains(t));
    let backfilled = event_rows::backfilled(manifest, Millis::MIN);
    for table in by_call.iter().copied().chain(own) {
        let ranges = backfilled.get(table).map_or(&[][..], Vec::as_slice);
        let mut rows = Rows::open(folder, table, manifest, files)?;
        while rows.fill()? {
            if ranges.iter().any(|&(from, to)| from <= rows.start && rows.start < to) {
                rows.advance();
                continue;
            }
            // A column that selective sync leaves out cannot be remembered by.
            if let (Some(id), Some(received_at)) = (rows.optional("id"), rows.optional("received_at")) {
                let received_at = parse_millis(received_at.as_bytes());
                let received_at = received_at.ok_or_else(|| rows.wrong("\"received_at\" is no time"))?;
                accepted.remember(key_of(id.as_bytes()), received_at)?;
            }
            if progress.interrupted() {
                return Err(Error::Interrupted);
            }
            rows.advance();
        }
    }
    Ok(())
}

/// The committed rows of a table, one after the other.
struct Rows {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    tape: Tape,
    number: u64,
    /// Where the row begins in the table.
    start: u64,
    filled: bool,
    ended: bool,
}

impl Rows {
    fn open(folder: &Path, table: &str, manifest: &Manifest, files: &Files) -> Result<Self> {
        let state = manifest.tables.get(table).cloned().unwrap_or_default();
        let part = part_of(folder, table, &state);
        // Rows that were folded as views are come before all others.
        let as_views = manifest.runs.iter().filter(|run| run.job == Job::BackfillRaw);
        let start = as_views.filter_map(|run| run.written.get(table)).map(|range| range.1).max().unwrap_or(0);
        let reader: Box<dyn BufRead> = if start < state.bytes {
            let stream = Stream::new(Source::open(&part, files)?, start);
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

    /// Makes sure that the next row is at hand, where there is one.
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
            return Err(self.wrong("the row is not JSON"));
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
        parse_micros(text.as_bytes()).map(Some).ok_or_else(|| self.wrong("\"uuid_ts\" is no time"))
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
        self.optional(column).ok_or_else(|| self.wrong(&format!("\"{column}\" is missing")))
    }

    /// Adopted rows may have no seq: they are older than all that have one.
    fn seq(&self) -> Result<u64> {
        match self.optional("seq") {
            None => Ok(0),
            Some(text) => text.parse().map_err(|_| self.wrong("\"seq\" is no number")),
        }
    }

    /// A column's value as JSON; `None` where it is null or missing.
    fn column(&self, name: &[u8]) -> Option<&[u8]> {
        let doc = self.doc();
        let value = doc.get(0, name)?;
        let token = doc.tokens[value as usize];
        match token.kind {
            Kind::Null => None,
            Kind::Plain | Kind::Escaped => Some(&self.line[token.start as usize - 1..=token.end as usize]),
            _ => Some(doc.raw(value)),
        }
    }

    fn wrong(&self, message: &str) -> Error {
        // Lines are counted from the first that was read here.
        let part = Part { path: self.path.clone(), committed: None };
        let source = (self.start != 0).then(|| Source::open(&part, &Files::real()));
        let line = source.and_then(|source| source.and_then(|source| source.line_number(self.start)).ok());
        Error::line(&self.path, line.unwrap_or(self.number), message).hint(
            "the table was changed by something else; restore it from a backup, or ingest into a new space",
        )
    }
}
