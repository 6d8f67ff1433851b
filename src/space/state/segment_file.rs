//! One segment file of the state: the changes of one run, or several merged segment files.
//!
//! The file contains, in this order: magic number and version; the records of profiles; the offset of the record of
//! each identifier and segment id, sorted by key; the arrival time of each message, sorted by key; the index. It ends
//! with the offset and the checksum of the index. The manifest has this checksum, too. Records carry their own
//! checksums, and the index has those of everything else, so whatever is read is verified without reading anything
//! extra.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{
    encode::{Decoder, Encoder},
    record::{self, HEAD},
    sorted::{SortedEntry, SortedIndex, SortedWriter},
    spilled_messages::as_entry,
};
use crate::{
    collections::SplitKey,
    error::{Error, Result},
    event::{block::TypeId, duplicates::SeenMessage},
    files::{Files, OutFile},
    identity::{
        graph::{ProfileRecord, segment_key},
        packed_traits::PathId,
        traits::TraitNames,
        types::IdentifierTypes,
    },
    space::manifest::StateFile,
};

/// Changes whenever the meaning of the bytes changes.
const VERSION: u32 = 4;
const MAGIC: [u8; 8] = *b"psstate\n";
/// Size of the footer: offset and checksum of the index.
const FOOT: usize = 24;

/// A segment file open for reading.
#[derive(Debug)]
pub(super) struct SegmentFile {
    path: PathBuf,
    file: File,
    /// Offset at which the records end.
    records_end: u64,
    /// The offset of the record of each identifier and segment id.
    pub(super) places: SortedIndex,
    /// The arrival time of each message.
    pub(super) messages: SortedIndex,
    type_ids: Vec<TypeId>,
    paths: Vec<PathId>,
    /// Number of profiles ever created.
    pub(super) n_profiles: u32,
}

impl SegmentFile {
    /// Opens a segment file; returns `None` if it is not the one that the manifest lists.
    pub(super) fn open(
        folder: &Path,
        named: &StateFile,
        types: &IdentifierTypes,
        trait_names: &mut TraitNames,
        files: &Files,
    ) -> Result<Option<Self>> {
        let path = folder.join(&named.name);
        if !path.is_file() {
            return Ok(None);
        }
        let file = files.open(&path)?;
        let Some(index) = read_index(&file, &path, named)? else { return Ok(None) };
        Ok(decode_index(&index, path, file, types, trait_names))
    }

    /// Reads the record at an offset.
    pub(super) fn record(&self, place: u64) -> Result<ProfileRecord> {
        Ok(self.record_and_length(place)?.0)
    }

    fn record_and_length(&self, place: u64) -> Result<(ProfileRecord, u64)> {
        let io = |e| Error::io("read", &self.path, e);
        let mut first = [0; HEAD];
        self.file.read_exact_at(&mut first, place).map_err(io)?;
        let (length, checksum) = record::head(&first);
        if self.records_end < place + (HEAD + length) as u64 {
            return Err(Error::StateDamaged);
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, place + HEAD as u64).map_err(io)?;
        if xxh3_64(&bytes) != checksum {
            return Err(Error::StateDamaged);
        }
        let record = record::decode(&bytes, &self.type_ids, &self.paths).ok_or(Error::StateDamaged)?;
        Ok((record, (HEAD + length) as u64))
    }

    /// Calls `each` with all records and their offsets, in file order. Reads large blocks.
    pub(super) fn records(&self, mut each: impl FnMut(u64, ProfileRecord) -> Result<()>) -> Result<()> {
        const PIECE: usize = 4 << 20;
        let mut at = RECORDS_START;
        let mut bytes = Vec::new();
        while at < self.records_end {
            let n = (self.records_end - at).min(PIECE as u64);
            bytes.resize(usize::try_from(n).unwrap_or(PIECE), 0);
            self.file.read_exact_at(&mut bytes, at).map_err(|e| Error::io("read", &self.path, e))?;
            let mut rest = &bytes[..];
            while let Some((first, behind)) = rest.split_first_chunk::<HEAD>() {
                let (length, checksum) = record::head(first);
                let Some((body, behind)) = behind.split_at_checked(length) else { break };
                if xxh3_64(body) != checksum {
                    return Err(Error::StateDamaged);
                }
                let record = record::decode(body, &self.type_ids, &self.paths).ok_or(Error::StateDamaged)?;
                each(at, record)?;
                at += (HEAD + length) as u64;
                rest = behind;
            }
            if rest.len() == bytes.len() {
                // A record larger than a block.
                let (record, length) = self.record_and_length(at)?;
                each(at, record)?;
                at += length;
            }
        }
        Ok(())
    }

