//! The first stage: parses a chunk of lines into a block of events, extracts identifiers and renders rows. Uses all
//! cores.

use std::{borrow::Cow, cell::OnceCell, sync::Arc};

use sha1::{Digest, Sha1};

use super::rejects::RejectedLine;
use crate::{
    collections::{Map, key_of},
    config::rules::Rules,
    event::{
        Call,
        block::{ByteSpan, Event, EventBlock, EventTraits, NO_TABLE, RenderedRow, to_u32_offset},
        fields::EventFields,
        parse::{ParsedEvent, derived_message_id, parse_event, scalar_text},
        reject::{LinePosition, Reject, RejectReason},
    },
    glob::Globs,
    identity::{extract::IdentifierExtractor, types::IdentifierTypes},
    json::{Document, JsonKind, Tape},
    raw::{
        RowMode,
        event_row::{RowNotices, RowRenderer, has_value, push_text, push_value},
    },
    read::{
        chunk::Chunk,
        inputs::Input,
        line_records::LineOrigin,
        lines::{BOM, MAX_LINE, is_blank, lines},
    },
    time::{reader::TimeReader, timestamp::Millis},
};

/// The result of preparing a chunk.
#[derive(Debug, Default)]
pub struct PreparedChunk {
    /// Its events.
    pub block: EventBlock,
    /// Its rejects, in the order of the inputs.
    pub rejects: Vec<RejectedLine>,
    /// Whether the last reject is the start of an object at the end of the input, without a line feed.
    pub is_cut_off: bool,
    /// The number of rejects by reason, in the order of [`RejectReason::ALL`].
    pub n_rejects: [u64; RejectReason::ALL.len()],
    /// The number of lines that are not blank.
    pub n_lines: u64,
    /// The number of well-formed events, including those dropped.
    pub n_events: u64,
    /// The number of events dropped by the config's rules.
    pub n_filtered: u64,
    /// Counts of what was left out or renamed.
    pub notes: RowNotices,
    /// The earliest `received_at` of its events.
    pub earliest: Option<Millis>,
}

/// Prepares chunks. Each thread has its own.
#[derive(Debug)]
pub struct ChunkPreparer {
    tape: Tape,
    extractor: IdentifierExtractor,
    renderer: RowRenderer,
    rows: RowMode,
    rules: Arc<Rules>,
    times: TimeReader,
    tables: Map<Vec<u8>, u32>,
    sources: Map<Option<Vec<u8>>, u32>,
    scratch: Vec<u8>,
}

/// A line, or an item of a batch.
#[derive(Clone, Copy)]
struct SourceLine<'a> {
    text: &'a [u8],
    span: ByteSpan,
    /// The input that the line is from.
    input: &'a Input,
    /// The SHA-1 of the line, computed on demand and once per line: a batch may have a million items without
    /// `messageId`.
    sha1: &'a OnceCell<Sha1>,
    item: u32,
    /// Whether it is an item of a batch.
    batched: bool,
}

impl ChunkPreparer {
    /// Creates a preparer with these rules.
    #[must_use]
    pub fn new(rules: &Arc<Rules>, types: &Arc<IdentifierTypes>, rows: RowMode) -> Self {
        Self {
            tape: Tape::default(),
            extractor: IdentifierExtractor::new(rules, types),
            renderer: RowRenderer::default(),
            rows,
            rules: Arc::clone(rules),
            times: TimeReader::default(),
            tables: Map::default(),
            sources: Map::default(),
            scratch: Vec::new(),
        }
    }

