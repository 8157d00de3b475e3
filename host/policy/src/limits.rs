//! What one call may use.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// Most linear memory of an instance, bytes: what the pool of an engine with default options has room for.
pub const MAX_MEMORY: usize = 64 << 20;
/// Most elements of a table, likewise.
pub const MAX_TABLE_ELEMENTS: usize = 20_000;
/// Most bytes of a component, unpacked, that an engine with default options takes.
pub const MAX_COMPONENT_BYTES: usize = 16 << 20;

/// Limits of one call of one module. Its default is the one place of defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall time. Default: 200 ms. A good call takes well under 1 ms; but a cgroup's CPU quota may stop the host's thread for the
    /// rest of a period (100 ms), and that must not look like a fault of the module. Granularity: 10 ms.
    pub deadline: Duration,
    /// Linear memory, bytes. Default: [`MAX_MEMORY`], 64 MiB.
    pub memory: usize,
    /// Elements of tables. Default: [`MAX_TABLE_ELEMENTS`], 20,000.
    pub table_elements: usize,
    /// What the module hands to the host in one call, bytes as the host holds them: the list, an argument of an import.
    /// Default: 4 MiB, some 5,000 load-balancer members.
    pub output: usize,
    /// Fuel, roughly one unit an instruction: a limit that does not depend on the machine. Default: none. Needs a module of an
    /// engine that counts it: [`crate::Engine::counting_fuel`].
    pub fuel: Option<u64>,
    /// Different reads of the snapshot: all of them are kept, to know what wakes the subject. Default: 10,000.
    pub reads: usize,
    /// Bytes of the names and selectors of these reads. Default: 1 MiB.
    pub read_bytes: usize,
    /// Bytes of an object in a list of all namespaces: longer ones are left out, so that one tenant's objects do not use up memory
    /// and time of a call for another's. Default: 32 KiB.
    pub listed: usize,
    /// Log lines that are kept. Default: 64.
    pub log_lines: usize,
    /// Bytes of all log lines that are kept. Default: 16 KiB.
    pub log_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(200),
            memory: MAX_MEMORY,
            table_elements: MAX_TABLE_ELEMENTS,
            output: 4 << 20,
            fuel: None,
            reads: 10_000,
            read_bytes: 1 << 20,
            listed: 32 << 10,
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
    /// What was refused last.
    pub(crate) refused: Option<Refused>,
}

/// What a module asked for and did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Memory,
    Table,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory: limits.memory, table_elements: limits.table_elements, granted: 0, refused: None }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.memory && maximum.is_none_or(|m| desired <= m);
        match fits {
            true => self.granted = self.granted.max(desired),
            false => self.refused = Some(Refused::Memory),
        }
        Ok(fits)
    }

    /// The pool has no more room than the limit says.
    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some(Refused::Memory);
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.table_elements && maximum.is_none_or(|m| desired <= m);
        if !fits {
            self.refused = Some(Refused::Table);
        }
        Ok(fits)
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    /// `(module (table 1 funcref) (func (export "grow") (result i32) (table.grow 0 (ref.null func) (i32.const 100))))`
    const GROWS: &[u8] = b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x04\x04\x01\x70\0\x01\
        \x07\x08\x01\x04grow\0\0\x0a\x0c\x01\x0a\0\xd0\x70\x41\xe4\0\xfc\x0f\0\x0b";

    #[test]
    fn a_table_grows_up_to_its_limit() {
        for (limit, answer, refused) in [(101, 1, None), (100, -1, Some(Refused::Table))] {
            let limits = Limits { table_elements: limit, ..Limits::default() };
            let engine = Engine::default();
            let mut store = Store::new(&engine, Meter::new(&limits));
            store.limiter(|meter| meter);
            let module = Module::new(&engine, GROWS).unwrap();
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let grow = instance.get_typed_func::<(), i32>(&mut store, "grow").unwrap();
            assert_eq!(grow.call(&mut store, ()).unwrap(), answer);
            assert_eq!(store.data().refused, refused);
        }
    }
}
