//! Which process it is, so that another can tell whether it is still there.

/// This process: boot, number, and when it began.
pub(crate) fn this() -> (String, u32, u64) {
    let pid = std::process::id();
    (boot(), pid, began(pid).unwrap_or_default())
}

/// Whether that process is still there.
pub(crate) fn is_there((own, pid, start): &(String, u32, u64)) -> bool {
    *own == boot() && began(*pid) == Some(*start)
}

fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// When a process began, in ticks since the machine was started; `None` where it is gone, or only not waited for.
fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let is_dead = matches!(fields.first(), Some(&("Z" | "X")));
    fields.get(19).filter(|_| !is_dead)?.parse().ok()
}
