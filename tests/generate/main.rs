//! Writes a generated dump of events to standard output. The same flags give the same bytes on every machine.

// Declared by path, because the tests include the same module.
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

  --events N           approximate number of events (300)
  --seed N             seed of the random numbers (1)
  --days N             number of days that the dump covers (60)
  --malformed PERCENT  share of lines that are not usable events (0)
  --changes PERCENT    share of events in which people change their traits (0)";

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
