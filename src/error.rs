//! What can go wrong with a file or a folder, as one enum that knows the place and the way out.
//!
//! A line that cannot be used is not an error: it is a [`crate::event::reject::Reject`], it is set aside and
//! the run goes on.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Result of everything in this library that touches files.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A run that could not be done. Nothing was committed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to do something with a file or folder.
    #[error("could not {intent} `{}`", path.display())]
    Io {
        /// What was being done, as a verb: `read`, `create`, `sync`.
        intent: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A compressed file cannot be decompressed.
    #[error("could not decompress `{}`", path.display())]
    Decompress {
        /// The file.
        path: PathBuf,
        /// What the decoder reported.
        source: io::Error,
    },
    /// A file that is read cannot be what it should be, from a line on.
    #[error("{}:{line}: {message}", path.display())]
    Line {
        /// The file as it was given.
        path: PathBuf,
        /// Counted from 1, blank lines too.
        line: u64,
        /// What is wrong, lower case, without full stop.
        message: String,
    },
    /// A file or folder is there but is not what it should be.
    #[error("`{}`: {message}", path.display())]
    File {
        /// The file or folder as it was given.
        path: PathBuf,
        /// What is wrong, lower case, without full stop.
        message: String,
    },
    /// What was asked for cannot be done, whatever the files hold.
    #[error("{0}")]
    Refused(String),
    /// The quick look at an input was fooled about the order of its events; the job looks again, thoroughly.
    #[error("the order of the events was misjudged")]
    Misjudged,
    /// The state cache is not what was written; the job goes on without it.
    #[error("the state cache is damaged")]
    StateDamaged,
    /// A signal asked the run to stop before its commit.
    #[error("interrupted, nothing was committed")]
    Interrupted,
    /// The run is committed, but its rows are not yet in their tables.
    #[error("committed; not yet in place")]
    NotInPlace(#[source] Box<Error>),
    /// An error together with the thing to do about it.
    #[error("{error}")]
    Hinted {
        /// What went wrong.
        #[source]
        error: Box<Error>,
        /// What to do, in the imperative.
        hint: String,
    },
}

/// Returns what to do about a compressed file that cannot be read to its end.
#[must_use]
pub fn decompression_hint(error: &io::Error) -> &'static str {
    // The decoder has no other sign of a window that is larger than 128 MiB.
    if error.to_string().contains("requires too much memory") {
        "decompress it first, with `zstd -d --long=31`: it was compressed with a window of more than 128 MiB"
    } else {
        "a compressed file that was cut short or is damaged cannot be read to its end"
    }
}

impl Error {
    /// An operating system error with the path and the intent.
    pub fn io(intent: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { intent, path: path.into(), source }
    }

    /// A compressed file that cannot be decompressed, with its hint.
    pub fn decompress(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let hint = decompression_hint(&source);
        Self::Decompress { path: path.into(), source }.hint(hint)
    }

    /// Whether a compressed file could not be decompressed.
    #[must_use]
    pub fn is_decompression(&self) -> bool {
        match self {
            Self::Decompress { .. } => true,
            Self::Hinted { error, .. } => error.is_decompression(),
            _ => false,
        }
    }

    /// Something wrong with a whole file or folder.
    pub fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::File { path: path.into(), message: message.into() }
    }

    /// Something wrong at a line of a file.
    pub fn line(path: impl Into<PathBuf>, line: u64, message: impl Into<String>) -> Self {
        Self::Line { path: path.into(), line, message: message.into() }
    }

    /// The same error with a way out.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self::Hinted { error: Box::new(self), hint: hint.into() }
    }

    /// Whether a signal ended the run.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Hinted { error, .. } => error.interrupted(),
            _ => false,
        }
    }

    /// The way out, where one is known.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        match self {
            Self::Hinted { hint, .. } => Some(hint),
            Self::NotInPlace(error) => error.hint_text(),
            _ => None,
        }
    }
}
