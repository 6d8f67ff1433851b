select * from {{ source('profiles_sync', 'id_graph') }}