    /// Prepares a chunk. `block` holds its lines and nothing else. If the lines were sorted, `at` holds the origin of
    /// each.
    pub fn prepare(
        &mut self,
        chunk: &Chunk,
        at: &[LineOrigin],
        inputs: &[Input],
        mut block: EventBlock,
    ) -> PreparedChunk {
        let bytes = std::mem::take(&mut block.lines);
        block.in_order = chunk.in_order;
        let mut prepared = PreparedChunk { block, ..PreparedChunk::default() };
        self.tables.clear();
        self.sources.clear();
        self.renderer.notes = RowNotices::default();
        let all_utf8 = std::str::from_utf8(&bytes).is_ok();
        let mut tape = std::mem::take(&mut self.tape);
        let mut times = std::mem::take(&mut self.times);
        let file_start = chunk.offset == 0 && bytes.starts_with(BOM);
        for (place, mut range) in (0..).zip(lines(&bytes)) {
            if file_start && range.start == 0 {
                range.start = BOM.len().min(range.end);
            }
            let text = &bytes[range.clone()];
            if is_blank(text) {
                continue;
            }
            prepared.n_lines += 1;
            let position = match at.get(place) {
                Some(&LineOrigin { input, number, offset }) => {
                    LinePosition { input, line: number, item: 0, byte_offset: offset }
                }
                None => LinePosition {
                    input: chunk.input,
                    line: chunk.first_line + place as u64,
                    item: 0,
                    byte_offset: chunk.offset + range.start as u64,
                },
            };
            let input = &inputs[position.input as usize];
            let mut last_reject: Option<Reject> = None;
            let mut refuse = |prepared: &mut PreparedChunk, item: u32, reject: Reject| {
                prepared.n_rejects[reject.reason as usize] += 1;
                if let Some(line) = prepared.rejects.last_mut().filter(|line| line.is_of(position)) {
                    line.push(item, last_reject.as_ref(), &reject);
                } else {
                    let position = LinePosition { item, ..position };
                    prepared.rejects.push(RejectedLine::new(position, &reject, text));
                }
                last_reject = Some(reject);
            };
            let checked = match chunk.too_long {
                Some(length) => Err(too_long(length)),
                None => check_line(text, all_utf8, &mut tape),
            };
            if let Err(reject) = checked {
                refuse(&mut prepared, 0, reject);
                // Sorted lines have lost their line feeds.
                prepared.is_cut_off = chunk.too_long.is_none()
                    && at.is_empty()
                    && range.end == bytes.len()
                    && text.starts_with(b"{");
                continue;
            }
            let doc = Document { text, tokens: &tape.tokens };
            let span = ByteSpan { start: position_of(range.start), end: position_of(range.end) };
            let sha1 = OnceCell::new();
            let fields = EventFields::read(doc, 0);
            let is_batch = fields.is_envelope(doc);
            self.renderer.begin_line(fields.context.filter(|_| is_batch));
            if is_batch {
                if let Err(reject) = check_batch(doc, &fields, self.rules.max_batch_bytes) {
                    refuse(&mut prepared, 0, reject);
                    continue;
                }
                let items = fields.batch.into_iter().flat_map(|batch| doc.items(batch));
                for (item, value) in (0..).zip(items) {
                    let line = SourceLine { text, span, input, sha1: &sha1, item, batched: true };
                    let result = if doc.kind(value) == JsonKind::Object {
                        let fields = EventFields::read(doc, value).filled_from(doc, value, &fields);
                        parse_event(doc, fields, &mut times)
                    } else {
                        Err(not_an_object(doc.kind(value)))
                    };
                    match result {
                        Ok(parsed) => self.take(&parsed, line, &mut prepared),
                        Err(reject) => refuse(&mut prepared, item, reject),
                    }
                }
            } else {
                let line = SourceLine { text, span, input, sha1: &sha1, item: 0, batched: false };
                match parse_event(doc, fields, &mut times) {
                    Ok(parsed) => self.take(&parsed, line, &mut prepared),
                    Err(reject) => refuse(&mut prepared, 0, reject),
                }
            }
        }
        if !at.is_empty() {
            prepared.rejects.sort_unstable();
        }
        // Free the memory needed by a line of millions of values.
        if MAX_TOKENS < tape.tokens.capacity() {
            tape = Tape::default();
        }
        self.tape = tape;
        self.times = times;
        prepared.notes = self.renderer.notes;
        prepared.block.lines = bytes;
        prepared
    }

