//! The rows of event tables: rendered while the event is parsed, but for `segment_id` and `uuid_ts`, which only the
//! resolver knows.
//!
//! Column order: the fixed columns, `context_*` by name, the call's own columns, payload columns by name.

use super::{
    columns::{Clash, Column, FIXED_COLUMNS, Payload, Plan, Shapes},
    names::{BUILT_IN_TABLES, snake_case},
};
use crate::{
    collections::Map,
    event::{
        Call,
        block::{Block, NO_TABLE, Row, Span, position},
        json::{Document, Kind, push_string, unescape},
        parse::{Parsed, text},
        timestamp::{Millis, push_millis},
    },
};

/// What was left out or renamed, for the summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notes {
    /// Values whose path has a key without letters and digits: no column.
    pub columns_without_name: u64,
    /// Columns that two keys of one payload give; the last value stands.
    pub columns_given_twice: u64,
    /// Track calls without a table of their own.
    pub events_without_table: u64,
    /// Traits whose name has no letters or digits.
    pub traits_without_name: u64,
}

impl Notes {
    /// Adds up.
    pub fn add(&mut self, other: Self) {
        self.columns_without_name += other.columns_without_name;
        self.columns_given_twice += other.columns_given_twice;
        self.events_without_table += other.events_without_table;
        self.traits_without_name += other.traits_without_name;
    }
}

/// A name of more characters than this is no table's.
const MAX_TABLE_NAME: usize = 200;

/// A track event's own table, kept by the event's name.
#[derive(Debug, Clone)]
struct OwnTable {
    /// Empty where there is none.
    table: Box<[u8]>,
}

/// Renders rows. One for each thread that parses.
#[derive(Debug, Default)]
pub struct RowRenderer {
    shapes: Shapes,
    leaves: Vec<u32>,
    context_leaves: Vec<u32>,
    own_tables: Map<Vec<u8>, OwnTable>,
    scratch: Vec<u8>,
    /// The rendered values of the fixed and own columns of the present row.
    fixed: Vec<Span>,
    /// What was left out or renamed since the start.
    pub notes: Notes,
}

/// Event names that are ever new must not fill the memory.
const MAX_OWN_TABLES: usize = 1 << 16;

impl RowRenderer {
    /// The plan of an object of this payload; its leaves are kept until the next call.
    pub fn traits_plan(&mut self, doc: Document<'_>, object: u32) -> (std::sync::Arc<Plan>, &[u32]) {
        let plan = self.shapes.plan(doc, object, Payload::Traits, &mut self.leaves);
        (plan, &self.leaves)
    }

    /// Renders the row of an event into the arena of its block. `tables` finds the number of an own table.
    pub fn render(
        &mut self,
        parsed: &Parsed<'_>,
        message_id: &[u8],
        source: Option<&[u8]>,
        block: &mut Block,
        tables: &mut Map<Vec<u8>, u32>,
    ) -> (Row, u32) {
        let doc = parsed.doc;
        let head = self.push_head(parsed, message_id, source, &mut block.arena);
        let start = block.arena.len();
        block.arena.push(b'"');
        let context_plan = parsed.fields.context.map(|context| {
            let plan = self.shapes.plan(doc, context, Payload::Context, &mut self.context_leaves);
            for (column, value) in self.present(doc, &plan, Leaves::Context) {
                plan.columns[column as usize].label.push(&mut block.arena);
                push_value(&mut block.arena, &mut self.scratch, doc, value);
            }
            plan
        });
        let own_table = self.push_own(parsed, block, tables);
        let mut tail = Span::since(&block.arena, start);
        let start = block.arena.len();
        let payload = match parsed.call {
            Call::Identify => parsed.fields.traits.map(|t| (t, Payload::Traits)),
            Call::Page | Call::Screen => parsed.fields.properties.map(|p| (p, Payload::PageProperties)),
            Call::Group => parsed.fields.traits.map(|t| (t, Payload::GroupTraits)),
            Call::Track => parsed.fields.properties.map(|p| (p, Payload::TrackProperties)),
            Call::Alias => None,
        };
        if let Some((object, kind)) = payload
            && (parsed.call != Call::Track || own_table != NO_TABLE)
        {
            let plan = self.shapes.plan(doc, object, kind, &mut self.leaves);
            self.push_payload(doc, &plan, context_plan.as_deref(), &mut block.arena);
        }
        let mut payload = Span::since(&block.arena, start);
        if parsed.call != Call::Track {
            tail.end = payload.end;
            payload = Span::default();
        }
        (Row { head, tail, payload }, own_table)
    }

