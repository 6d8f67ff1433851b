//! Writes a made-up dump of events to the standard output; the same flags give the same bytes on every machine.

// By path, so that its own modules are found from here as from the tests.
#[path = "dump.rs"]
mod dump;

use std::{
    env,
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use dump::Knobs;

const USAGE: &str = "\
usage: generate [--events N] [--seed N] [--days N] [--malformed PERCENT] [--changes PERCENT]

  --events N           about so many events (300)
  --seed N             another seed, another dump (1)
  --days N             spread over so many days (60)
  --malformed PERCENT  so many lines that are no usable event (0)
  --changes PERCENT    so many events in which people change their traits (0)";

fn main() -> ExitCode {
    let Some(knobs) = knobs() else {
        let _ = writeln!(io::stderr(), "{USAGE}");
        return ExitCode::from(2);
    };
    let mut out = BufWriter::new(io::stdout().lock());
    match dump::write(knobs, &mut out).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: could not write the dump: {error}");
            ExitCode::from(2)
        }
    }
}

fn knobs() -> Option<Knobs> {
    let mut knobs = Knobs { events: 300, seed: 1, days: 60, malformed: 0.0, changes: 0.0 };
    let mut arguments = env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next()?;
        match flag.as_str() {
            "--events" => knobs.events = value.parse().ok()?,
            "--seed" => knobs.seed = value.parse().ok()?,
            "--days" => knobs.days = value.parse().ok()?,
            "--malformed" => knobs.malformed = value.parse().ok()?,
            "--changes" => knobs.changes = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(knobs)
}
