//! Renders the answers of `explain`.

pub(crate) mod graphs;
pub(crate) mod html;
pub(crate) mod picture;
pub(crate) mod svg;
pub(crate) mod text;
mod words;
