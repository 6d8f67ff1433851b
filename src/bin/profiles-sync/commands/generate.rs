//! `--generate`: prints the man page or completions, both generated from the description of the arguments.

use std::io::Write;

use anyhow::Result;
use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::{
    args::{self, Generate},
    console::Console,
    exit::Exit,
};

/// Writes the requested text to the standard output.
pub(crate) fn run(kind: Generate, console: &Console) -> Result<Exit> {
    let mut out = Vec::new();
    let shell = match kind {
        Generate::Man => None,
        Generate::Bash => Some(Shell::Bash),
        Generate::Zsh => Some(Shell::Zsh),
        Generate::Fish => Some(Shell::Fish),
    };
    let mut command = args::command();
    match shell {
        None => man(command, &mut out)?,
        Some(shell) => {
            let name = command.get_name().to_owned();
            generate(shell, &mut command, name, &mut out);
            if shell == Shell::Bash {
                out = repair_bash(&String::from_utf8(out)?).into_bytes();
            }
        }
    }
    console.data("the text", &out)?;
    Ok(Exit::Done)
}

/// Repairs the bash completions. The generator spells the program's name, which has a hyphen, in two ways: one where it
/// records the typed subcommand, another where it looks it up. Without the repair nothing is completed after a
/// subcommand.
fn repair_bash(script: &str) -> String {
    script.replace("profiles__subcmd__sync", "profiles__sync")
}

/// Writes one man page for the whole program, with a section per subcommand instead of a page per subcommand.
fn man(command: Command, out: &mut Vec<u8>) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    push_sections(out, &page, ".SH")?;
    for subcommand in command.get_subcommands() {
        writeln!(out, ".SH {}", subcommand.get_name().to_uppercase())?;
        push_sections(out, &Man::new(subcommand.clone()), ".SS")?;
        for inner in subcommand.get_subcommands() {
            let title = format!("{} {}", subcommand.get_name(), inner.get_name()).to_uppercase();
            writeln!(out, ".SH {title}")?;
            push_sections(out, &Man::new(inner.clone()), ".SS")?;
        }
    }
    Ok(())
}

/// Appends the sections of a command's page, with headings of this level.
fn push_sections(out: &mut Vec<u8>, page: &Man, level: &str) -> Result<()> {
    let mut sections = Vec::new();
    page.render_synopsis_section(&mut sections)?;
    page.render_description_section(&mut sections)?;
    page.render_options_section(&mut sections)?;
    page.render_extra_section(&mut sections)?;
    for line in String::from_utf8_lossy(&sections).lines() {
        match line.strip_prefix(".SH ") {
            Some("EXTRA") => writeln!(out, "{level} NOTES")?,
            Some(title) => writeln!(out, "{level} {title}")?,
            None => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}