    /// Returns whether the lookup leads from every key to its record and has no other entries.
    pub(super) fn lookup_is_whole(&self) -> Result<bool> {
        let mut expected: Vec<SortedEntry> = Vec::new();
        self.records(|place, record| {
            expected.extend(keys_of(&record).map(|key| (key, place)));
            Ok(())
        })?;
        expected.par_sort_unstable();
        let mut expected = expected.into_iter();
        let mut is_same = true;
        let all = |entry| is_same &= expected.next() == Some(entry);
        self.places.range(0, u128::MAX, &self.file, &self.path, all)?;
        Ok(is_same && expected.next().is_none())
    }

    /// Calls `each` with the number of every entry with this key, until it returns true.
    pub(super) fn find(&self, sorted: &SortedIndex, key: u128, each: impl FnMut(u64) -> bool) -> Result<()> {
        sorted.find(key, &self.file, &self.path, each)
    }

    /// Calls `each` with all messages whose keys are from `first` to `last`, both included, in order.
    pub(super) fn messages(&self, first: u128, last: u128, each: impl FnMut(SortedEntry)) -> Result<()> {
        self.messages.range(first, last, &self.file, &self.path, each)
    }
}

/// Returns the keys by which a record is found: those of its segment ids and identifiers.
pub(super) fn keys_of(record: &ProfileRecord) -> impl Iterator<Item = u128> + '_ {
    let segments = record.segments.iter().map(|segment| segment_key(&segment.segment_id));
    segments.chain(record.identifiers.iter().map(|identifier| identifier.key))
}

/// Offset at which the records begin.
const RECORDS_START: u64 = START_BYTES as u64;
const START_BYTES: usize = MAGIC.len() + 4;

/// Returns whether an earlier version of this program wrote the segment file: it cannot be used, but it is not damaged.
pub(super) fn is_of_earlier_version(path: &Path, files: &Files) -> bool {
    let mut first = [0; START_BYTES];
    let read = files.open(path).is_ok_and(|file| file.read_exact_at(&mut first, 0).is_ok());
    let version = Decoder(&first[MAGIC.len()..]).u32();
    read && first[..MAGIC.len()] == MAGIC && version.is_some_and(|version| version < VERSION)
}

fn read_index(file: &File, path: &Path, named: &StateFile) -> Result<Option<Vec<u8>>> {
    let io = |e| Error::io("read", path, e);
    let length = file.metadata().map_err(io)?.len();
    let mut first = [0; START_BYTES];
    let mut foot = [0; FOOT];
    let Some(foot_at) = length.checked_sub(FOOT as u64).filter(|&at| RECORDS_START <= at) else {
        return Ok(None);
    };
    file.read_exact_at(&mut first, 0).map_err(io)?;
    file.read_exact_at(&mut foot, foot_at).map_err(io)?;
    let mut rest = Decoder(&foot);
    let (Some(index_at), Some(checksum)) = (rest.u64(), rest.u128()) else { return Ok(None) };
    let ours = first[..MAGIC.len()] == MAGIC && first[MAGIC.len()..] == VERSION.to_le_bytes();
    let Some(n_bytes) = foot_at.checked_sub(index_at).filter(|_| ours && hex(checksum) == named.digest)
    else {
        return Ok(None);
    };
    let mut index = vec![0; usize::try_from(n_bytes).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut index, index_at).map_err(io)?;
    Ok((xxh3_128(&index) == checksum).then_some(index))
}

