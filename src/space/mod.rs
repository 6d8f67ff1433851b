//! A space: the folder that contains the tables of one profiles space, and what is committed of them.

pub mod adopted;
pub mod after;
pub mod commit;
pub mod cut;
pub mod damage;
pub mod event_rows;
pub mod guard;
pub mod history;
pub mod kept;
pub mod layout;
pub mod lock;
pub mod manifest;
pub mod place;
mod recover;
pub mod replay;
pub mod replayed;
pub mod run_log;
pub mod stale_views;
pub mod state;
pub mod table_state;
pub mod tables;
