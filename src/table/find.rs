//! Finds the files of raw tables. All tables are in one folder, and each is a file or a folder of files.
//!
//! A table is `TABLE.ndjson`, `.json` or `.jsonl`, optionally with `.gz` or `.zst`, or a folder `TABLE` that contains
//! such files at any depth, read in path order. Names are compared case-insensitively. Hidden files are skipped, and
//! within a table's folder also names that begin with `_`, which writers use as completion markers. A file with the
//! name of a table and any other extension (`TABLE.csv`, `TABLE.parquet`) is an error: otherwise nobody would notice
//! that its rows are missing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    config::rules::Compression,
    error::{Error, Result},
};

/// Returns the path of a table file in a space, with the extension for its compression.
#[must_use]
pub fn file_of(folder: &Path, table: &str, compression: Compression) -> PathBuf {
    folder.join(match compression {
        Compression::None => format!("{table}.ndjson"),
        Compression::Zstd => format!("{table}.ndjson.zst"),
    })
}

/// Returns the existing file of a table, or `None`. Prefers the compressed file if both exist.
#[must_use]
pub fn existing_file(folder: &Path, table: &str) -> Option<PathBuf> {
    let files = [Compression::Zstd, Compression::None].map(|stored| file_of(folder, table, stored));
    files.into_iter().find(|path| path.is_file())
}

/// Returns the table of a file name and its compression, or `None` if this program writes no such file.
#[must_use]
pub fn table_of(name: &str) -> Option<(&str, Compression)> {
    let packed = name.strip_suffix(".ndjson.zst").map(|table| (table, Compression::Zstd));
    packed.or_else(|| Some((name.strip_suffix(".ndjson")?, Compression::None)))
}

/// A file of a raw table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTableFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Number of bytes of its content, after decompression, that are committed. `None` means all of it.
    pub committed: Option<u64>,
}

/// A raw table and its files, in the order in which their rows are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTable {
    /// One of the names in [`crate::view::RAW_TABLES`].
    pub name: &'static str,
    /// Its files. A table without files has no rows.
    pub files: Vec<RawTableFile>,
}

/// Returns the names of all tables in a folder, lower-cased and sorted.
pub fn table_names(folder: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> =
        list(folder)?.iter().filter_map(|path| stem(path)).map(str::to_ascii_lowercase).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Returns the names of files that hold tables in a format that is not supported, sorted.
pub fn unread_files(folder: &Path) -> Result<Vec<String>> {
    let entries = list(folder)?;
    let unread = entries.iter().filter(|path| stem(path).is_none());
    let names = unread.filter_map(|path| path.file_name()?.to_str());
    let of_table = |name: &&str| {
        let name = strip_extension(name, &["gz", "zst", "snappy", "bz2"]).unwrap_or(name);
        strip_extension(name, &["csv", "tsv", "parquet", "avro", "orc"]).is_some()
    };
    Ok(names.filter(of_table).map(str::to_owned).collect())
}

/// Finds the raw tables with these names in a folder. Missing ones are left out.
pub fn raw_tables(folder: &Path, names: &[&'static str]) -> Result<Vec<RawTable>> {
    let entries = list(folder)?;
    let mut tables = Vec::new();
    for &name in names {
        tables.extend(table_files_among(&entries, name)?.map(|parts| RawTable { name, files: parts }));
    }
    Ok(tables)
}

/// Finds the files of one table in a folder. Returns `None` if the table is missing.
pub fn table_files(folder: &Path, name: &str) -> Result<Option<Vec<RawTableFile>>> {
    table_files_among(&list(folder)?, name)
}

fn table_files_among(entries: &[PathBuf], name: &str) -> Result<Option<Vec<RawTableFile>>> {
    let mut parts = Vec::new();
    let mut found = false;
    for path in entries {
        if !stem(path).is_some_and(|stem| stem.eq_ignore_ascii_case(name)) {
            if is_unsupported_format(path, name) {
                let error = format!("holds the table `{name}` in a format that is not supported");
                return Err(Error::file(path, error).hint(
                    "export the table as JSON, one object per line, to `TABLE.ndjson`, `.json` or `.jsonl`, optionally with `.gz` or `.zst`; or move the file out of the folder",
                ));
            }
            continue;
        }
        found = true;
        if path.is_dir() { files_below(path, &mut parts)? } else { parts.push(path.clone()) }
    }
    if let Some(pair) = parts.windows(2).find(|pair| is_compressed_form(&pair[0], &pair[1])) {
        return Err(Error::file(
            &pair[1],
            format!("holds the table `{name}`, but so does `{}`", pair[0].display()),
        )
        .hint("leave one of the two in the folder"));
    }
    let parts = parts.into_iter().map(|path| RawTableFile { path, committed: None }).collect();
    Ok(found.then_some(parts))
}

/// Returns the entries of a folder in path order, without hidden ones.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok(paths)
    };
    read().map_err(|e| Error::io("list the folder", folder, e))
}

