//! Reports command lines that could not be parsed.

use std::{env, ffi::OsString};

use crate::{
    console,
    exit::{Exit, Failure},
    record::JsonRecord,
};

/// The subcommands, by the words that select them.
const COMMANDS: [&str; 8] = [
    "ingest",
    "materialize",
    "backfill profiles",
    "backfill events",
    "backfill raw",
    "diff",
    "explain",
    "schema",
];

/// Prints the parser's error, or the help that was requested. With `--json` it also prints the object.
pub(crate) fn report(error: &clap::Error) -> Exit {
    // An error here has nowhere to be reported.
    let _ = error.print();
    if !error.use_stderr() {
        return Exit::Done;
    }
    let typed: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<&str> =
        typed.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--").collect();
    if wants_json(&words) {
        let name = command_of(&words);
        let failure = failure(&error.render().to_string(), name);
        if let Ok(line) = JsonRecord::of_usage(name).line(Vec::new(), Some(&failure)) {
            let _ = console::write_data(&line);
        }
    }
    Exit::Failed
}

/// Returns whether the last of the flags asks for JSON, as `--json` or as `--format json`.
fn wants_json(words: &[&str]) -> bool {
    let mut wants = false;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "--json" | "--format=json" => wants = true,
            "--no-json" => wants = false,
            "--format" => wants = words.get(at + 1) == Some(&"json"),
            _ => {}
        }
    }
    wants
}

/// Returns the subcommand that was typed, or an empty string.
fn command_of(words: &[&str]) -> &'static str {
    let typed = |name: &&str| name.split(' ').all(|part| words.contains(&part));
    COMMANDS.into_iter().find(typed).unwrap_or_default()
}

/// Extracts the error and the tips from the parser's output.
fn failure(printed: &str, name: &str) -> Failure {
    let mut blocks = printed.split("\n\n");
    let error = blocks.next().unwrap_or_default().trim_start_matches("error: ");
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let tips: Vec<String> = blocks
        .flat_map(str::lines)
        .filter_map(|line| line.trim_start().strip_prefix("tip: "))
        .map(one_line)
        .collect();
    let hint = if tips.is_empty() {
        one_line(&format!("run `profiles-sync {name} --help`"))
    } else {
        tips.join("; ")
    };
    Failure { error: one_line(error), hint: Some(hint) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_the_parser_becomes_one_line() {
        let printed = "error: the following required arguments were not provided:\n  --space <DIR>\n\n  \
            tip: give one\n\nUsage: profiles-sync ingest\n\nFor more information, try '--help'.\n";
        let Failure { error, hint } = failure(printed, "ingest");
        assert_eq!(error, "the following required arguments were not provided: --space <DIR>");
        assert_eq!(hint.as_deref(), Some("give one"));
        assert_eq!(failure("error: x\n", "").hint.as_deref(), Some("run `profiles-sync --help`"));
    }

    #[test]
    fn the_last_word_on_json_counts() {
        for (words, expected) in [
            (&["ingest", "--json"][..], true),
            (&["ingest", "--json", "--no-json"], false),
            (&["diff", "--format", "json"], true),
            (&["diff", "--format", "people"], false),
        ] {
            assert_eq!(wants_json(words), expected, "{words:?}");
        }
        assert_eq!(command_of(&["backfill", "--x", "raw"]), "backfill raw");
        assert_eq!(command_of(&["resolve"]), "");
    }
}
