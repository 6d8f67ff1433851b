//! `--generate`: the man page and the completions, all from the description of the arguments.

use std::io::Write;

use anyhow::Result;
use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::{
    args::{self, Generate},
    console::Console,
};

/// Writes what was asked for to the standard output.
pub(crate) fn run(kind: Generate, console: &Console) -> Result<()> {
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
        }
    }
    Ok(console.data(&out)?)
}

/// One page for everything: the sections of each subcommand's own page follow as subsections.
fn man(command: Command, out: &mut Vec<u8>) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    Man::new(command.clone()).render(out)?;
    for subcommand in command.get_subcommands() {
        let page = Man::new(subcommand.clone());
        let mut sections = Vec::new();
        page.render_synopsis_section(&mut sections)?;
        page.render_description_section(&mut sections)?;
        page.render_options_section(&mut sections)?;
        page.render_extra_section(&mut sections)?;
        writeln!(out, ".SH \"{}\"", subcommand.get_name().to_uppercase())?;
        let sections = String::from_utf8_lossy(&sections);
        for line in sections.lines() {
            match line.strip_prefix(".SH ") {
                Some(title) => writeln!(out, ".SS {title}")?,
                None => writeln!(out, "{line}")?,
            }
        }
    }
    Ok(())
}
