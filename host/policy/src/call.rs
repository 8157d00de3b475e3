//! One call of one module on a fresh instance, and what its end means.

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_model::outcome::Outcome;
use isthmus_model::snapshot::ReadSet;
use isthmus_model::text::{one_line, shortened};
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, TypedFunc};
use wasmtime::{Store, Trap, WasmBacktrace};

use crate::bindings::isthmus::mapping::types;
use crate::engine::TICK;
use crate::error::{CallError, LoadError};
use crate::limits::{Limits, Refused};
use crate::module::Module;
use crate::state::{Logs, State, View};

/// A function of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `describe`.
    Describe,
    /// `map`.
    Map,
    /// `refine`.
    Refine,
    /// `report`.
    Report,
}

impl Operation {
    /// Its name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Map => "map",
            Self::Refine => "refine",
            Self::Report => "report",
        }
    }
}

/// What one call cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallStats {
    /// Which stage of the pipeline.
    pub stage: Arc<str>,
    /// sha256 of the module that was called.
    pub digest: Arc<str>,
    /// Which function.
    pub operation: Operation,
    /// From the call to its end, without the wait for a place in the pool.
    pub duration: Duration,
    /// Fuel that was used, where it is counted.
    pub fuel: Option<u64>,
    /// Linear memory at its end, bytes.
    pub memory: usize,
    /// Whether it gave an answer (an outcome is one), or the reason of the error ([`CallError::reason`]).
    pub failed: Option<&'static str>,
}

/// A call that has ended, one way or another.
pub(crate) struct Called<R> {
    pub(crate) answer: Result<R, CallError>,
    pub(crate) reads: ReadSet,
    pub(crate) logs: Logs,
    pub(crate) duration: Duration,
    pub(crate) fuel: Option<u64>,
    pub(crate) memory: usize,
}

/// Parameters and results of `map`, and so on.
pub(crate) type List = (Result<Vec<types::Desired>, types::Outcome>,);
pub(crate) type Report = (Option<types::SubjectReport>,);

/// Calls a function of a module on a fresh instance. `view`: `None` for a function that may read nothing.
pub(crate) fn call<P, R>(
    module: &Module,
    operation: Operation,
    limits: &Limits,
    view: Option<View>,
    parameters: P,
) -> Called<R>
where
    P: ComponentNamedList + Lower + Send + Sync,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    let _slot = module.engine.0.slots.take();
    let began = Instant::now();
    let mut store = store(module, limits, view);
    let answer = run(module, operation, &mut store, parameters);
    let fuel = limits
        .fuel
        .or(Some(u64::MAX))
        .zip(store.get_fuel().ok())
        .map(|(given, left)| given.saturating_sub(left));
    let duration = began.elapsed();
    let mut state = store.into_data();
    let answer = answer.map_err(|error| explain(&error, &mut state, limits));
    Called { answer, reads: state.reads.set, logs: state.logs, duration, fuel, memory: state.meter.granted }
}

fn store(module: &Module, limits: &Limits, view: Option<View>) -> Store<State> {
    let shared = &module.engine.0;
    let mut store = Store::new(&shared.wasm, State::new(limits, view, module.kinds.clone()));
    store.limiter(|state| &mut state.meter);
    let ticks = limits.deadline.as_nanos().div_ceil(TICK.as_nanos());
    // One more: the tick that is under way may end at once.
    store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1));
    store.set_hostcall_fuel(limits.output);
    if shared.options.count_fuel
        && let Err(error) = store.set_fuel(limits.fuel.unwrap_or(u64::MAX))
    {
        tracing::error!(%error, "fuel is counted, but cannot be set");
    }
    store
}

fn run<P, R>(
    module: &Module,
    operation: Operation,
    store: &mut Store<State>,
    parameters: P,
) -> wasmtime::Result<R>
where
    P: ComponentNamedList + Lower + Send + Sync,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    let export = module
        .exports
        .of_operation(operation)
        .ok_or_else(|| wasmtime::Error::msg(format!("it does not export `{}`", operation.name())))?;
    let instance = module.instances.instantiate(&mut *store)?;
    typed::<P, R>(&instance, store, export)?.call(store, parameters)
}

/// The function by its types. Holding them against the component's once more at each call would take a tenth of a call.
#[allow(unsafe_code, reason = "the types were checked when the module was loaded")]
fn typed<P, R>(
    instance: &Instance,
    store: &mut Store<State>,
    export: ComponentExportIndex,
) -> wasmtime::Result<TypedFunc<P, R>>
where
    P: ComponentNamedList + Lower + Send + Sync,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    if cfg!(debug_assertions) {
        return instance.get_typed_func::<P, R>(store, export);
    }
    let missing = || wasmtime::Error::msg("an export of the contract is missing");
    let function = instance.get_func(store, export).ok_or_else(missing)?;
    // SAFETY: `check_types` held this export of this component against `P` and `R` when the module was loaded; no module is
    // called that did not pass it, and a component's types do not change. Debug builds, which the tests are, check each call.
    Ok(unsafe { TypedFunc::new_unchecked(function) })
}

