//! Raw tables that are too large for the memory are split into independent partitions, which are folded one after the
//! other.
//!
//! A partition consists of components of the identity graph with all their rows, in the order of the tables. Its views
//! are spilled as sorted runs, which are merged at the end. About 30 bytes per segment id always stay in memory.
//!
//! If rows of several profiles have the same identifier, only the newest of these rows goes to a partition. A partition
//! can then not be wrong about an identifier that belongs to a profile of another one.

use std::path::Path;

use super::{job::ViewsJob, merge::merge, view_registry::BuiltViews};
use crate::{
    collections::local_key_of,
    error::{Error, Result},
    identity::extract::identifier_bytes,
    json::Tape,
    raw::{external_id_mapping_updates, id_graph_updates, profile_traits_updates},
    read::spill::{SpillStore, SpilledBytes},
    space::layout::STATE_FOLDER,
    summary::MaterializeSummary,
    table::{
        blocks::{BLOCK_BYTES, LineProblem, SharedProgress, TableBlock, each_block, non_blank_lines},
        find::RawTableFile,
        row::{RowReader, not_json},
        source::TableSource,
        write::{SortedRun, StagedViews, WriteOptions, spill_runs, stage},
    },
    view::{
        components::Components,
        folds::{FoldedTables, ViewSources},
        render,
    },
};

/// The maximum number of partitions. While sorted runs are merged, a block of each is in memory.
const MAX_PARTITIONS: u64 = 256;

/// Returns about how many bytes of memory folding a file takes.
pub(super) fn memory_needed(table: &str, part: &RawTableFile) -> u64 {
    let packed = part
        .path
        .extension()
        .is_some_and(|extension| ["gz", "zst"].iter().any(|known| extension.eq_ignore_ascii_case(known)));
    // Less than a third of the rows' bytes is kept. Of a space's compressed tables, only the one whose rows may be read
    // again is decompressed into memory. Compressed files of other programs always are.
    match part.committed {
        Some(length) if packed && table == profile_traits_updates::TABLE => length + length / 3,
        Some(length) => length / 3,
        None => {
            let length = part.path.metadata().map_or(0, |metadata| metadata.len());
            if packed { 10 * length } else { length / 3 }
        }
    }
}

/// Folds the raw tables, one partition after the other.
pub(super) fn fold(
    job: &ViewsJob<'_>,
    memory: u64,
    recorded: bool,
    summary: &mut MaterializeSummary,
) -> Result<(BuiltViews, StagedViews)> {
    let ViewsJob { options, files, .. } = job;
    let state = options.out.join(STATE_FOLDER);
    let folder = if state.is_dir() { &*state } else { &*options.out };
    files.create_folder(folder)?;
    let meter = SharedProgress::new(job.progress);
    let sources =
        ViewSources::open(job.tables, job.views, |part| TableSource::open_large(part, files, folder))?;
    let n_bytes = sources.n_bytes();
    summary.bytes = n_bytes;
    meter.start("splitting raw tables", Some(n_bytes));
    // A partition is in memory as it is, and its fold takes another third of that.
    let n_parts = (3 * n_bytes).div_ceil(memory).clamp(2, MAX_PARTITIONS);
    let spill = SpillStore::new(folder);
    let parts = Partitions::cut(&sources, n_parts, &spill, options.as_of, &meter, summary)?;
    let polish = job.columns.row_filter();
    let way = WriteOptions {
        files,
        meter: &meter,
        row_filter: polish.as_deref(),
        digests: false,
        compress: job.compress,
    };
    meter.start("folding partitions", None);
    let mut made = BuiltViews { views: Vec::new(), profiles: 0, plain: parts.is_plain };
    let mut all_runs: Vec<SortedRun> = Vec::new();
    for number in 0..parts.graph.len() {
        let sources = parts.sources(number, &sources, &options.out)?;
        let folds = FoldedTables::read(sources, options.as_of, &meter)?;
        made.profiles += folds.n_survivors();
        let (_, of_part) = spill_runs(way, &spill, |staging| render::write(&folds, job.views, staging))?;
        all_runs.extend(of_part);
    }
    meter.start("writing views", None);
    let way = WriteOptions { row_filter: None, digests: recorded, ..way };
    let (views, staged) = stage(way, &options.out, |staging| merge(job.views, all_runs, staging))?;
    made.views = views;
    Ok((made, staged))
}

/// The spilled rows of each partition, in the order of their table.
type SpilledRows = Vec<Vec<SpilledBytes>>;

/// The raw tables, split into partitions.
struct Partitions {
    graph: SpilledRows,
    identifiers: Option<SpilledRows>,
    traits: Option<SpilledRows>,
    is_plain: bool,
}

