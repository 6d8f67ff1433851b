//! The flags in `docs/cli.md` are printed from the program's own help.
//!
//! `BLESS=1 cargo test documents::flags` rewrites that part of the page.

use std::{collections::BTreeMap, env, fmt::Write, fs};

use crate::support::{program, project, project_text};

const BEGIN: &str =
    "<!-- The flags, as the help has them: `BLESS=1 cargo test documents::flags` writes them. -->\n";
const END: &str = "<!-- The end of the flags. -->\n";

/// A flag that this many subcommands explain with the same words is explained once.
const SHARED: usize = 4;

/// The help of a subcommand, or of the program itself.
struct Help {
    command: Vec<String>,
    usage: Vec<String>,
    entries: Vec<Entry>,
}

/// A flag or argument.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    flag: String,
    meaning: String,
}

/// Returns the words of every subcommand, in the order of the help. The first is empty: the program itself.
pub(super) fn commands() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    add_subcommands(&[], &mut found);
    found
}

fn add_subcommands(parent: &[String], found: &mut Vec<Vec<String>>) {
    for line in section(&long_help(parent), "Commands") {
        let Some(name) = line.strip_prefix("  ").filter(|line| !line.starts_with(' ')) else { continue };
        let command = [parent, &[name.split(' ').next().unwrap().to_owned()]].concat();
        if section(&long_help(&command), "Commands").is_empty() {
            found.push(command);
        } else {
            add_subcommands(&command, found);
        }
    }
}

/// Returns the long help of a subcommand.
pub(super) fn long_help(command: &[String]) -> String {
    let assert = program().args(command).arg("--help").assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// Returns the lines below a heading of the help, up to the first blank one.
fn section<'a>(help: &'a str, heading: &str) -> Vec<&'a str> {
    let lines = help.lines().skip_while(|line| *line != format!("{heading}:")).skip(1);
    lines.take_while(|line| line.starts_with(' ')).collect()
}

fn read(command: &[String]) -> Help {
    let help = long_help(command);
    let usage =
        help.lines().skip_while(|line| !line.starts_with("Usage: ")).take_while(|line| !line.is_empty());
    let mut entries: Vec<Entry> = Vec::new();
    let headings =
        help.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.strip_suffix(':'));
    for heading in
        headings.filter(|heading| !["Commands", "Memory", "Exit codes", "Examples"].contains(heading))
    {
        entries.extend(entries_below(&help, heading));
    }
    Help {
        command: command.to_vec(),
        usage: usage.map(|line| line.trim_start_matches("Usage: ").trim().to_owned()).collect(),
        entries,
    }
}

/// Returns the flags below a heading, each with the last paragraph of its help, which is the long one if there is one.
fn entries_below(help: &str, heading: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let lines = help.lines().skip_while(|line| *line != format!("{heading}:")).skip(1);
    for line in lines.take_while(|line| line.is_empty() || line.starts_with(' ')) {
        if !line.is_empty() && !line.starts_with("          ") {
            entries.push(Entry { flag: line.trim().to_owned(), meaning: String::new() });
        } else if let Some(entry) = entries.last_mut() {
            let text = line.trim();
            // The help indents a blank line between two paragraphs, but not one between two flags.
            if text.is_empty() && !line.is_empty() {
                entry.meaning.clear();
            } else if !text.is_empty() {
                entry.meaning += if entry.meaning.is_empty() { "" } else { " " };
                entry.meaning += text;
            }
        }
    }
    entries.retain(|entry| !entry.flag.starts_with("-h,"));
    entries
}

/// Returns a text as a cell of a table: flags as code, and bars escaped.
fn cell(text: &str) -> String {
    let mut is_code = false;
    let mut words = Vec::new();
    for word in text.split(' ') {
        let bare = word.trim_end_matches(['.', ',', ';', ':']);
        let is_flag = !is_code && bare.starts_with("--");
        words.push(if is_flag { format!("`{bare}`{}", &word[bare.len()..]) } else { word.to_owned() });
        is_code ^= word.matches('`').count() % 2 == 1;
    }
    words.join(" ").replace('|', r"\|")
}

/// Returns the part of the page that comes from the help.
fn rendered() -> String {
    let helps: Vec<Help> = commands().iter().map(|command| read(command)).collect();
    let mut users: BTreeMap<Entry, Vec<String>> = BTreeMap::new();
    for help in &helps {
        for entry in &help.entries {
            users.entry(entry.clone()).or_default().push(help.command.join(" "));
        }
    }
    let is_shared = |entry: &Entry| SHARED <= users[entry].len();
    let mut page = String::new();
    for help in &helps {
        let name = [&["profiles-sync".to_owned()], &help.command[..]].concat().join(" ");
        let usage: Vec<String> = help.usage.iter().map(|usage| format!("`{usage}`")).collect();
        writeln!(page, "### `{name}`\n\n{}\n", usage.join(", or ")).unwrap();
        page += "| flag | meaning |\n| --- | --- |\n";
        for entry in help.entries.iter().filter(|entry| !is_shared(entry)) {
            writeln!(page, "| `{}` | {} |", entry.flag.replace('|', r"\|"), cell(&entry.meaning)).unwrap();
        }
        page += "\n";
    }
    page += "### Flags of several subcommands\n\n| flag | of | meaning |\n| --- | --- | --- |\n";
    for entry in helps.iter().flat_map(|help| &help.entries) {
        if let Some(of) = users.remove(entry).filter(|of| SHARED <= of.len()) {
            let of: Vec<&str> = of.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
            let of = if of.len() == helps.len() - 1 { "all".to_owned() } else { of.join(", ") };
            writeln!(page, "| `{}` | {of} | {} |", entry.flag, cell(&entry.meaning)).unwrap();
        }
    }
    page
}

#[test]
fn the_page_on_the_command_line_has_the_flags_of_the_help() {
    let page = project_text("docs/cli.md");
    let (before, rest) = page.split_once(BEGIN).expect("docs/cli.md has no mark where the flags begin");
    let (shown, after) = rest.split_once(END).expect("docs/cli.md has no mark where the flags end");
    let expected = format!("\n{}\n", rendered());
    if env::var_os("BLESS").is_some() {
        assert!(env::var_os("CI").is_none(), "BLESS is not allowed in CI");
        #[expect(clippy::disallowed_methods, reason = "a test's own files need no wrapper")]
        fs::write(project("docs/cli.md"), [before, BEGIN, &expected, END, after].concat()).unwrap();
        return;
    }
    assert!(
        shown == expected,
        "the flags in docs/cli.md are not those of the help; run `BLESS=1 cargo test documents::flags` \
         and read the change"
    );
}
