//! A space: the folder that contains the tables of one profiles space, and what is committed of them.

pub mod adopted;
pub mod commit;
pub mod cut;
pub mod damage;
pub mod event_rows;
pub mod guard;
pub mod history;
pub mod kept;
pub mod lock;
pub mod manifest;
pub mod place;
pub mod replay;
pub mod run_log;
pub mod state;
pub mod tables;
