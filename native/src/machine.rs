//! What this machine has: cores, and memory that a session may take.

use std::thread;
use std::time::Duration;
use sysinfo::{MemoryRefreshKind, System};

/// Cores that this process may use, without second hardware threads where the system tells them apart. Matrix
/// products keep a core's units busy with one thread; a second one on the same core mostly waits for the first.
pub fn physical_cores() -> usize {
    let allowed = thread::available_parallelism().map_or(1, usize::from);
    System::physical_core_count().map_or(allowed, |cores| cores.clamp(1, allowed))
}

/// Bytes that can be allocated before the system begins to swap or to end processes; `None` when it does not say.
/// The limit of a container counts where it is the smaller one.
pub fn available_memory() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let machine = Some(system.available_memory()).filter(|&bytes| bytes > 0);
    // What a container may have, less what it cannot give back; cached files do not count.
    let container = system.cgroup_limits().map(|limits| limits.total_memory.saturating_sub(limits.rss));
    match (machine, container) {
        (Some(machine), Some(container)) => Some(machine.min(container)),
        (machine, _) => machine,
    }
}

/// The most memory that this process has had in use at once, mapped files included, in bytes; `None` where the
/// system does not say.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// How long the threads of this process have been running on a core, all together; `None` where the system does not
/// say. Waiting for a core does not count, so that on a busy machine this tells more than a clock.
pub fn cpu_time() -> Option<Duration> {
    let mut nanoseconds: u64 = 0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let path = thread.ok()?.path().join("schedstat");
        let running = std::fs::read_to_string(path).ok()?;
        nanoseconds += running.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_core_and_some_memory() {
        assert!(physical_cores() >= 1);
        assert!(available_memory().is_none_or(|bytes| bytes > 1 << 20));
        assert!(peak_memory().is_none_or(|bytes| bytes > 1 << 20));
        assert!(cpu_time().is_none_or(|time| !time.is_zero()));
    }
}
