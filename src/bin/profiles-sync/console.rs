//! The only module that writes to the standard output and the standard error.
//!
//! The standard output carries data that other programs may read; the standard error carries messages. Messages make
//! sense without colour, and only the progress bar needs a terminal.

use std::{
    env,
    io::{self, ErrorKind, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use profiles_sync::{escape::escaped, progress::Progress};

use crate::{
    args::{Colour, LowArgs},
    report::TextReport,
    signals,
};

/// Draws per second. More would slow down a slow terminal and show nothing new.
const DRAWS: u8 = 10;
const BAR: &str = "{msg:<14} [{wide_bar}] {decimal_bytes} of {decimal_total_bytes}, \
    {decimal_bytes_per_sec}, {eta} left";
const BAR_WITHOUT_END: &str = "{msg:<14} {decimal_bytes} in {elapsed}";

/// Prints messages and data, as the message flags and the terminal allow.
pub(crate) struct Console {
    quiet: bool,
    draws: bool,
    colour: bool,
    colours_typed: Colour,
    bar: Mutex<Option<ProgressBar>>,
    warnings: Mutex<Vec<String>>,
}

impl Console {
    /// Decides on colour and the progress bar once, for the whole run.
    pub(crate) fn new(args: &LowArgs) -> Self {
        let terminal = io::stderr().is_terminal();
        let messages = args.command.messages();
        // Data and a bar on the same terminal would garble each other.
        let data_on_terminal = (messages.json || args.command.streams_data()) && io::stdout().is_terminal();
        Self {
            quiet: messages.quiet,
            draws: terminal && !messages.quiet && !data_on_terminal,
            colour: colours(args.color, terminal),
            colours_typed: args.color,
            bar: Mutex::new(None),
            warnings: Mutex::default(),
        }
    }

    /// Returns whether to colour data for people.
    pub(crate) fn colours_data(&self) -> bool {
        colours(self.colours_typed, io::stdout().is_terminal())
    }

    /// Writes data; `what` describes it in the error.
    pub(crate) fn data(&self, what: &str, bytes: &[u8]) -> Result<()> {
        self.write_if_read(bytes).with_context(|| format!("could not write {what} to the standard output"))
    }

    /// Writes data. A closed pipe is not an error, because the result of the run is still valid.
    pub(crate) fn write_if_read(&self, bytes: &[u8]) -> io::Result<()> {
        match self.write_all(bytes) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// Writes data that the reader must receive in full: a closed pipe is an error.
    pub(crate) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.end_step();
        write_data(bytes)
    }

    /// Prints a report, except with `--quiet`.
    pub(crate) fn report(&self, report: &TextReport) {
        if !self.quiet {
            self.write(&report.text());
        }
    }

    /// Prints a report, even with `--quiet`.
    pub(crate) fn report_always(&self, report: &TextReport) {
        self.write(&report.text());
    }

    /// Prints an error and a hint.
    pub(crate) fn error(&self, message: &str, hint: Option<&str>) {
        self.end_step();
        self.write_line("error:", "1;31", message);
        if let Some(hint) = hint {
            self.write_line("hint:", "1;36", hint);
        }
    }

    /// Returns the warnings so far, including those that `--quiet` hides.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes the progress bar.
    pub(crate) fn end_step(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn warn(&self, text: &str, also_if_quiet: bool) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        if also_if_quiet || !self.quiet {
            self.write_line("warning:", "1;33", text);
        }
    }

    /// Prints one line. Text from inputs is escaped here, so that no caller can forget it.
    fn write_line(&self, label: &str, code: &str, text: &str) {
        self.write(&format!("{} {}", self.paint(label, code), escaped(text)));
    }

    fn write(&self, text: &str) {
        let write = || {
            // An error here has nowhere to be reported.
            let _ = writeln!(io::stderr().lock(), "{text}");
        };
        match &*self.bar() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes to the standard output and flushes it.
pub(crate) fn write_data(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Decides on colour: the flag, then `TERM` and `NO_COLOR`, then whether the stream is a terminal.
fn colours(typed: Colour, terminal: bool) -> bool {
    match typed {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => {
            let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
            terminal && !is_dumb && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}

impl Progress for Console {
    fn start(&self, step: &str, bytes: Option<u64>) {
        self.end_step();
        if self.draws {
            let template = if bytes.is_some() { BAR } else { BAR_WITHOUT_END };
            let style = ProgressStyle::with_template(template)
                .expect("the template is a constant")
                .progress_chars("=> ");
            let target = ProgressDrawTarget::stderr_with_hz(DRAWS);
            let bar = ProgressBar::with_draw_target(bytes, target).with_style(style);
            bar.set_message(escaped(step).into_owned());
            bar.tick();
            *self.bar() = Some(bar);
        }
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.bar() {
            bar.inc(bytes);
        }
    }

    fn notice(&self, text: &str) {
        if !self.quiet {
            self.write_line("note:", "1", text);
        }
    }

    fn minor_warning(&self, text: &str) {
        self.warn(text, false);
    }

    fn warning(&self, text: &str) {
        self.warn(text, true);
    }

    fn interrupted(&self) -> bool {
        signals::asked()
    }
}
