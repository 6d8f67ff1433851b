//! Renders the rows of event tables.
//!
//! Rows are rendered while the event is parsed, except `segment_id` and `uuid_ts`, which only the resolver knows. Both
//! are inserted when the row is written to its table.
//!
//! Column order: the fixed columns, `context_*` by name, the call's own columns, payload columns by name.

use std::sync::Arc;

use crate::{
    collections::Map,
    event::{
        Call,
        block::{ByteSpan, EventBlock, NO_TABLE, RenderedRow, to_u32_offset},
        columns::{ColumnPlan, FIXED_COLUMNS, NameClash, Payload, PlannedColumn, ShapeTree},
        parse::{ParsedEvent, scalar_text},
    },
    json::{Document, JsonKind, push_string, unescape},
    names::event_table,
    time::timestamp::{Micros, Millis, push_micros, push_millis},
};

/// Counts of what was left out or renamed, for the summary's notices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowNotices {
    /// Values without a column, because a key on their path has no letters or digits.
    pub columns_without_name: u64,
    /// Columns that two keys of one payload give; the last value wins.
    pub columns_given_twice: u64,
    /// Track calls without a table of their own.
    pub events_without_table: u64,
    /// Traits whose name has no letters or digits.
    pub traits_without_name: u64,
    /// Times that are present but unreadable; they count as missing.
    pub times_unreadable: u64,
}

impl RowNotices {
    /// Adds the counts of `other`.
    pub fn add(&mut self, other: Self) {
        self.columns_without_name += other.columns_without_name;
        self.columns_given_twice += other.columns_given_twice;
        self.events_without_table += other.events_without_table;
        self.traits_without_name += other.traits_without_name;
        self.times_unreadable += other.times_unreadable;
    }
}

/// Selects one of an event's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventRowKind {
    /// The row in the table that all calls of its type share.
    Shared,
    /// The row in `tracks` of an event whose own table would exceed `max_tables`: its `event` is null.
    SharedOnly,
    /// The row in the event's own table.
    OwnTable,
}

/// Comes before the name of a track event's own table in its row.
const EVENT: &[u8] = b",\"event\":\"";

impl RenderedRow {
    /// Appends a row. An empty segment id becomes null.
    pub fn push(
        self,
        out: &mut Vec<u8>,
        rows: &[u8],
        segment_id: &[u8],
        uuid_ts: Micros,
        which: EventRowKind,
    ) {
        out.extend_from_slice(b"{\"segment_id\":");
        if segment_id.is_empty() {
            out.extend_from_slice(b"null");
        } else {
            push_string(out, segment_id);
        }
        let end = if which == EventRowKind::OwnTable { self.end } else { self.shared_end };
        out.extend_from_slice(&rows[self.start as usize..self.clock as usize]);
        push_micros(out, uuid_ts);
        out.push(b'"');
        out.extend_from_slice(self.context.of(rows));
        let mut own = &rows[self.own_columns as usize..end as usize];
        if which == EventRowKind::SharedOnly
            && let Some(named) = own.strip_prefix(EVENT)
            && let Some(name_end) = memchr::memchr(b'"', named)
        {
            out.extend_from_slice(b",\"event\":null");
            own = &named[name_end + 1..];
        }
        out.extend_from_slice(own);
        out.extend_from_slice(b"}\n");
    }
}

/// A cached table name, by event name.
#[derive(Debug, Clone)]
struct EventTableName {
    /// Empty if the name gives no table.
    table: Box<[u8]>,
}

/// Renders rows. Each parsing thread has its own.
#[derive(Debug, Default)]
pub struct RowRenderer {
    shapes: ShapeTree,
    leaves: Vec<u32>,
    context_leaves: Vec<u32>,
    own_tables: Map<Vec<u8>, EventTableName>,
    scratch: Vec<u8>,
    /// The columns that have a value in the current payload, with the value's token.
    present: Vec<(u32, u32)>,
    /// The rendered values of the fixed and own columns of the current row.
    fixed: Vec<ByteSpan>,
    /// The token of the current envelope's `context`.
    envelope: Option<u32>,
    /// The rendered columns of that context, once an item has used them.
    shared: Option<SharedContext>,
    /// The notices since the renderer was created.
    pub notes: RowNotices,
}

