//! Finds the fields of an event that are used.

use crate::json::{Document, JsonKind};

/// Token indices of the values; `None` if a field is absent or `null`.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventFields {
    /// `type`
    pub call: Option<u32>,
    /// `messageId`
    pub message_id: Option<u32>,
    /// `anonymousId`
    pub anonymous_id: Option<u32>,
    /// `userId`
    pub user_id: Option<u32>,
    /// `context`, if it is an object
    pub context: Option<u32>,
    /// `traits`, if it is an object
    pub traits: Option<u32>,
    /// `properties`, if it is an object
    pub properties: Option<u32>,
    /// `event`
    pub event: Option<u32>,
    /// `name`. If a page or screen call has no usable one: the property `name`
    pub name: Option<u32>,
    /// `category`. If a page or screen call has no usable one: the property `category`
    pub category: Option<u32>,
    /// `groupId`
    pub group_id: Option<u32>,
    /// `previousId`
    pub previous_id: Option<u32>,
    /// `timestamp`
    pub timestamp: Option<u32>,
    /// `originalTimestamp`
    pub original_timestamp: Option<u32>,
    /// `sentAt`
    pub sent_at: Option<u32>,
    /// `receivedAt`
    pub received_at: Option<u32>,
    /// `projectId`
    pub project_id: Option<u32>,
    /// `sourceId`
    pub source_id: Option<u32>,
    /// `batch`, if it is an array
    pub batch: Option<u32>,
}

impl EventFields {
    /// Finds the fields of an object. The last of several equal keys counts.
    #[must_use]
    pub fn read(doc: Document<'_>, object: u32) -> Self {
        let mut fields = Self::default();
        for (key, value) in doc.members(object) {
            match doc.kind(key) {
                JsonKind::Plain => fields.set(doc, doc.raw(key), value),
                _ => fields.set(doc, &doc.string(key).unwrap_or_default(), value),
            }
        }
        fields
    }

    fn set(&mut self, doc: Document<'_>, key: &[u8], value: u32) {
        let kind = doc.kind(value);
        let (any, object, array) =
            (kind != JsonKind::Null, kind == JsonKind::Object, kind == JsonKind::Array);
        let (place, usable) = match key {
            b"type" => (&mut self.call, any),
            b"messageId" => (&mut self.message_id, any),
            b"anonymousId" => (&mut self.anonymous_id, any),
            b"userId" => (&mut self.user_id, any),
            b"context" => (&mut self.context, object),
            b"traits" => (&mut self.traits, object),
            b"properties" => (&mut self.properties, object),
            b"event" => (&mut self.event, any),
            b"name" => (&mut self.name, any),
            b"category" => (&mut self.category, any),
            b"groupId" => (&mut self.group_id, any),
            b"previousId" => (&mut self.previous_id, any),
            b"timestamp" => (&mut self.timestamp, any),
            b"originalTimestamp" => (&mut self.original_timestamp, any),
            b"sentAt" => (&mut self.sent_at, any),
            b"receivedAt" => (&mut self.received_at, any),
            b"projectId" => (&mut self.project_id, any),
            b"sourceId" => (&mut self.source_id, any),
            b"batch" => (&mut self.batch, array),
            _ => return,
        };
        *place = usable.then_some(value);
    }

    /// Returns whether this is a batch envelope: it has an array `batch` and no string `type`.
    #[must_use]
    pub fn is_envelope(&self, doc: Document<'_>) -> bool {
        let has_type =
            self.call.is_some_and(|call| matches!(doc.kind(call), JsonKind::Plain | JsonKind::Escaped));
        self.batch.is_some() && !has_type
    }

    /// Fills in a missing name or category of a page or screen call from the properties of the same keys.
    pub(super) fn fill_name_from_properties(&mut self, doc: Document<'_>) {
        let usable = |value: &u32| doc.scalar_text(*value).is_some_and(|text| !text.is_empty());
        let (name, category) = (self.name.filter(usable), self.category.filter(usable));
        if let Some(properties) = self.properties
            && (name.is_none() || category.is_none())
        {
            let property = |key| doc.get(properties, key).filter(usable);
            self.name = name.or_else(|| property(b"name"));
            self.category = category.or_else(|| property(b"category"));
        }
    }

    /// Fills in the `sentAt`, `receivedAt` and `context` that an item lacks from its envelope.
    #[must_use]
    pub fn filled_from(mut self, doc: Document<'_>, item: u32, envelope: &Self) -> Self {
        self.sent_at = self.sent_at.or(envelope.sent_at);
        self.received_at = self.received_at.or(envelope.received_at);
        let lacks_context =
            doc.get(item, b"context").is_none_or(|context| doc.kind(context) == JsonKind::Null);
        if lacks_context {
            self.context = envelope.context;
        }
        self
    }
}