    /// Adds an event to the block.
    fn take(&mut self, parsed: &ParsedEvent<'_>, line: SourceLine<'_>, prepared: &mut PreparedChunk) {
        prepared.n_events += 1;
        let earliest = prepared.earliest.get_or_insert(parsed.received_at);
        *earliest = parsed.received_at.min(*earliest);
        let source = match &parsed.source_id {
            Some(id) => Some(id.as_ref()),
            None => line.input.source.as_deref().map(str::as_bytes),
        };
        if self.dropped(parsed, source) {
            prepared.n_filtered += 1;
            return;
        }
        self.renderer.notes.times_unreadable += parsed.n_unreadable_times;
        let block = &mut prepared.block;
        let message_id = if let Some(id) = &parsed.message_id {
            Cow::Borrowed(id.as_ref())
        } else {
            let sha1 = line.sha1.get_or_init(|| Sha1::new_with_prefix(line.text)).clone();
            Cow::Owned(derived_message_id(sha1, line.batched.then_some(line.item)))
        };
        let start = block.arena.len();
        block.arena.extend_from_slice(&message_id);
        let message_span = ByteSpan::since(&block.arena, start);
        let doc = parsed.doc;
        let start = block.arena.len();
        match parsed.call {
            Call::Track => push_text(&mut block.arena, doc, parsed.fields.event),
            Call::Page | Call::Screen => push_text(&mut block.arena, doc, parsed.fields.name),
            _ => block.arena.extend_from_slice(b"null"),
        }
        let name = ByteSpan::since(&block.arena, start);
        let identifiers = self.extractor.extract(parsed, block);
        let traits = self.take_traits(parsed, block);
        let (rendered_row, event_table) = match self.rows {
            RowMode::Write => self.renderer.render(parsed, &message_id, source, block, &mut self.tables),
            RowMode::Count => {
                (RenderedRow::default(), self.renderer.count(parsed, &mut block.tables, &mut self.tables))
            }
        };
        let source = source.map(<[u8]>::to_owned);
        let source = *self.sources.entry(source).or_insert_with_key(|source| {
            block.sources.push(source.clone().map(Into::into));
            to_u32_offset(block.sources.len() - 1)
        });
        debug_assert!(event_table == NO_TABLE || parsed.call == Call::Track);
        block.events.push(Event {
            received_at: parsed.received_at,
            timestamp: parsed.timestamp,
            message_key: key_of(&message_id),
            message_id: message_span,
            line: line.span,
            item: line.item,
            batched: line.batched,
            call: parsed.call,
            n_times_in_seconds: parsed.n_times_in_seconds,
            source,
            name,
            identifiers,
            traits,
            event_table,
            rendered_row,
        });
    }

    fn take_traits(&mut self, parsed: &ParsedEvent<'_>, block: &mut EventBlock) -> Option<u32> {
        let object = parsed.fields.traits.filter(|_| parsed.call == Call::Identify)?;
        let doc = parsed.doc;
        let (plan, leaves) = self.renderer.traits_plan(doc, object);
        let first = block.values.len();
        for &leaf in leaves {
            let start = block.arena.len();
            if has_value(doc, leaf) {
                push_value(&mut block.arena, &mut self.scratch, doc, leaf);
            }
            block.values.push(ByteSpan::since(&block.arena, start));
        }
        let n_nameless = plan.n_nameless_traits;
        let range = (to_u32_offset(first), to_u32_offset(block.values.len()));
        let none = plan.traits.is_empty();
        self.renderer.notes.traits_without_name += u64::from(n_nameless);
        if none {
            return None;
        }
        block.traits.push(EventTraits { plan, values: range });
        Some(to_u32_offset(block.traits.len() - 1))
    }

