//! What one call may use.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// Limits of one call of one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall time. Default: 200 ms. A good call takes well under 1 ms; but a cgroup's CPU quota may stop the host's thread for the
    /// rest of a period (100 ms), and that must not look like a fault of the module. Granularity: 10 ms.
    pub deadline: Duration,
    /// Linear memory, bytes. Default: 64 MiB, which is also the most that an engine with default options has room for.
    pub memory: usize,
    /// Elements of tables. Default: 20,000.
    pub table_elements: usize,
    /// What the module hands to the host in one call, bytes as the host holds them: the list, an argument of an import.
    /// Default: 4 MiB, some 5,000 load-balancer members.
    pub output: usize,
    /// Fuel, roughly one unit an instruction: a limit that does not depend on the machine. Default: none. Needs
    /// [`crate::EngineOptions::count_fuel`].
    pub fuel: Option<u64>,
    /// Log lines that are kept. Default: 64.
    pub log_lines: usize,
    /// Bytes of all log lines that are kept. Default: 16 KiB.
    pub log_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(200),
            memory: 64 << 20,
            table_elements: 20_000,
            output: 4 << 20,
            fuel: None,
            log_lines: 64,
            log_bytes: 16 << 10,
        }
    }
}

/// Holds memory and tables under their limits, and remembers whether it had to.
#[derive(Debug)]
pub(crate) struct Meter {
    memory: usize,
    table_elements: usize,
    /// Most linear memory that was granted, bytes.
    pub(crate) granted: usize,
    /// Whether memory was refused.
    pub(crate) refused: bool,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory: limits.memory, table_elements: limits.table_elements, granted: 0, refused: false }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.memory && maximum.is_none_or(|m| desired <= m);
        self.refused |= !fits;
        if fits {
            self.granted = self.granted.max(desired);
        }
        Ok(fits)
    }

    /// The pool has no more room than the limit says.
    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements && maximum.is_none_or(|m| desired <= m))
    }
}
