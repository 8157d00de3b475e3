//! The engine: how modules are compiled, where their instances live, and the clock of their deadlines.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy};

use crate::cache::Cache;
use crate::error::{EngineError, LoadError};
use crate::limits::{MAX_COMPONENT_BYTES, MAX_MEMORY, MAX_TABLE_ELEMENTS};
use crate::module::Module;
use crate::slots::Slots;
use crate::state::State;
use crate::{imports, inspect};

/// Between two looks at the deadlines.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Core instances, memories and tables that a component is made of: `wit-component` makes three instances (the module, and two that
/// join it to its imports), one memory and two tables.
const CORE_INSTANCES: u32 = 4;
const TABLES: u32 = 4;

/// Memory of an instance that the host clears itself after a call, in place of giving it back to the kernel. Measured for a small
/// call: 33 us with 2 MiB of which the kernel names the pages that were written (Linux 6.7 and later), 37 us with 512 KiB
/// cleared blindly.
const KEEP_RESIDENT: usize = 2 << 20;

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where compiled modules are kept: in a folder of their own in this one, which may hold other things. Default: none, and each
    /// start compiles anew (some 100 ms a module).
    pub cache_dir: Option<PathBuf>,
    /// Calls at once; a further one waits. Each place costs address space, and up to 2 MiB once used. Default: 16.
    pub calls_at_once: u32,
    /// Most linear memory of an instance, bytes: no [`crate::Limits::memory`] goes beyond. Default: [`MAX_MEMORY`].
    pub max_memory: usize,
    /// Most elements of a table. Default: [`MAX_TABLE_ELEMENTS`].
    pub max_table_elements: usize,
    /// Most bytes of a component, unpacked. Default: [`MAX_COMPONENT_BYTES`].
    pub max_component_bytes: usize,
    /// Most bytes of its code: what compiling costs. Default: 8 MiB, some 5 s of a core.
    pub max_code_bytes: usize,
    /// Most bytes of one function: the time to compile one grows faster than its size. Default: 512 KiB.
    pub max_function_bytes: usize,
    /// Whether fuel is counted, for modules with a [`crate::Limits::fuel`]. Makes every call slower (some 20 %). Default: no. Where
    /// only some modules need it, [`Engine::counting_fuel`] has an engine for them.
    pub count_fuel: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            calls_at_once: 16,
            max_memory: MAX_MEMORY,
            max_table_elements: MAX_TABLE_ELEMENTS,
            max_component_bytes: MAX_COMPONENT_BYTES,
            max_code_bytes: 8 << 20,
            max_function_bytes: 512 << 10,
            count_fuel: false,
        }
    }
}

/// What all modules of a process share. Cheap to clone.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) options: EngineOptions,
    pub(crate) linker: Linker<State>,
    pub(crate) slots: Slots,
    cache: Option<Cache>,
    /// The engine beside this one that counts fuel, once a module has asked for it.
    counting: Mutex<Option<Engine>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine, and the thread of its deadlines, which ends with it.
    ///
    /// # Errors
    /// Options that do not fit the machine, or a cache folder that is not ours alone.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let failed = |error: wasmtime::Error| EngineError::Engine(format!("{error:#}"));
        let wasm = wasmtime::Engine::new(&config(&options)).map_err(failed)?;
        let mut linker = Linker::new(&wasm);
        imports::define(&mut linker).map_err(failed)?;
        let cache = options.cache_dir.as_deref().map(|dir| Cache::open(dir, &wasm)).transpose()?;
        let weak = wasm.weak();
        std::thread::Builder::new()
            .name("module-deadline".into())
            .spawn(move || tick(&weak))
            .map_err(EngineError::Ticker)?;
        let slots = Slots::new(options.calls_at_once);
        let counting = Mutex::new(None);
        Ok(Self(Arc::new(Shared { wasm, options, linker, slots, cache, counting })))
    }

    /// The engine to load modules by that have a [`crate::Limits::fuel`]: one with the same options that counts it, with a pool of
    /// its own, made when it is first asked for. What this engine has loaded goes on without counting, at full speed.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn counting_fuel(&self) -> Result<Self, EngineError> {
        if self.0.options.count_fuel {
            return Ok(self.clone());
        }
        let mut counting = self.0.counting.lock();
        if let Some(engine) = &*counting {
            return Ok(engine.clone());
        }
        let engine = Self::new(EngineOptions { count_fuel: true, ..self.0.options.clone() })?;
        Ok(counting.insert(engine).clone())
    }

    /// Checks, compiles and describes a module. `bytes`: a component, or gzip of one; `expected_sha256`: lower-case hex, of the
    /// component (not of the gzip).
    ///
    /// Compiling takes some 100 ms of every core: call it where that disturbs nobody.
    ///
    /// # Errors
    /// See [`LoadError`]: each says what was found and what is expected.
    pub fn load(&self, bytes: &[u8], expected_sha256: Option<&str>) -> Result<Arc<Module>, LoadError> {
        let shared = &self.0;
        let bytes = inspect::unpack_within(bytes, shared.options.max_component_bytes)?;
        let digest = inspect::sha256(&bytes);
        if let Some(expected) = expected_sha256.filter(|e| !e.eq_ignore_ascii_case(&digest)) {
            return Err(LoadError::Digest { found: digest, expected: expected.into() });
        }
        let world = inspect::inspect(&bytes, &shared.options)?;
        let component = self.compile(&bytes, &digest)?;
        Module::new(self, &component, digest, world).map(Arc::new)
    }

    fn compile(&self, bytes: &[u8], digest: &str) -> Result<Component, LoadError> {
        let shared = &self.0;
        if let Some(component) = shared.cache.as_ref().and_then(|cache| cache.get(&shared.wasm, digest)) {
            return Ok(component);
        }
        let component =
            Component::new(&shared.wasm, bytes).map_err(|error| LoadError::compile(&format!("{error:#}")))?;
        if let Some(cache) = &shared.cache {
            cache.put(digest, &component);
        }
        Ok(component)
    }
}

/// Moves the clock of the deadlines, for as long as there is an engine.
fn tick(engine: &EngineWeak) {
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        std::thread::sleep(TICK);
    }
}

fn config(options: &EngineOptions) -> Config {
    let calls = options.calls_at_once.max(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(CORE_INSTANCES))
        .total_memories(calls)
        .total_tables(calls.saturating_mul(TABLES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(1)
        .max_tables_per_component(TABLES)
        .max_memory_size(options.max_memory)
        .table_elements(options.max_table_elements)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto)
        .table_keep_resident(64 << 10);
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .wasm_component_model(true)
        .epoch_interruption(true)
        .consume_fuel(options.count_fuel)
        // Where Wasm leaves a result open: the same input gives the same list on every machine.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false);
    config
}