fn decode_index(
    index: &[u8],
    path: PathBuf,
    file: File,
    types: &IdentifierTypes,
    trait_names: &mut TraitNames,
) -> Option<SegmentFile> {
    let mut rest = Decoder(index);
    let n_profiles = rest.u32()?;
    let records_end = rest.u64()?;
    let mut type_ids = Vec::new();
    for _ in 0..rest.u64()? {
        type_ids.push(types.intern(std::str::from_utf8(rest.text()?).ok()?));
    }
    let mut paths = Vec::new();
    for _ in 0..rest.u64()? {
        paths.push(trait_names.intern(rest.text()?));
    }
    let places = SortedIndex::decode(&mut rest)?;
    let messages = SortedIndex::decode(&mut rest)?;
    rest.0.is_empty().then_some(SegmentFile {
        path,
        file,
        records_end,
        places,
        messages,
        type_ids,
        paths,
        n_profiles,
    })
}

/// A writer of a segment file.
pub(super) struct SegmentWriter {
    out: OutFile,
    name: String,
    /// Bytes that are not written yet.
    pending: Encoder,
    /// Number of bytes written.
    written: u64,
    /// The offset of the record of each key, before sorting.
    unsorted: Vec<(SplitKey, u64)>,
    records_end: u64,
    places: SortedIndex,
    messages: SortedWriter,
}

/// Bytes are written in blocks of this size.
const OUT_BYTES: usize = 1 << 20;

impl SegmentWriter {
    pub(super) fn create(folder: &Path, name: String, files: &Files) -> Result<Self> {
        let out = files.create_replacing(&folder.join(&name))?;
        let mut pending = Encoder::default();
        pending.0.extend_from_slice(&MAGIC);
        pending.u32(VERSION);
        Ok(Self {
            out,
            name,
            pending,
            written: 0,
            unsorted: Vec::new(),
            records_end: 0,
            places: SortedIndex::default(),
            messages: SortedWriter::default(),
        })
    }

    /// Appends a record that can be found by `keys`.
    pub(super) fn record(
        &mut self,
        push: impl FnOnce(&mut Encoder),
        keys: impl Iterator<Item = u128>,
    ) -> Result<()> {
        let place = self.at();
        push(&mut self.pending);
        self.unsorted.extend(keys.map(|key| (SplitKey::from(key), place)));
        self.flush_if_full()
    }

    /// Ends the records and appends their lookup.
    pub(super) fn lookup(&mut self) -> Result<()> {
        self.records_end = self.at();
        let mut unsorted = std::mem::take(&mut self.unsorted);
        unsorted.par_sort_unstable();
        let mut places = SortedWriter::begin(self.at());
        for (key, place) in unsorted {
            places.add((key.whole(), place), &mut self.pending.0);
            self.flush_if_full()?;
        }
        self.places = places.finish(&mut self.pending.0);
        self.messages = SortedWriter::begin(self.at());
        Ok(())
    }

    /// Appends messages, sorted by key. Their keys must not be smaller than those of earlier calls.
    pub(super) fn messages(&mut self, sorted: &[SeenMessage]) -> Result<()> {
        for message in sorted {
            self.messages.add(as_entry(message), &mut self.pending.0);
            self.flush_if_full()?;
        }
        Ok(())
    }

    /// Appends the index and syncs the file.
    pub(super) fn finish(
        mut self,
        n_profiles: u32,
        types: &IdentifierTypes,
        trait_names: &TraitNames,
    ) -> Result<StateFile> {
        let messages = std::mem::take(&mut self.messages).finish(&mut self.pending.0);
        let index_at = self.at();
        let mut index = Encoder::default();
        index.u32(n_profiles);
        index.u64(self.records_end);
        index.list(&types.names(), |out, name| out.text(name.as_bytes()));
        index.list(&trait_names.paths().collect::<Vec<_>>(), |out, path| out.text(path));
        self.places.encode(&mut index);
        messages.encode(&mut index);
        let checksum = xxh3_128(&index.0);
        self.pending.0.extend_from_slice(&index.0);
        self.pending.u64(index_at);
        self.pending.u128(checksum);
        self.flush()?;
        self.out.sync()?;
        let n_entries = self.places.len() + messages.len();
        Ok(StateFile { name: self.name, digest: hex(checksum), entries: n_entries })
    }

    fn at(&self) -> u64 {
        self.written + self.pending.0.len() as u64
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.pending.0.len() < OUT_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        self.out.write_all(&self.pending.0)?;
        self.written += self.pending.0.len() as u64;
        self.pending.0.clear();
        Ok(())
    }
}

fn hex(checksum: u128) -> String {
    format!("{checksum:032x}")
}
