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

/// Whether a signal came, and the number of the last one.
static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// From here on the first signal is only noted.
pub(crate) fn watch() -> io::Result<()> {
    // A file larger than the limit is an error of the write then, which has a path and a hint.
    flag::register(SIGXFSZ, Arc::default())?;
    let hangup = hangup_counts().then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        // Registered first, so that it sees the flag as the signal before left it.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&ASKED))?;
        flag::register_usize(signal, Arc::clone(&SIGNAL), usize::try_from(signal).unwrap_or_default())?;
        flag::register(signal, Arc::clone(&ASKED))?;
    }
    Ok(())
}

/// Whether a terminal that goes away ends the run: not behind `nohup`, which has the program ignore it. Where the system does
/// not say, the signal keeps its usual effect, which ends the process at once.
fn hangup_counts() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|signals| signals & (1 << (SIGHUP - 1)) == 0)
}

/// Whether a signal asked the run to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// 128 and the number of the signal, as a shell would say it.
pub(crate) fn exit_code() -> u8 {
    u8::try_from(128 + SIGNAL.load(Ordering::Relaxed)).unwrap_or(u8::MAX)
}