impl Partitions {
    fn cut(
        sources: &ViewSources,
        n_parts: u64,
        spill: &SpillStore,
        as_of: Option<i64>,
        meter: &SharedProgress<'_>,
        summary: &mut MaterializeSummary,
    ) -> Result<Self> {
        let components = Components::read(&sources.graph, BLOCK_BYTES, meter)?;
        let part_of = |segment_id: &[u8]| partition_of(components.component_of(segment_id), n_parts);
        let cutting = TableSplitter { n_parts, spill, as_of, meter };
        let mut tell = |table: &str, n_rows| {
            summary.rows_read.insert(table.to_owned(), n_rows);
        };

        let (graph, n_rows) = cutting.cut(&sources.graph, &[], |line, clean, reader| {
            let row = reader.read(line, clean)?;
            Ok((part_of(&row.required_name(0)?), row.clock.existed_at(as_of)))
        })?;
        tell(id_graph_updates::TABLE, n_rows);

        let traits = sources.traits.as_ref().map(|sources| {
            cutting.cut(sources, &[], |line, clean, reader| {
                let row = reader.read(line, clean)?;
                let part = (part_of(&row.required_name(0)?), row.clock.existed_at(as_of));
                // The whole row is parsed now, because its line number is no longer known later.
                Tape::default().read(line).map_err(not_json)?;
                Ok(part)
            })
        });
        let traits = traits.transpose()?.map(|(pieces, n_rows)| {
            tell(profile_traits_updates::TABLE, n_rows);
            pieces
        });

        let mut is_plain = true;
        let mut cut_identifiers = |sources: &Vec<TableSource>| -> Result<SpilledRows> {
            let superseded = cutting.superseded(sources)?;
            let mut removed = std::sync::atomic::AtomicBool::new(false);
            let (pieces, n_rows) = cutting.cut(sources, &superseded, |line, clean, reader| {
                let row = reader.read(line, clean)?;
                let operation = row.text(1)?;
                let is_removed =
                    operation.is_some_and(|operation| operation.eq_ignore_ascii_case(b"removed"));
                let part = if is_removed {
                    removed.store(true, std::sync::atomic::Ordering::Relaxed);
                    0
                } else {
                    part_of(&row.required_name(0)?)
                };
                Ok((part, row.clock.existed_at(as_of)))
            })?;
            is_plain = superseded.is_empty() && !*removed.get_mut();
            tell(external_id_mapping_updates::TABLE, n_rows);
            Ok(pieces)
        };
        let identifiers = sources.identifiers.as_ref().map(&mut cut_identifiers).transpose()?;
        Ok(Self { graph, identifiers, traits, is_plain })
    }

    /// Reads back the rows of a partition.
    fn sources(&self, number: usize, of: &ViewSources, folder: &Path) -> Result<ViewSources> {
        let take = |pieces: &SpilledRows, of: &[TableSource]| -> Result<Vec<TableSource>> {
            let mut bytes = Vec::new();
            let mut piece = Vec::new();
            for spilled in &pieces[number] {
                spilled.read(&mut piece).map_err(|e| Error::io("read back from", folder, e))?;
                bytes.extend_from_slice(&piece);
            }
            let path = of.first().map_or(folder, |source| source.path());
            Ok(vec![TableSource::from_bytes(path, bytes)])
        };
        let maybe = |pieces: &Option<SpilledRows>, of: &Option<Vec<TableSource>>| {
            pieces.as_ref().map(|pieces| take(pieces, of.as_deref().unwrap_or_default())).transpose()
        };
        Ok(ViewSources {
            graph: take(&self.graph, &of.graph)?,
            identifiers: maybe(&self.identifiers, &of.identifiers)?,
            traits: maybe(&self.traits, &of.traits)?,
        })
    }
}

/// Returns the partition of a key. The high bits choose it, because hash tables use the low ones.
fn partition_of(key: u128, n_parts: u64) -> usize {
    usize::try_from((key >> 64) % u128::from(n_parts)).expect("there are few partitions")
}

/// What splitting each of the tables needs.
struct TableSplitter<'a> {
    n_parts: u64,
    spill: &'a SpillStore,
    as_of: Option<i64>,
    meter: &'a SharedProgress<'a>,
}

/// The rows of a partition are spilled when they reach this many bytes.
const SPILL_BYTES: usize = 1 << 16;