    /// The fixed columns from `id` to the opening quote of `uuid_ts`.
    fn push_head(
        &mut self,
        parsed: &Parsed<'_>,
        message_id: &[u8],
        source: Option<&[u8]>,
        arena: &mut Vec<u8>,
    ) -> Span {
        let doc = parsed.doc;
        let start = arena.len();
        self.fixed.clear();
        // `segment_id` is not known yet.
        self.fixed.push(Span::default());
        for column in ["id", "event_id"] {
            self.push_fixed(arena, column, |out| push_string(out, message_id));
        }
        self.push_fixed(arena, "anonymous_id", |out| push_text(out, doc, parsed.fields.anonymous_id));
        self.push_fixed(arena, "user_id", |out| push_text(out, doc, parsed.fields.user_id));
        self.push_fixed(arena, "event_source_id", |out| match source {
            Some(source) => push_string(out, source),
            None => out.extend_from_slice(b"null"),
        });
        let written = &parsed.written;
        for (column, written, time) in [
            ("original_timestamp", written.original_timestamp, parsed.original_timestamp),
            ("sent_at", written.sent_at, parsed.sent_at),
            ("received_at", written.received_at, Some(parsed.received_at)),
            ("timestamp", written.timestamp, Some(parsed.timestamp)),
        ] {
            self.push_fixed(arena, column, |out| match written {
                Some(value) => doc.push_quoted(out, value),
                None => push_time(out, time),
            });
        }
        // Nor is `uuid_ts`.
        self.fixed.push(Span::default());
        debug_assert_eq!(self.fixed.len(), FIXED_COLUMNS.len());
        arena.extend_from_slice(b",\"uuid_ts\":\"");
        Span::since(arena, start)
    }

    fn push_fixed(&mut self, arena: &mut Vec<u8>, column: &str, push: impl FnOnce(&mut Vec<u8>)) {
        push_label(arena, column);
        let start = arena.len();
        push(arena);
        self.fixed.push(Span::since(arena, start));
    }

    /// The call's own columns; for a track call, its own table too.
    fn push_own(&mut self, parsed: &Parsed<'_>, block: &mut Block, tables: &mut Map<Vec<u8>, u32>) -> u32 {
        let doc = parsed.doc;
        let fields = &parsed.fields;
        let arena = &mut block.arena;
        match parsed.call {
            Call::Identify => {}
            Call::Page | Call::Screen => {
                self.push_fixed(arena, "name", |out| push_text(out, doc, fields.name));
                self.push_fixed(arena, "category", |out| push_text(out, doc, fields.category));
            }
            Call::Group => self.push_fixed(arena, "group_id", |out| push_text(out, doc, fields.group_id)),
            Call::Alias => {
                self.push_fixed(arena, "previous_id", |out| push_text(out, doc, fields.previous_id));
            }
            Call::Track => {
                let table = text(doc, fields.event).map(|name| self.own_table(&name)).unwrap_or_default();
                let number = if table.is_empty() {
                    self.notes.events_without_table += 1;
                    NO_TABLE
                } else {
                    *tables.entry_ref(&*table).or_insert_with(|| {
                        block.tables.push(table.clone());
                        position(block.tables.len() - 1)
                    })
                };
                self.push_fixed(arena, "event", |out| match number {
                    NO_TABLE => out.extend_from_slice(b"null"),
                    _ => push_string(out, &table),
                });
                self.push_fixed(arena, "event_text", |out| push_text(out, doc, fields.event));
                return number;
            }
        }
        NO_TABLE
    }

    /// The table of a track event; empty where there is none.
    fn own_table(&mut self, name: &[u8]) -> Box<[u8]> {
        if let Some(own) = self.own_tables.get(name) {
            return own.table.clone();
        }
        if MAX_OWN_TABLES <= self.own_tables.len() {
            self.own_tables.clear();
        }
        let mut table = snake_case(name);
        if MAX_TABLE_NAME < table.len() {
            table.clear();
        } else if BUILT_IN_TABLES.iter().any(|t| t.as_bytes() == table) {
            table.insert(0, b'_');
        }
        let table: Box<[u8]> = table.into();
        self.own_tables.insert(name.to_owned(), OwnTable { table: table.clone() });
        table
    }