/// Holds the types of all exports against the contract, so that no later call can fail for that.
pub(crate) fn check_types(module: &Module, limits: &Limits) -> Result<(), LoadError> {
    let _slot = module.engine.0.slots.take();
    let mut store = store(module, limits, None);
    let instance = module
        .instances
        .instantiate(&mut store)
        .map_err(|error| LoadError::Describe(explain(&error, store.data_mut(), limits)))?;
    let world = module.world();
    check::<(), (types::Manifest,)>(module, &instance, &mut store, Operation::Describe)?;
    if world.maps() {
        check::<(&str, &str), List>(module, &instance, &mut store, Operation::Map)?;
        type Reported<'a> = (&'a str, &'a str, Option<&'a types::Outcome>, &'a [types::Realized]);
        check::<Reported<'_>, Report>(module, &instance, &mut store, Operation::Report)?;
    }
    if world.refines() {
        check::<(&str, &str, &[types::Desired]), List>(module, &instance, &mut store, Operation::Refine)?;
    }
    Ok(())
}

fn check<P, R>(
    module: &Module,
    instance: &Instance,
    store: &mut Store<State>,
    operation: Operation,
) -> Result<(), LoadError>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let wrong = |why: String| LoadError::compile(&format!("export `{}`: {why}", operation.name()));
    let export = module.exports.of_operation(operation).ok_or_else(|| wrong("missing".into()))?;
    instance.get_typed_func::<P, R>(store, export).map(drop).map_err(|error| wrong(format!("{error:#}")))
}

/// What the engine's error means in the terms of the contract.
fn explain(error: &wasmtime::Error, state: &mut State, limits: &Limits) -> CallError {
    if let Some(violation) = state.violation.take() {
        return violation;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => CallError::Deadline(limits.deadline),
        Some(Trap::OutOfFuel) => CallError::Fuel(limits.fuel.unwrap_or(u64::MAX)),
        // An allocator that is refused memory ends in a trap of one kind or another.
        Some(_) | None if state.meter.refused == Some(Refused::Memory) => CallError::Memory(limits.memory),
        Some(_) | None if state.meter.refused == Some(Refused::Table) => {
            CallError::Table(limits.table_elements)
        }
        Some(trap) => CallError::Trap(trap_text(*trap, error, state.logs.last_error.take())),
        // The engine's own type for this is private; a test holds the text.
        None if format!("{error:#}").contains("fuel allocated for hostcalls has been exhausted") => {
            CallError::Output(limits.output)
        }
        None => CallError::contract(&format!("{error:#}")),
    }
}

/// Most bytes of the name of a function, which is the module's own.
const FUNCTION_NAME: usize = 200;

/// The panic as the module logged it; else where it trapped.
fn trap_text(trap: Trap, error: &wasmtime::Error, logged: Option<String>) -> String {
    let innermost = |trace: &WasmBacktrace| trace.frames().first()?.func_name().map(str::to_owned);
    let place = || error.downcast_ref::<WasmBacktrace>().and_then(innermost);
    match logged {
        Some(text) => format!("{text} ({trap})"),
        None => place().map_or_else(
            || trap.to_string(),
            |function| format!("{trap} in {}", one_line(&function, FUNCTION_NAME).0),
        ),
    }
}

/// Most bytes of a reason: what people read.
const REASON: usize = 2 << 10;

/// An outcome in the host's terms. Its texts are cut: they become conditions and events.
pub(crate) fn outcome(found: types::Outcome) -> Outcome {
    match found {
        types::Outcome::NotMapped(reason) => Outcome::NotMapped(shortened(reason, REASON)),
        types::Outcome::Waiting(reason) => Outcome::Waiting(shortened(reason, REASON)),
        types::Outcome::Invalid(types::Invalid { message, field }) => Outcome::Invalid {
            message: shortened(message, REASON),
            field: field.map(|path| shortened(path, REASON / 2)),
        },
    }
}

/// An outcome in the contract's terms.
pub(crate) fn to_contract(outcome: &Outcome) -> types::Outcome {
    match outcome.clone() {
        Outcome::NotMapped(reason) => types::Outcome::NotMapped(reason),
        Outcome::Waiting(reason) => types::Outcome::Waiting(reason),
        Outcome::Invalid { message, field } => types::Outcome::Invalid(types::Invalid { message, field }),
    }
}