impl TableSplitter<'_> {
    /// Spills each row that `part_of` reports as present to its partition, except those whose numbers are in `without`.
    /// Returns the spilled rows and the number of all rows.
    fn cut(
        &self,
        sources: &[TableSource],
        without: &[u64],
        part_of: impl Fn(&[u8], bool, &mut RowReader<2>) -> Result<(usize, bool), LineProblem> + Sync,
    ) -> Result<(SpilledRows, u64)> {
        let parse = |block: TableBlock<'_>| {
            let mut reader = RowReader::new(["segment_id", "__operation"]);
            let mut lines = Vec::with_capacity(block.estimated_rows());
            let mut texts = Vec::with_capacity(block.text.len());
            for (at, line) in non_blank_lines(block.text) {
                let part = part_of(line, block.clean, &mut reader).map_err(|problem| (at, problem))?;
                texts.extend_from_slice(line);
                texts.push(b'\n');
                lines.push((part, texts.len()));
            }
            Ok((lines, texts))
        };
        let mut waiting = vec![Vec::new(); usize::try_from(self.n_parts).expect("there are few partitions")];
        let mut pieces: SpilledRows = waiting.iter().map(|_| Vec::new()).collect();
        let mut without = without.iter().peekable();
        let mut n_rows = 0;
        each_block(sources, BLOCK_BYTES, self.meter, parse, |(lines, texts)| {
            let mut start = 0;
            for ((part, was_there), end) in lines {
                let is_out = without.next_if_eq(&&n_rows).is_some();
                if was_there && !is_out {
                    waiting[part].extend_from_slice(&texts[start..end]);
                    if SPILL_BYTES <= waiting[part].len() {
                        pieces[part].push(self.spill.write(&waiting[part])?);
                        waiting[part].clear();
                    }
                }
                start = end;
                n_rows += 1;
            }
            Ok(())
        })?;
        for (waiting, pieces) in waiting.iter().zip(&mut pieces).filter(|(waiting, _)| !waiting.is_empty()) {
            pieces.push(self.spill.write(waiting)?);
        }
        Ok((pieces, n_rows))
    }

    /// Returns the numbers of identifier rows for which there is a newer row, sorted. Works on one partition of
    /// identifiers at a time.
    fn superseded(&self, sources: &[TableSource]) -> Result<Vec<u64>> {
        let parse = |block: TableBlock<'_>| {
            let mut reader = RowReader::new(["external_id_type", "external_id_value", "external_id_hash"]);
            let mut key = Vec::new();
            let mut known = Vec::with_capacity(block.estimated_rows());
            for (at, line) in non_blank_lines(block.text) {
                let mut read = || -> Result<_, LineProblem> {
                    let row = reader.read(line, block.clean)?;
                    let (kind, value) = (row.required_name(0)?, row.required(1)?);
                    row.text(2)?;
                    let kind = std::str::from_utf8(&kind).unwrap_or_default();
                    let key = local_key_of(identifier_bytes(&mut key, kind, &value));
                    Ok((key, row.clock.order(), row.clock.existed_at(self.as_of)))
                };
                known.push(read().map_err(|problem| (at, problem))?);
            }
            Ok(known)
        };
        let mut waiting = vec![Vec::new(); usize::try_from(self.n_parts).expect("there are few partitions")];
        let mut pieces: SpilledRows = waiting.iter().map(|_| Vec::new()).collect();
        let mut number: u64 = 0;
        each_block(sources, BLOCK_BYTES, self.meter, parse, |known| {
            for (key, (seq, uuid_ts), was_there) in known {
                if was_there {
                    let part = partition_of(key, self.n_parts);
                    let bytes: &mut Vec<u8> = &mut waiting[part];
                    bytes.extend_from_slice(&key.to_le_bytes());
                    bytes.extend_from_slice(&seq.to_le_bytes());
                    bytes.extend_from_slice(&uuid_ts.to_le_bytes());
                    bytes.extend_from_slice(&number.to_le_bytes());
                    if SPILL_BYTES <= bytes.len() {
                        pieces[part].push(self.spill.write(bytes)?);
                        bytes.clear();
                    }
                }
                number += 1;
            }
            Ok(())
        })?;
        let mut superseded = Vec::new();
        for (waiting, pieces) in waiting.iter().zip(&pieces) {
            let mut rows: Vec<(u128, u64, i64, u64)> = Vec::new();
            let mut take = |bytes: &[u8]| {
                rows.extend(bytes.as_chunks::<40>().0.iter().map(|row| {
                    let number =
                        |at: usize| u64::from_le_bytes(*row[at..].first_chunk().expect("a row has 40 bytes"));
                    let key = u128::from(number(0)) | u128::from(number(8)) << 64;
                    (key, number(16), number(24).cast_signed(), number(32))
                }));
            };
            let mut piece = Vec::new();
            for spilled in pieces {
                let path = sources.first().map_or(Path::new(""), |source| source.path());
                spilled.read(&mut piece).map_err(|e| Error::io("read back rows of", path, e))?;
                take(&piece);
            }
            take(waiting);
            rows.sort_unstable();
            let older = rows.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].3);
            superseded.extend(older);
        }
        superseded.sort_unstable();
        Ok(superseded)
    }
}
