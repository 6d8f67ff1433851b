//! Ctrl-C, SIGTERM and SIGHUP: the first asks the run to stop before its commit, the second ends the process at once.

use std::{
    fs, io,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    flag,
};

/// Whether a signal has arrived, and below it the number of the last one.
static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// Installs the signal handlers. From now on the first signal only sets a flag.
pub(crate) fn watch() -> io::Result<()> {
    // Exceeding the file size limit then fails the write, with a path and a hint, instead of killing the process.
    flag::register(SIGXFSZ, Arc::default())?;
    let hangup = hangup_stops().then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        // This handler must come first: it ends the process if an earlier signal has already set the flag.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&ASKED))?;
        flag::register_usize(signal, Arc::clone(&SIGNAL), usize::try_from(signal).unwrap_or_default())?;
        flag::register(signal, Arc::clone(&ASKED))?;
    }
    Ok(())
}

/// Returns whether SIGHUP should stop the run. It should not under `nohup`, which makes the process ignore the signal.
/// If the system cannot report that, this is `false` and SIGHUP keeps its default effect, which ends the process at
/// once.
fn hangup_stops() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|signals| signals & (1 << (SIGHUP - 1)) == 0)
}

/// Returns whether a signal has asked the run to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Returns 128 plus the number of the signal, as shells do.
pub(crate) fn exit_code() -> u8 {
    u8::try_from(128 + SIGNAL.load(Ordering::Relaxed)).unwrap_or(u8::MAX)
}
