//! The error type of this library: what failed, in which file or folder, and what to do about it.
//!
//! An unusable line is not an error. It becomes a [`crate::event::reject::Reject`], and the run continues.

use std::{io, path::PathBuf};

use thiserror::Error;

/// The result of operations that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that ends a run. Nothing was committed, except for [`Error::NotInPlace`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system reported an error for a file or folder.
    #[error("could not {intent} `{}`", path.display())]
    Io {
        /// The failed operation, as a verb: `read`, `create`, `sync`.
        intent: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A compressed file cannot be decompressed.
    #[error("could not decompress `{}`", path.display())]
    Decompress {
        /// The file.
        path: PathBuf,
        /// The error of the decoder.
        source: io::Error,
    },
    /// A file has invalid content at a line.
    #[error("{}:{line}: {message}", path.display())]
    Line {
        /// The file as it was given.
        path: PathBuf,
        /// Number of the line, counted from 1, including blank lines.
        line: u64,
        /// What is wrong, in lower case and without a full stop.
        message: String,
    },
    /// A file or folder exists but is not what it should be.
    #[error("`{}`: {message}", path.display())]
    File {
        /// The file or folder as it was given.
        path: PathBuf,
        /// What is wrong, in lower case and without a full stop.
        message: String,
    },
    /// The request cannot be fulfilled, whatever the files contain.
    #[error("{0}")]
    Refused(String),
    /// The state cache is damaged. The job catches this and continues without it.
    #[error("the state cache is damaged")]
    StateDamaged,
    /// A signal stopped the run before its commit.
    #[error("interrupted, nothing was committed")]
    Interrupted,
    /// The run is committed, but its rows are not in their tables yet.
    #[error("committed; not yet in place")]
    NotInPlace(#[source] Box<Error>),
    /// An error with a hint.
    #[error("{error}")]
    Hinted {
        /// The error.
        #[source]
        error: Box<Error>,
        /// What to do about it, in the imperative.
        hint: String,
    },
}

/// Returns the hint for a compressed file that cannot be decompressed completely.
#[must_use]
pub fn decompression_hint(error: &io::Error) -> &'static str {
    // The text is the decoder's only indication of a window of more than 128 MiB.
    if error.to_string().contains("requires too much memory") {
        "decompress it first, with `zstd -d --long=31`: it was compressed with a window of more than 128 MiB"
    } else {
        "check the file: if it is compressed, it may be damaged or cut short"
    }
}

impl Error {
    /// Creates an error for a failed operation on a file or folder. `intent` is a verb.
    pub fn io(intent: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { intent, path: path.into(), source }
    }

    /// Creates an error with a hint for a file that cannot be decompressed.
    pub fn decompress(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let hint = decompression_hint(&source);
        Self::Decompress { path: path.into(), source }.hint(hint)
    }

    /// Returns whether this is a decompression error, with or without a hint.
    #[must_use]
    pub fn is_decompression(&self) -> bool {
        match self {
            Self::Decompress { .. } => true,
            Self::Hinted { error, .. } => error.is_decompression(),
            _ => false,
        }
    }

    /// Creates an error about a whole file or folder.
    pub fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::File { path: path.into(), message: message.into() }
    }

    /// Creates an error about a line of a file.
    pub fn line(path: impl Into<PathBuf>, line: u64, message: impl Into<String>) -> Self {
        Self::Line { path: path.into(), line, message: message.into() }
    }

    /// Adds a hint to the error.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self::Hinted { error: Box::new(self), hint: hint.into() }
    }

    /// Returns whether a signal ended the run.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Hinted { error, .. } => error.is_interrupted(),
            _ => false,
        }
    }

    /// Returns the hint, if there is one.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        match self {
            Self::Hinted { hint, .. } => Some(hint),
            Self::NotInPlace(error) => error.hint_text(),
            _ => None,
        }
    }
}