/// The rendered `context` of an envelope, shared by the rows of its items.
#[derive(Debug, Clone)]
struct SharedContext {
    columns: ByteSpan,
    plan: Arc<ColumnPlan>,
    /// The notices that each item counts for it.
    notes: RowNotices,
}

/// Bounds the cache of table names: event names that never repeat, or very long ones, must not fill the memory.
const MAX_OWN_TABLES: usize = 1 << 16;
const LONG_EVENT_NAME: usize = 1 << 10;

impl RowRenderer {
    /// Returns the plan of a traits object and its leaves.
    pub fn traits_plan(&mut self, doc: Document<'_>, object: u32) -> (Arc<ColumnPlan>, &[u32]) {
        let plan = self.shapes.plan(doc, object, Payload::Traits, &mut self.leaves);
        (plan, &self.leaves)
    }

    /// Starts a line. The `context` of an envelope is rendered once for all items that use it.
    pub fn begin_line(&mut self, envelope: Option<u32>) {
        self.envelope = envelope;
        self.shared = None;
    }

    /// Counts the notices that [`render`](Self::render) would, without rendering. Returns the index of the event's own
    /// table, which it looks up in `tables` or adds.
    pub fn count(
        &mut self,
        parsed: &ParsedEvent<'_>,
        names: &mut Vec<Box<[u8]>>,
        tables: &mut Map<Vec<u8>, u32>,
    ) -> u32 {
        let doc = parsed.doc;
        if let Some(context) = parsed.fields.context {
            let plan = self.shapes.plan(doc, context, Payload::Context, &mut self.context_leaves);
            self.present = self.columns_with_value(doc, &plan, LeafSource::Context);
        }
        let own_table = self.event_table_index(parsed, names, tables);
        if let Some((object, kind)) = payload_of(parsed, own_table) {
            let plan = self.payload_plan(parsed, object, kind);
            self.present = self.columns_with_value(doc, &plan, LeafSource::Payload);
        }
        own_table
    }

    /// Renders the row of an event into its block. Returns the row and the index of the event's own table, which it
    /// looks up in `tables` or adds.
    pub fn render(
        &mut self,
        parsed: &ParsedEvent<'_>,
        message_id: &[u8],
        source: Option<&[u8]>,
        block: &mut EventBlock,
        tables: &mut Map<Vec<u8>, u32>,
    ) -> (RenderedRow, u32) {
        let doc = parsed.doc;
        let rows = &mut block.rows;
        let start = to_u32_offset(rows.len());
        let clock = self.push_head(parsed, message_id, source, rows);
        let (context, context_plan) = self.push_context(parsed, rows);
        let own = to_u32_offset(rows.len());
        let own_table = self.event_table_index(parsed, &mut block.tables, tables);
        let own_name = block.tables.get(own_table as usize).map(|name| &**name);
        self.push_own(parsed, own_name, rows);
        let mut shared_end = to_u32_offset(rows.len());
        if let Some((object, kind)) = payload_of(parsed, own_table) {
            let plan = self.payload_plan(parsed, object, kind);
            self.push_payload(doc, &plan, context_plan, rows);
        }
        if parsed.call != Call::Track {
            shared_end = to_u32_offset(rows.len());
        }
        (
            RenderedRow {
                start,
                clock,
                context,
                own_columns: own,
                shared_end,
                end: to_u32_offset(rows.len()),
            },
            own_table,
        )
    }

    /// Appends the columns of `context`, or reuses those of the envelope. Returns their span, and the context's token
    /// and plan.
    fn push_context(
        &mut self,
        parsed: &ParsedEvent<'_>,
        rows: &mut Vec<u8>,
    ) -> (ByteSpan, Option<(u32, Arc<ColumnPlan>)>) {
        let doc = parsed.doc;
        let Some(context) = parsed.fields.context else { return (ByteSpan::default(), None) };
        let is_shared = self.envelope == Some(context);
        if is_shared && let Some(shared) = &self.shared {
            self.notes.add(shared.notes);
            return (shared.columns, Some((context, Arc::clone(&shared.plan))));
        }
        let notes = std::mem::take(&mut self.notes);
        let start = rows.len();
        let plan = self.shapes.plan(doc, context, Payload::Context, &mut self.context_leaves);
        let present = self.columns_with_value(doc, &plan, LeafSource::Context);
        for &(column, value) in &present {
            plan.columns[column as usize].label.push(rows);
            push_value(rows, &mut self.scratch, doc, value);
        }
        self.present = present;
        let columns = ByteSpan::since(rows, start);
        if is_shared {
            self.shared = Some(SharedContext { columns, plan: Arc::clone(&plan), notes: self.notes });
        }
        self.notes.add(notes);
        (columns, Some((context, plan)))
    }

