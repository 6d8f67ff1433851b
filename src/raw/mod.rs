//! Raw tables: what each row holds and how it is spelled.

pub mod names;
