select * from {{ source('profiles_sync', 'external_id_mapping') }}