    /// Returns the plan of a payload. A property that fills `name` or `category` gets no column of its own.
    fn payload_plan(&mut self, parsed: &ParsedEvent<'_>, object: u32, kind: Payload) -> Arc<ColumnPlan> {
        let plan = self.shapes.plan(parsed.doc, object, kind, &mut self.leaves);
        let inside = object..parsed.doc.tokens[object as usize].next;
        let filling = [parsed.fields.name, parsed.fields.category].map(|v| v.filter(|v| inside.contains(v)));
        if kind == Payload::PageProperties && filling != [None; 2] {
            // The object's own token has no value, so the leaf gives no column.
            for leaf in self.leaves.iter_mut().filter(|leaf| filling.contains(&Some(**leaf))) {
                *leaf = object;
            }
        }
        plan
    }

    /// Appends the fixed columns after `segment_id`, with an empty `uuid_ts`. Returns the offset at which to insert it.
    fn push_head(
        &mut self,
        parsed: &ParsedEvent<'_>,
        message_id: &[u8],
        source: Option<&[u8]>,
        rows: &mut Vec<u8>,
    ) -> u32 {
        let doc = parsed.doc;
        self.fixed.clear();
        // `segment_id` is not known yet, but keeps its index.
        self.fixed.push(ByteSpan::default());
        self.push_fixed(rows, b",\"id\":", |out| push_string(out, message_id));
        let id = self.fixed[1];
        self.push_fixed(rows, b",\"event_id\":", |out| {
            out.extend_from_within(id.start as usize..id.end as usize);
        });
        self.push_fixed(rows, b",\"anonymous_id\":", |out| push_text(out, doc, parsed.fields.anonymous_id));
        self.push_fixed(rows, b",\"user_id\":", |out| push_text(out, doc, parsed.fields.user_id));
        self.push_fixed(rows, b",\"event_source_id\":", |out| match source {
            Some(source) => push_string(out, source),
            None => out.extend_from_slice(b"null"),
        });
        let written = &parsed.written;
        let push_time = |out: &mut Vec<u8>, written: Option<u32>, time| match written {
            Some(value) => doc.push_quoted(out, value),
            None => push_time(out, time),
        };
        self.push_fixed(rows, b",\"original_timestamp\":", |out| {
            push_time(out, written.original_timestamp, parsed.original_timestamp);
        });
        self.push_fixed(rows, b",\"sent_at\":", |out| push_time(out, written.sent_at, parsed.sent_at));
        self.push_fixed(rows, b",\"received_at\":", |out| {
            push_time(out, written.received_at, Some(parsed.received_at));
        });
        self.push_fixed(rows, b",\"timestamp\":", |out| {
            push_time(out, written.timestamp, Some(parsed.timestamp));
        });
        // So does `uuid_ts`.
        self.fixed.push(ByteSpan::default());
        debug_assert_eq!(self.fixed.len(), FIXED_COLUMNS.len());
        // The closing quote is written with the clock, since the columns that follow may come from elsewhere.
        rows.extend_from_slice(b",\"uuid_ts\":\"");
        to_u32_offset(rows.len())
    }

    /// Appends a column. The label's length is a constant, so copying it needs no call.
    fn push_fixed<const N: usize>(
        &mut self,
        rows: &mut Vec<u8>,
        label: &[u8; N],
        push: impl FnOnce(&mut Vec<u8>),
    ) {
        rows.extend_from_slice(label);
        let start = rows.len();
        push(rows);
        self.fixed.push(ByteSpan::since(rows, start));
    }

    /// Returns the index of a track event's own table in `names`, adding it if it is new; [`NO_TABLE`] if it has none.
    fn event_table_index(
        &mut self,
        parsed: &ParsedEvent<'_>,
        names: &mut Vec<Box<[u8]>>,
        tables: &mut Map<Vec<u8>, u32>,
    ) -> u32 {
        if parsed.call != Call::Track {
            return NO_TABLE;
        }
        let table = scalar_text(parsed.doc, parsed.fields.event)
            .map(|name| self.own_table(&name))
            .unwrap_or_default();
        if table.is_empty() {
            self.notes.events_without_table += 1;
            return NO_TABLE;
        }
        *tables.entry_ref(&*table).or_insert_with(|| {
            names.push(table.clone());
            to_u32_offset(names.len() - 1)
        })
    }

