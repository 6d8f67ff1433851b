//! The only owner of the standard output and the standard error.
//!
//! The standard output is data that someone may pipe on; the standard error is talk. Everything reads without
//! colour, and nothing but a progress bar needs a terminal.

use std::{
    env,
    io::{self, ErrorKind, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use profiles_sync::progress::Progress;

use crate::{
    args::{Colour, LowArgs},
    signals,
};

/// Draws a second; more would cost a slow terminal more than they tell.
const DRAWS: u8 = 10;
const BAR: &str = "{msg:<14} [{wide_bar}] {decimal_bytes} of {decimal_total_bytes}, \
    {decimal_bytes_per_sec}, {eta} left";
const BAR_WITHOUT_END: &str = "{msg:<14} {decimal_bytes} in {elapsed}";

/// What may be said, where, and in which colours.
pub(crate) struct Console {
    quiet: bool,
    draws: bool,
    colour: bool,
    colours_typed: Colour,
    bar: Mutex<Option<ProgressBar>>,
}

impl Console {
    /// Decides once for the whole run.
    pub(crate) fn new(args: &LowArgs) -> Self {
        let terminal = io::stderr().is_terminal();
        let messages = args.command.messages();
        // Data and a bar on one terminal would tear each other.
        let data_on_terminal = (messages.json || args.command.writes_data()) && io::stdout().is_terminal();
        Self {
            quiet: messages.quiet,
            draws: terminal && !messages.quiet && !data_on_terminal,
            colour: colours(args.color, terminal),
            colours_typed: args.color,
            bar: Mutex::new(None),
        }
    }

    /// Whether data that people read may have colours.
    pub(crate) fn colours_data(&self) -> bool {
        colours(self.colours_typed, io::stdout().is_terminal())
    }

    /// Writes data, called `what` where that fails.
    pub(crate) fn data(&self, what: &str, bytes: &[u8]) -> Result<()> {
        self.offer(bytes).with_context(|| format!("could not write {what} to the standard output"))
    }

    /// Writes data. A reader that had enough is no failure: what the run found out stays the answer.
    pub(crate) fn offer(&self, bytes: &[u8]) -> io::Result<()> {
        match self.stream(bytes) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// Writes data that the reader must take to its end.
    pub(crate) fn stream(&self, bytes: &[u8]) -> io::Result<()> {
        self.end_step();
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Says something that is not needed when all goes well.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            self.write(text);
        }
    }

    /// Says something that is needed also where nothing else is said.
    pub(crate) fn warn(&self, text: &str) {
        self.write(text);
    }

    /// Says what went wrong and what to do about it.
    pub(crate) fn error(&self, message: &str, hint: Option<&str>) {
        self.end_step();
        self.write(&format!("{} {message}", self.paint("error:", "1;31")));
        if let Some(hint) = hint {
            self.write(&format!("{} {hint}", self.paint("hint:", "1;36")));
        }
    }

    /// Takes the bar away, so that what follows stands alone.
    pub(crate) fn end_step(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn write(&self, text: &str) {
        let write = || {
            // There is nobody left to tell when this fails.
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

/// Whether a stream gets colours: as typed, else where it is a terminal and nobody objects.
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
            bar.set_message(step.to_owned());
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
        self.say(&format!("{} {text}", self.paint("note:", "1")));
    }

    fn warning(&self, text: &str) {
        self.write(&format!("{} {text}", self.paint("warning:", "1;33")));
    }

    fn interrupted(&self) -> bool {
        signals::asked()
    }
}
