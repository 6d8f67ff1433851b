//! Reads the tables of a current state, in the order of [`TABLES`].

use std::path::Path;

use super::{
    conflicts::{Conflict, ConflictReason, SnapshotRowPosition},
    merges::{MergeClaim, MergeClaims},
    newest::IdentifierClaim,
    rows_of::FactRows,
    state::{ProfileSnapshot, SnapshotIdentifier, TABLES, TraitValue, is_same},
    state_rows::{ColumnRequirement, SnapshotRow, SnapshotRows, UnusableRow, read},
    tables_of::{digest_file, input},
};
use crate::{
    error::{Error, Result},
    files::Files,
    identity::extract::identifier_key,
    json::{push_string, values::Typing},
    names::snake_case,
    space::manifest::Manifest,
    table::{
        blocks::{LineProblem, SharedProgress, line_error},
        clock::Clock,
        find::raw_tables,
        reread::RowPosition,
        source::TableSource,
    },
    view::segments::Segment,
};

impl ProfileSnapshot {
    /// Reads the tables of a folder.
    pub fn read(folder: &Path, files: &Files, meter: &SharedProgress<'_>) -> Result<Self> {
        let tables = raw_tables(folder, &TABLES)?;
        let mut state = Self { is_ours: Manifest::read(folder, files)?.is_some(), ..Self::default() };
        let mut ranges = vec![None; TABLES.len()];
        for table in &tables {
            let first = state.sources.len();
            for part in &table.files {
                state.sources.push(TableSource::open(part, files)?);
            }
            let place = TABLES.iter().position(|name| *name == table.name).unwrap_or_default();
            ranges[place] = Some(first..state.sources.len());
        }
        let there = |name: &str| tables.iter().any(|table| table.name == name);
        if !there("user_identifiers") && !there("external_id_mapping") {
            let error = "neither `user_identifiers` nor `external_id_mapping` is there, \
                and without them no event would find an adopted profile";
            return Err(Error::file(folder, error)
                .hint("give a folder with the tables of a snapshot: `TABLE.ndjson`, `.json` or `.jsonl`, also with `.gz` or `.zst`"));
        }
        for name in TABLES.into_iter().filter(|name| !there(name)) {
            state.missing.insert(name.to_owned(), cost_of(name, &there).to_owned());
        }
        let n_bytes: u64 = state.sources.iter().map(TableSource::length).sum();
        meter.start("reading the snapshot", Some(2 * n_bytes));
        let mut claims = MergeClaims::default();
        for (place, range) in (0_u8..).zip(ranges) {
            let Some(range) = range else { continue };
            let (mut digest, mut bytes) = (blake3::Hasher::new(), 0);
            for source in &state.sources[range.clone()] {
                bytes += digest_file(&mut digest, source, meter)?;
            }
            state.used.push(input(TABLES[usize::from(place)], &digest, bytes));
            state.read_table(place, range, &mut claims, meter)?;
        }
        state.newest = state.newest.or(state.newest_timestamp);
        state.resolve(claims)?;
        Ok(state)
    }

    fn read_table(
        &mut self,
        table: u8,
        range: std::ops::Range<usize>,
        claims: &mut MergeClaims,
        meter: &SharedProgress<'_>,
    ) -> Result<()> {
        let first = u32::try_from(range.start).unwrap_or(u32::MAX);
        let row_of = |place: RowPosition| SnapshotRowPosition {
            table,
            place: RowPosition { source: place.source + first, ..place },
        };
        let sources = &self.sources[range.clone()];
        let canonical = ("canonical_segment_id", ColumnRequirement::Name);
        let mut met = ReadRows::default();
        match TABLES[usize::from(table)] {
            "profile_merges" | "id_graph" => {
                let columns = [("segment_id", ColumnRequirement::Name), canonical];
                for block in read(sources, columns, false, meter)? {
                    for row in &block.rows {
                        self.take_claim(&block, row, row_of(row.place), claims);
                    }
                    met.add(block.rows.len(), block.unusable);
                }
            }
            name @ ("user_identifiers" | "external_id_mapping") => {
                let (kind, value) = match name {
                    "user_identifiers" => ("type", "value"),
                    _ => ("external_id_type", "external_id_value"),
                };
                let columns = [
                    canonical,
                    (kind, ColumnRequirement::Name),
                    (value, ColumnRequirement::Text),
                    ("__operation", ColumnRequirement::Any),
                ];
                for block in read(sources, columns, false, meter)? {
                    for row in &block.rows {
                        self.take_identifier(&block, row, row_of(row.place), claims);
                    }
                    met.add(block.rows.len(), block.unusable);
                }
            }
            "user_traits" => {
                let columns =
                    [canonical, ("name", ColumnRequirement::Key), ("value", ColumnRequirement::Any)];
                for block in read(sources, columns, false, meter)? {
                    for row in &block.rows {
                        self.take_trait_row(&block, row, row_of(row.place));
                    }
                    met.add(block.rows.len(), block.unusable);
                }
            }
            _ => {
                for block in read(sources, [canonical, ("merged_to", ColumnRequirement::Any)], true, meter)? {
                    for row in &block.rows {
                        self.take_traits(&block, row, row_of(row.place), claims);
                    }
                    met.add(block.rows.len(), block.unusable);
                }
            }
        }
        self.record_unusable(met, range, row_of)
    }

