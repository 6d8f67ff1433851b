-- One row for each call, with the profile to which it belongs now.
select
    cast(events.id as varchar) as event_id,
    cast(graph.canonical_segment_id as varchar) as canonical_segment_id,
    cast(events.anonymous_id as varchar) as anonymous_id,
    cast(events.user_id as varchar) as user_id,
    cast(events.received_at as timestamp with time zone) as received_at,
    cast(events.timestamp as timestamp with time zone) as occurred_at,
    cast(events.uuid_ts as timestamp with time zone) as uuid_ts
from {{ source('profiles_sync', 'identifies') }} as events
left join {{ source('profiles_sync', 'id_graph') }} as graph
    on graph.segment_id = events.segment_id