    /// Appends the call's own columns.
    fn push_own(&mut self, parsed: &ParsedEvent<'_>, own_table: Option<&[u8]>, rows: &mut Vec<u8>) {
        let doc = parsed.doc;
        let fields = &parsed.fields;
        match parsed.call {
            Call::Identify => {}
            Call::Page | Call::Screen => {
                self.push_fixed(rows, b",\"name\":", |out| push_text(out, doc, fields.name));
                self.push_fixed(rows, b",\"category\":", |out| push_text(out, doc, fields.category));
            }
            Call::Group => {
                self.push_fixed(rows, b",\"group_id\":", |out| push_text(out, doc, fields.group_id));
            }
            Call::Alias => {
                self.push_fixed(rows, b",\"previous_id\":", |out| push_text(out, doc, fields.previous_id));
            }
            Call::Track => {
                self.push_fixed(rows, b",\"event\":", |out| match own_table {
                    None => out.extend_from_slice(b"null"),
                    Some(table) => push_string(out, table),
                });
                self.push_fixed(rows, b",\"event_text\":", |out| push_text(out, doc, fields.event));
            }
        }
    }

    /// Returns the table name for an event name; empty if there is none.
    fn own_table(&mut self, name: &[u8]) -> Box<[u8]> {
        if let Some(own) = self.own_tables.get(name) {
            return own.table.clone();
        }
        if MAX_OWN_TABLES <= self.own_tables.len() {
            self.own_tables.clear();
        }
        let table: Box<[u8]> = event_table(name).into();
        if name.len() <= LONG_EVENT_NAME {
            self.own_tables.insert(name.to_owned(), EventTableName { table: table.clone() });
        }
        table
    }

    /// Returns the columns of a plan that have a value in this payload, with the value's token. If several keys give a
    /// column, the last counts. The caller returns the buffer to `self.present`.
    fn columns_with_value(
        &mut self,
        doc: Document<'_>,
        plan: &ColumnPlan,
        leaves: LeafSource,
    ) -> Vec<(u32, u32)> {
        let leaves = match leaves {
            LeafSource::Context => &self.context_leaves,
            LeafSource::Payload => &self.leaves,
        };
        let mut present = std::mem::take(&mut self.present);
        present.clear();
        let mut shared_value: Option<u32> = None;
        for (place, column) in plan.columns.iter().enumerate() {
            let value = leaves[column.leaf as usize];
            if has_value(doc, value) {
                self.notes.columns_given_twice += u64::from(shared_value.is_some());
                shared_value = Some(value);
            }
            if !column.shared_with_next
                && let Some(value) = shared_value.take()
            {
                present.push((to_u32_offset(place), value));
            }
        }
        let nameless = plan.nameless.iter().filter(|&&leaf| has_value(doc, leaves[leaf as usize]));
        self.notes.columns_without_name += nameless.count() as u64;
        present
    }

    fn push_payload(
        &mut self,
        doc: Document<'_>,
        plan: &ColumnPlan,
        context: Option<(u32, Arc<ColumnPlan>)>,
        arena: &mut Vec<u8>,
    ) {
        if let Some((object, context)) = context
            && plan.clashes_with_context
        {
            // Since the envelope's context was rendered, another item may have overwritten the leaves with its own.
            let mut leaves = std::mem::take(&mut self.context_leaves);
            self.shapes.plan(doc, object, Payload::Context, &mut leaves);
            self.context_leaves = leaves;
            self.push_payload_beside_context(doc, plan, &context, arena);
            return;
        }
        let present = self.columns_with_value(doc, plan, LeafSource::Payload);
        for &(column, value) in &present {
            self.push_column(doc, &plan.columns[column as usize], value, arena);
        }
        self.present = present;
    }

    fn push_column(&mut self, doc: Document<'_>, column: &PlannedColumn, value: u32, arena: &mut Vec<u8>) {
        let start = arena.len();
        column.label.push(arena);
        let value_start = arena.len();
        push_value(arena, &mut self.scratch, doc, value);
        if let NameClash::Fixed(place) = column.clash {
            let same = self.fixed[usize::from(place)].of(arena) == &arena[value_start..];
            if same {
                arena.truncate(start);
            }
        }
    }