    /// Records unusable rows as conflicts. One bad row is not an error, but a table of nothing else is probably not the
    /// table that its name says.
    fn record_unusable(
        &mut self,
        met: ReadRows,
        range: std::ops::Range<usize>,
        row_of: impl Fn(RowPosition) -> SnapshotRowPosition,
    ) -> Result<()> {
        if let (0, Some(first)) = (met.n_usable, met.unusable.first()) {
            let source = &self.sources[range][first.place.source as usize];
            let problem = LineProblem { message: first.detail.clone().into(), hint: first.hint };
            return Err(line_error(source, first.place.offset, &problem));
        }
        self.conflicts.extend(met.unusable.into_iter().map(|unusable| Conflict {
            row: row_of(unusable.place),
            reason: unusable.reason,
            detail: unusable.detail,
        }));
        Ok(())
    }

    fn take_claim(
        &mut self,
        block: &SnapshotRows<2>,
        row: &SnapshotRow<2>,
        row_of: SnapshotRowPosition,
        claims: &mut MergeClaims,
    ) {
        let [Some(segment), Some(canonical)] = [0, 1].map(|column| block.text(row, column)) else { return };
        let (segment, canonical) = (self.segments.intern(segment), self.segments.intern(canonical));
        self.saw(&row.clock);
        claims.put(segment, MergeClaim { canonical, clock: row.clock, row: row_of }, &self.segments);
    }

