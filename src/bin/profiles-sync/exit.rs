//! Exit codes, and the error and hint of a failed run.

use std::{io::ErrorKind, process::ExitCode};

use profiles_sync::error::Error;
use serde::Serialize;

use crate::signals;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success.
    Done,
    /// Success, but `--verify` found problems or `diff` found differences.
    No,
    /// Failure; nothing was committed, unless the error lists what was.
    Failed,
    /// A signal asked it to stop.
    Interrupted,
}

impl Exit {
    /// Returns the exit code. The help and the docs list the same codes.
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Failed => 2,
            Self::Interrupted => signals::exit_code(),
        })
    }
}

/// An error and a hint, as printed.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) error: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// Returns the exit status and the message of an error.
    pub(crate) fn of(error: &anyhow::Error) -> (Exit, Self) {
        let hint = library_errors(error).find_map(Error::hint_text).or_else(|| io_hint(error));
        let hint = hint.map(ToOwned::to_owned);
        if library_errors(error).any(Error::is_interrupted) {
            // Only the outermost message knows what was committed.
            (Exit::Interrupted, Self { error: error.to_string(), hint })
        } else {
            (Exit::Failed, Self { error: chain(error), hint })
        }
    }
}

/// Returns the library's errors in a chain of causes, outermost first.
fn library_errors(error: &anyhow::Error) -> impl Iterator<Item = &Error> {
    error.chain().filter_map(|cause| cause.downcast_ref())
}

/// Returns a hint for an operating system error that has none from the library.
fn io_hint(error: &anyhow::Error) -> Option<&'static str> {
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>())?;
    match cause.kind() {
        ErrorKind::NotFound => Some("check the spelling of the path"),
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => Some("check which path component is a file"),
        ErrorKind::PermissionDenied => Some("run as a user who may do this, or choose another path"),
        ErrorKind::ReadOnlyFilesystem => Some("choose a path on a disk that can be written to"),
        ErrorKind::FileTooLarge => {
            Some("allow larger files with `ulimit -f`, or choose a disk whose file system does")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("free some disk space and run it again"),
        // `ErrorKind` has no variants for these. The numbers are the same on every Unix: too many open files, in the
        // system or in the process.
        _ if matches!(cause.raw_os_error(), Some(23 | 24)) => {
            Some("allow more open files with `ulimit -n`, such as 1024")
        }
        _ => None,
    }
}

/// Joins the messages of a chain of causes with `: `. An error that only wraps another repeats its message, which is
/// then left out.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let message = cause.to_string();
        if text.is_empty() {
            text = message;
        } else if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_chain_says_nothing_twice() {
        let cause = io::Error::new(ErrorKind::NotFound, "no such file");
        let error = anyhow::Error::from(Error::io("open", "a.ndjson", cause).hint("check the path"));
        assert_eq!(chain(&error), "could not open `a.ndjson`: no such file");
        assert_eq!(library_errors(&error).find_map(Error::hint_text), Some("check the path"));
    }
}
