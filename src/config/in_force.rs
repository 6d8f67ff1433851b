//! The rules in force: those of the config that is given, else of the one in the space, else the defaults.

use std::path::Path;

use super::{CONFIG_FILE, read};
use crate::{
    config::rules::{Compression, Rules},
    error::{Error, Result},
    files::Files,
};

/// Returns the rules of the config `given`, else of the one in the space, else the defaults.
pub fn load(space: &Path, given: Option<&Path>, files: &Files) -> Result<Rules> {
    let found = space.join(CONFIG_FILE);
    let (path, text) = match given {
        Some(path) => {
            let bytes = files.read_if_exists(path)?;
            let missing = || Error::file(path, "no such config file").hint("give one with `--config FILE`");
            (path, Some(bytes.ok_or_else(missing)?))
        }
        None => (found.as_path(), files.read_if_exists(&found)?),
    };
    match text {
        None => Ok(Rules::default()),
        Some(bytes) => read(&bytes, path),
    }
}

/// Returns how a space stores its tables, from the option, else from its config. For jobs that need no other rule.
pub fn compression_of(
    space: &Path,
    given: Option<Compression>,
    files: &Files,
) -> Result<Option<Compression>> {
    let path = space.join(CONFIG_FILE);
    match (given, files.read_if_exists(&path)?) {
        (None, Some(bytes)) => Ok(read(&bytes, &path)?.compress),
        (given, _) => Ok(given),
    }
}