    fn take_identifier(
        &mut self,
        block: &SnapshotRows<4>,
        row: &SnapshotRow<4>,
        row_of: SnapshotRowPosition,
        claims: &mut MergeClaims,
    ) {
        let [Some(segment), Some(kind), Some(value)] = [0, 1, 2].map(|column| block.text(row, column)) else {
            return;
        };
        self.saw(&row.clock);
        let operation = block.text(row, 3);
        let claim = IdentifierClaim {
            segment: self.segments.intern(segment),
            clock: row.clock,
            row: row_of,
            is_removed: operation.is_some_and(|operation| operation.eq_ignore_ascii_case(b"removed")),
        };
        let name = String::from_utf8_lossy(kind).to_lowercase();
        let key = identifier_key(&mut Vec::new(), &name, value);
        let next = u32::try_from(self.identifiers.len()).expect("fewer than 2^32 identifiers");
        let number = *self.by_key.entry(key).or_insert(next);
        if number < next {
            claims.identifiers.push((number, claim));
            return;
        }
        let kind = self.type_names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.type_names.push(name);
            self.type_names.len() - 1
        });
        let kind = u32::try_from(kind).expect("fewer than 2^32 identifier types");
        let value = self.keep(value);
        self.identifiers.push(SnapshotIdentifier {
            key,
            segment: claim.segment,
            kind,
            clock: row.clock,
            rows: FactRows::new(row_of),
            is_removed: claim.is_removed,
            value,
        });
    }

    fn take_trait_row(&mut self, block: &SnapshotRows<3>, row: &SnapshotRow<3>, row_of: SnapshotRowPosition) {
        let [Some(segment), Some(name)] = [0, 1].map(|column| block.text(row, column)) else { return };
        let segment = self.segments.intern(segment);
        self.saw(&row.clock);
        let Some(value) = block.text(row, 2) else { return };
        let mut json = Vec::with_capacity(value.len() + 2);
        push_string(&mut json, value);
        self.take_trait(segment, &snake_case(name), (&json, Typing::Text), row.clock, row_of);
    }

    fn take_traits(
        &mut self,
        block: &SnapshotRows<2>,
        row: &SnapshotRow<2>,
        row_of: SnapshotRowPosition,
        claims: &mut MergeClaims,
    ) {
        let Some(segment) = block.text(row, 0) else { return };
        let segment = self.segments.intern(segment);
        self.saw(&row.clock);
        if let Some(survivor) = block.text(row, 1).filter(|survivor| !survivor.is_empty()) {
            // Some warehouses keep the traits of a merged profile. They are outdated, because the survivor has them.
            let canonical = self.segments.intern(survivor);
            claims.put(segment, MergeClaim { canonical, clock: row.clock, row: row_of }, &self.segments);
            return;
        }
        claims.put(segment, MergeClaim { canonical: segment, clock: row.clock, row: row_of }, &self.segments);
        for one in &block.traits[row.traits.0 as usize..row.traits.1 as usize] {
            let (name, json) = block.trait_of(one);
            let name = snake_case(name);
            // Such a column is a trait only if `user_traits` lists it.
            let is_known = |name| self.by_trait.contains_key(&(segment, name));
            if one.is_bookkeeping && !self.is_ours && !self.trait_names.find(&name).is_some_and(is_known) {
                continue;
            }
            self.take_trait(segment, &name, (json, Typing::Json), row.clock, row_of);
        }
    }

    fn take_trait(
        &mut self,
        segment: Segment,
        name: &[u8],
        (json, typing): (&[u8], Typing),
        clock: Clock,
        row: SnapshotRowPosition,
    ) {
        if name.is_empty() {
            let detail = "a trait whose name has no letters or digits".to_owned();
            self.conflicts.push(Conflict { row, reason: ConflictReason::TraitWithoutName, detail });
            return;
        }
        let name = self.trait_names.intern(name);
        let next = u32::try_from(self.traits.len()).expect("fewer than 2^32 traits");
        let known = *self.by_trait.entry((segment, name)).or_insert(next);
        if known == next || !is_same(self.json(&self.traits[known as usize]), json, Typing::Text) {
            let json = self.keep(json);
            let rows = FactRows::new(row);
            self.traits.push(TraitValue { segment, name, clock, newest: clock, rows, json, typing });
            return;
        }
        let mut one = self.traits[known as usize];
        let is_newer = (one.newest.recency(), self.json(&one)) < (clock.recency(), json);
        if is_newer {
            one.newest = clock;
        }
        self.other_rows.add(&mut one.rows, row);
        if one.typing == typing {
            if is_newer {
                one.clock = clock;
                one.json = self.keep(json);
            }
        } else if one.typing == Typing::Text {
            // `profile_traits` has the type of the value, `user_traits` the time at which it was set.
            (one.json, one.typing) = (self.keep(json), typing);
        }
        self.traits[known as usize] = one;
    }
}

/// The usable and unusable rows of a table so far.
#[derive(Default)]
struct ReadRows {
    n_usable: usize,
    unusable: Vec<UnusableRow>,
}

impl ReadRows {
    fn add(&mut self, n_usable: usize, unusable: Vec<UnusableRow>) {
        self.n_usable += n_usable;
        self.unusable.extend(unusable);
    }
}

/// Returns what is lost without a table.
fn cost_of(table: &str, there: &impl Fn(&str) -> bool) -> &'static str {
    match table {
        "profile_merges" if there("id_graph") => "profiles and merges have no `received_at`",
        "id_graph" if there("profile_merges") => "nothing: `profile_merges` has the same facts",
        "profile_merges" | "id_graph" if there("profile_traits") => {
            "profiles and merges come from `profile_traits`, without `received_at`"
        }
        "profile_merges" | "id_graph" => "segment ids that were merged away are not known",
        "user_identifiers" => "identifiers have no `received_at`",
        "external_id_mapping" => "nothing: `user_identifiers` has the same facts",
        "user_traits" if there("profile_traits") => {
            "traits have no `received_at`, and if adopted profiles merge, it is unknown whose value is newer"
        }
        "user_traits" => "there are no traits",
        _ if there("user_traits") => "numbers, booleans and lists in traits become text",
        _ => "there are no traits",
    }
}