    /// The columns of a plan that have a value in this payload, with the value's token: of a column that several keys
    /// give, the last.
    fn present(&mut self, doc: Document<'_>, plan: &Plan, leaves: Leaves) -> Vec<(u32, u32)> {
        let leaves = match leaves {
            Leaves::Context => &self.context_leaves,
            Leaves::Payload => &self.leaves,
        };
        let mut present = Vec::with_capacity(plan.columns.len());
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
                present.push((position(place), value));
            }
        }
        let nameless = plan.nameless.iter().filter(|&&leaf| has_value(doc, leaves[leaf as usize]));
        self.notes.columns_without_name += nameless.count() as u64;
        present
    }

    fn push_payload(&mut self, doc: Document<'_>, plan: &Plan, context: Option<&Plan>, arena: &mut Vec<u8>) {
        if let Some(context) = context
            && plan.clashes_with_context
        {
            self.push_payload_beside_context(doc, plan, context, arena);
            return;
        }
        for (column, value) in self.present(doc, plan, Leaves::Payload) {
            self.push_column(doc, &plan.columns[column as usize], value, arena);
        }
    }

    fn push_column(&mut self, doc: Document<'_>, column: &Column, value: u32, arena: &mut Vec<u8>) {
        let start = arena.len();
        column.label.push(arena);
        let value_start = arena.len();
        push_value(arena, &mut self.scratch, doc, value);
        if let Clash::Fixed(place) = column.clash {
            let same = self.fixed[usize::from(place)].of(arena) == &arena[value_start..];
            if same {
                arena.truncate(start);
            }
        }
    }

    /// A property named `context_*` is compared with the columns that this row's context has.
    fn push_payload_beside_context(
        &mut self,
        doc: Document<'_>,
        plan: &Plan,
        context: &Plan,
        arena: &mut Vec<u8>,
    ) {
        let beside = self.present(doc, context, Leaves::Context);
        let mut rendered: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (column, value) in self.present(doc, plan, Leaves::Payload) {
            let column = &plan.columns[column as usize];
            let mut text = Vec::new();
            push_value(&mut text, &mut self.scratch, doc, value);
            let mut label = column.label.text().to_vec();
            if column.clash == Clash::Context
                && let Some(&(_, other)) =
                    beside.iter().find(|&&(place, _)| context.columns[place as usize].label == column.label)
            {
                let mut other_text = Vec::new();
                push_value(&mut other_text, &mut self.scratch, doc, other);
                if other_text == text {
                    continue;
                }
                label.insert(2, b'_');
            } else if let Clash::Fixed(place) = column.clash
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

#[derive(Clone, Copy)]
enum Leaves {
    Context,
    Payload,
}

/// Whether a leaf has a value: `null` and empty objects have none.
#[must_use]
pub fn has_value(doc: Document<'_>, value: u32) -> bool {
    !matches!(doc.kind(value), Kind::Null | Kind::Object)
}

/// Appends the value of a leaf as a column's: scalars as they are, arrays as their JSON text.
pub fn push_value(out: &mut Vec<u8>, scratch: &mut Vec<u8>, doc: Document<'_>, value: u32) {
    match doc.kind(value) {
        Kind::Plain => doc.push_quoted(out, value),
        Kind::Escaped => push_string(out, &unescape(doc.raw(value))),
        Kind::Array | Kind::Object => {
            scratch.clear();
            doc.push_compact(scratch, value);
            push_string(out, scratch);
        }
        _ => doc.push_raw(out, value),
    }
}

/// Appends a text as JSON, numbers as text too; `null` where it is empty or none.
pub fn push_text(out: &mut Vec<u8>, doc: Document<'_>, value: Option<u32>) {
    match text(doc, value).filter(|text| !text.is_empty()) {
        Some(text) => push_string(out, &text),
        None => out.extend_from_slice(b"null"),
    }
}

/// The years 0 to 9999: others have no spelling.
const WRITABLE: std::ops::Range<Millis> = -62_167_219_200_000..253_402_300_800_000;

fn push_time(out: &mut Vec<u8>, time: Option<Millis>) {
    match time.filter(|time| WRITABLE.contains(time)) {
        Some(time) => {
            out.push(b'"');
            push_millis(out, time);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn push_label(out: &mut Vec<u8>, column: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(column.as_bytes());
    out.extend_from_slice(b"\":");
}
