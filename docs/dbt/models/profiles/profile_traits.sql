select * from {{ source('profiles_sync', 'profile_traits') }}
