//! What the operating system knows of this process.

/// Bytes of memory that the process has resident; 0 when the system does not tell. Reads a file.
pub(crate) fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Microseconds of processor time that the process has used.
pub(crate) fn cpu_us() -> u64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(used.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(used.tv_nsec).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_uses_memory_and_time() {
        assert!(super::resident_bytes() > 0);
        assert!(super::cpu_us() > 0);
    }
}