    /// Returns whether a drop rule matches the event.
    fn dropped(&self, parsed: &ParsedEvent<'_>, source: Option<&[u8]>) -> bool {
        self.rules.drop.iter().any(|rule| {
            let matches = |globs: &Option<Globs>, value: Option<&[u8]>| match globs {
                None => true,
                Some(globs) => value.is_some_and(|value| globs.is_match(&String::from_utf8_lossy(value))),
            };
            // An empty name counts as no name.
            let event = scalar_text(parsed.doc, parsed.fields.event)
                .filter(|name| parsed.call == Call::Track && !name.is_empty());
            matches(&rule.calls, Some(parsed.call.name().as_bytes()))
                && matches(&rule.events, event.as_deref())
                && matches(&rule.sources, source)
        })
    }
}

/// Checks that a line is a JSON object in UTF-8 that is not too long. Leaves its tokens in `tape`.
fn check_line(text: &[u8], utf8: bool, tape: &mut Tape) -> Result<(), Reject> {
    if MAX_LINE < text.len() {
        return Err(too_long(text.len() as u64));
    }
    if !utf8 && let Err(e) = std::str::from_utf8(text) {
        let detail = format!("byte {} of the line is not UTF-8", e.valid_up_to() + 1);
        return Err(Reject { reason: RejectReason::InvalidUtf8, detail });
    }
    if let Err(e) = tape.read(text) {
        let detail = if text.starts_with(BOM) {
            "a byte order mark in the middle of the input".to_owned()
        } else {
            format!("{} at byte {} of the line", e.message, e.at + 1)
        };
        return Err(Reject { reason: RejectReason::NotJson, detail });
    }
    match tape.tokens[0].kind {
        JsonKind::Object => Ok(()),
        kind => Err(not_an_object(kind)),
    }
}

/// The maximum capacity that a tape keeps between chunks, in tokens.
const MAX_TOKENS: usize = 1 << 18;

/// Rejects an envelope whose items, each with what it takes from the envelope, are too large in total.
fn check_batch(doc: Document<'_>, envelope: &EventFields, most: u64) -> Result<(), Reject> {
    let size = |value: Option<u32>| value.map_or(0, |value| doc.n_bytes(value));
    let items = || envelope.batch.into_iter().flat_map(|batch| doc.items(batch));
    let EventFields { sent_at, received_at, context, .. } = *envelope;
    // Usually the total is small enough even if every item takes everything.
    let of_envelope = size(sent_at) + size(received_at) + size(context);
    if doc.text.len() as u64 + items().count() as u64 * of_envelope <= most {
        return Ok(());
    }
    let of_item = |item: u32| {
        if doc.kind(item) != JsonKind::Object {
            return size(Some(item));
        }
        let filled = EventFields::read(doc, item).filled_from(doc, item, envelope);
        let taken = |now: Option<u32>, of_envelope: Option<u32>| {
            if now == of_envelope { size(of_envelope) } else { 0 }
        };
        size(Some(item))
            + taken(filled.sent_at, sent_at)
            + taken(filled.received_at, received_at)
            + taken(filled.context, context)
    };
    let n_bytes: u64 = items().map(of_item).sum();
    if n_bytes <= most {
        return Ok(());
    }
    let detail = format!(
        "the items take {n_bytes} bytes, including what each takes from the envelope, more than {most}"
    );
    Err(Reject { reason: RejectReason::BatchTooLarge, detail })
}

fn too_long(length: u64) -> Reject {
    Reject { reason: RejectReason::LineTooLong, detail: format!("{length} bytes, more than {MAX_LINE}") }
}

fn not_an_object(kind: JsonKind) -> Reject {
    let what = match kind {
        JsonKind::Null => "null",
        JsonKind::True | JsonKind::False => "a boolean",
        JsonKind::Integer | JsonKind::Number => "a number",
        JsonKind::Plain | JsonKind::Escaped => "a string",
        JsonKind::Array => "an array",
        JsonKind::Object => "an object",
    };
    Reject { reason: RejectReason::NotAnObject, detail: format!("expected an event, found {what}") }
}

fn position_of(at: usize) -> u32 {
    to_u32_offset(at)
}