    /// Appends the payload's columns, renaming those that clash with a `context_*` column of this row.
    fn push_payload_beside_context(
        &mut self,
        doc: Document<'_>,
        plan: &ColumnPlan,
        context: &ColumnPlan,
        arena: &mut Vec<u8>,
    ) {
        // The context's notices were counted when it was rendered.
        let notes = self.notes;
        let beside = self.columns_with_value(doc, context, LeafSource::Context);
        self.notes = notes;
        let mut rendered: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (column, value) in self.columns_with_value(doc, plan, LeafSource::Payload) {
            let column = &plan.columns[column as usize];
            let mut text = Vec::new();
            push_value(&mut text, &mut self.scratch, doc, value);
            let mut label = column.label.text().to_vec();
            // Both are sorted by name.
            let of_context = || {
                let name = |&(place, _): &(u32, u32)| context.columns[place as usize].name();
                let at = beside.binary_search_by(|one| name(one).cmp(column.name())).ok()?;
                Some(beside[at].1)
            };
            if column.clash == NameClash::Context
                && let Some(other) = of_context()
            {
                let mut other_text = Vec::new();
                push_value(&mut other_text, &mut self.scratch, doc, other);
                if other_text == text {
                    continue;
                }
                label.insert(2, b'_');
            } else if let NameClash::Fixed(place) = column.clash
                && self.fixed[usize::from(place)].of(arena) == text.as_slice()
            {
                continue;
            }
            rendered.push((label, text));
        }
        rendered.sort_by(|a, b| a.0[2..a.0.len() - 2].cmp(&b.0[2..b.0.len() - 2]));
        for (label, text) in rendered {
            arena.extend_from_slice(&label);
            arena.extend_from_slice(&text);
        }
    }
}

/// Returns the payload of an event's row. For a track call, only its own table has the payload.
fn payload_of(parsed: &ParsedEvent<'_>, own_table: u32) -> Option<(u32, Payload)> {
    let fields = &parsed.fields;
    match parsed.call {
        Call::Identify => fields.traits.map(|t| (t, Payload::Traits)),
        Call::Page | Call::Screen => fields.properties.map(|p| (p, Payload::PageProperties)),
        Call::Group => fields.traits.map(|t| (t, Payload::GroupTraits)),
        Call::Track if own_table == NO_TABLE => None,
        Call::Track => fields.properties.map(|p| (p, Payload::TrackProperties)),
        Call::Alias => None,
    }
}

#[derive(Clone, Copy)]
enum LeafSource {
    Context,
    Payload,
}

/// Returns whether a leaf has a value: `null` and empty objects have none.
#[must_use]
pub fn has_value(doc: Document<'_>, value: u32) -> bool {
    !matches!(doc.kind(value), JsonKind::Null | JsonKind::Object)
}

/// Appends a leaf's value as a column's: scalars unchanged, arrays as their JSON text.
pub fn push_value(out: &mut Vec<u8>, scratch: &mut Vec<u8>, doc: Document<'_>, value: u32) {
    match doc.kind(value) {
        JsonKind::Plain => doc.push_quoted(out, value),
        JsonKind::Escaped => push_string(out, &unescape(doc.raw(value))),
        JsonKind::Array | JsonKind::Object => {
            scratch.clear();
            doc.push_compact(scratch, value);
            push_string(out, scratch);
        }
        _ => doc.push_raw(out, value),
    }
}

/// Appends a string or number as a JSON string; `null` if it is empty or neither.
pub fn push_text(out: &mut Vec<u8>, doc: Document<'_>, value: Option<u32>) {
    match value {
        // Most strings can be copied from the line unchanged.
        Some(value) if doc.kind(value) == JsonKind::Plain && !doc.raw(value).is_empty() => {
            doc.push_quoted(out, value);
        }
        _ => match scalar_text(doc, value).filter(|text| !text.is_empty()) {
            Some(scalar_text) => push_string(out, &scalar_text),
            None => out.extend_from_slice(b"null"),
        },
    }
}

/// The years 0 to 9999, which the time format can express.
const WRITABLE_TIMES: std::ops::Range<Millis> = -62_167_219_200_000..253_402_300_800_000;

fn push_time(out: &mut Vec<u8>, time: Option<Millis>) {
    match time.filter(|time| WRITABLE_TIMES.contains(time)) {
        Some(time) => {
            out.push(b'"');
            push_millis(out, time);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}
