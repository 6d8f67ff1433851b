//! `schema`: the printed statements load a space into real databases, which then hold every row and value.

mod awkward;
mod compare;
mod dbt;
mod duckdb;
mod json;
mod loads;
mod page;
mod parsed;
mod postgres;
mod refusals;