/// Returns the name of a folder, or of a table file without its extensions. Returns `None` for other files.
fn stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    if path.is_dir() {
        return Some(name);
    }
    let name = strip_extension(name, &["gz", "zst"]).unwrap_or(name);
    strip_extension(name, &["ndjson", "json", "jsonl"])
}

/// Returns whether a file has the name of a table but an extension that is not supported.
fn is_unsupported_format(path: &Path, table: &str) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    // A `.tmp` file is a table being replaced, written beside the old one.
    stem.eq_ignore_ascii_case(table) && strip_extension(name, &["tmp"]).is_none()
}

/// Returns whether `packed` is the name of `plain` with a compression extension.
fn is_compressed_form(plain: &Path, packed: &Path) -> bool {
    let [plain, packed] = [plain, packed].map(|path| path.to_str().unwrap_or_default());
    strip_extension(packed, &["gz", "zst"]) == Some(plain)
}

fn strip_extension<'a>(name: &'a str, extensions: &[&str]) -> Option<&'a str> {
    let (stem, extension) = name.rsplit_once('.')?;
    extensions.iter().any(|known| known.eq_ignore_ascii_case(extension)).then_some(stem)
}

fn files_below(folder: &Path, parts: &mut Vec<PathBuf>) -> Result<()> {
    for path in list(folder)? {
        if path.file_name().unwrap_or_default().as_encoded_bytes().starts_with(b"_") {
            continue;
        }
        if path.is_dir() {
            files_below(&path, parts)?;
        } else if stem(&path).is_some() {
            parts.push(path);
        } else {
            return Err(Error::file(path, "is in a table's folder, but is not named like a table file").hint(
                "rename it to end in `.ndjson`, `.json` or `.jsonl`, optionally with `.gz` or `.zst`, or move it out",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Files;

    fn check(files: &[&str], expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            Files::real().create_folder(path.parent().unwrap()).unwrap();
            Files::real().create(&path).unwrap();
        }
        let tables = raw_tables(folder.path(), &["id_graph_updates"]).unwrap();
        let parts = tables.iter().flat_map(|table| &table.files);
        let found: Vec<_> =
            parts.map(|part| part.path.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_table_is_a_file_in_any_of_its_spellings() {
        check(&["id_graph_updates.ndjson", "other.ndjson"], &["id_graph_updates.ndjson"]);
        check(&["ID_GRAPH_UPDATES.JSON.GZ"], &["ID_GRAPH_UPDATES.JSON.GZ"]);
        check(&["Id_Graph_Updates.jsonl.zst"], &["Id_Graph_Updates.jsonl.zst"]);
        check(&["users.csv", ".id_graph_updates.ndjson", "id_graph_updates.ndjson.tmp"], &[]);
    }

    #[test]
    fn a_table_in_another_form_is_named_also_beside_one_that_is_read() {
        for name in [
            "id_graph_updates.csv",
            "ID_GRAPH_UPDATES.snappy.parquet",
            "id_graph_updates",
            "id_graph_updates.csv.gz",
        ] {
            for other in ["users.ndjson", "id_graph_updates.ndjson"] {
                let folder = tempfile::tempdir().unwrap();
                for file in [name, other] {
                    Files::real().create(&folder.path().join(file)).unwrap();
                }
                let error = raw_tables(folder.path(), &["id_graph_updates"]).unwrap_err().to_string();
                assert!(error.contains(&format!("{name}`: holds the table `id_graph_updates`")), "{error}");
            }
        }
    }

    #[test]
    fn a_folder_is_read_in_path_order_without_hidden_and_foreign_files() {
        check(
            &[
                "Id_Graph_Updates/b.json",
                "Id_Graph_Updates/a/2.ndjson.gz",
                "Id_Graph_Updates/a/10.ndjson",
                "Id_Graph_Updates/.a.json",
                "Id_Graph_Updates/_SUCCESS",
                "Id_Graph_Updates/_temporary/0.json",
                "Id_Graph_Updates/_log/0",
            ],
            &["Id_Graph_Updates/a/10.ndjson", "Id_Graph_Updates/a/2.ndjson.gz", "Id_Graph_Updates/b.json"],
        );
    }

    #[test]
    fn no_file_of_a_folder_is_lost_for_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("id_graph_updates");
        Files::real().create_folder(&table).unwrap();
        for name in ["1.json", "part-00000"] {
            Files::real().create(&table.join(name)).unwrap();
        }
        let error = raw_tables(folder.path(), &["id_graph_updates"]).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("part-00000`: is in a table's folder, but is not named like a table file")
        );
    }
}
