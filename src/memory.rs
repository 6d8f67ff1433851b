//! How much memory a run may take.

/// Returns half of the memory of the machine or of the process's control group, at most 4 GiB.
#[must_use]
pub fn default_memory() -> u64 {
    const MOST: u64 = 4 << 30;
    let number = |text: &str| -> Option<u64> { text.trim().parse().ok() };
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(number(line.trim().strip_suffix("kB")?)? * 1024)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| number(&text));
    [machine, group].into_iter().flatten().min().map_or(MOST / 2, |most| (most / 2).min(MOST))
}
