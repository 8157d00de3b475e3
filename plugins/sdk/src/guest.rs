//! From the author's traits to the exports of a world.

use serde::de::DeserializeOwned;

use crate::records::types::{Desired, Manifest, Outcome, Realized, SubjectReport};

/// What every module has: a manifest and a config.
pub trait Module {
    /// The config as the module wants it; [`NoConfig`] for none, [`serde_json::Value`] for one of any shape. What does not parse
    /// is answered with an `invalid` outcome that names the field, before the module is called.
    type Config: DeserializeOwned;

    /// What the module is. The same at every call.
    fn manifest() -> Manifest;
}

/// The config of a module that has none: `{}`, which it is given where none is set. Any field is refused by name, so that nobody
/// waits for one to work. (`()` is JSON's `null`, and `struct NoConfig;` too: they refuse `{}`.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Maps subjects to desired resources.
pub trait Mapper: Module {
    /// The desired resources of one subject (JSON text; see [`crate::parse_subject`]), or why there are none.
    ///
    /// # Errors
    /// See [`Outcome`]: only `not-mapped` takes away what was mapped before.
    fn map(subject: &str, config: Self::Config) -> Result<Vec<Desired>, Outcome>;

    /// What the subject should say about its mapping. Called only if the manifest says [`Manifest::reporting`]; `outcome` is set
    /// when `map` gave no list.
    fn report(
        _subject: &str,
        _config: Self::Config,
        _outcome: Option<Outcome>,
        _realized: Vec<Realized>,
    ) -> Option<SubjectReport> {
        None
    }
}

/// Changes what a mapping asked for.
pub trait Refiner: Module {
    /// The list with entries added and fields changed. Entries may not be renamed or removed.
    ///
    /// # Errors
    /// As [`Mapper::map`]; it holds for the whole mapping.
    fn refine(subject: &str, config: Self::Config, desired: Vec<Desired>) -> Result<Vec<Desired>, Outcome>;
}

/// Makes a [`Module`] the implementation of a world.
#[doc(hidden)]
pub struct Adapter<M>(std::marker::PhantomData<M>);

impl<M: Module> Adapter<M> {
    pub(crate) fn describe() -> Manifest {
        log_panics();
        M::manifest()
    }
}

impl<M: Mapper> Adapter<M> {
    pub(crate) fn map(subject: &str, config: &str) -> Result<Vec<Desired>, Outcome> {
        log_panics();
        M::map(subject, crate::input::parse_config(config)?)
    }

    pub(crate) fn report(
        subject: &str,
        config: &str,
        outcome: Option<Outcome>,
        realized: Vec<Realized>,
    ) -> Option<SubjectReport> {
        log_panics();
        M::report(subject, crate::input::parse_config(config).ok()?, outcome, realized)
    }
}

impl<M: Refiner> Adapter<M> {
    pub(crate) fn refine(
        subject: &str,
        config: &str,
        desired: Vec<Desired>,
    ) -> Result<Vec<Desired>, Outcome> {
        log_panics();
        M::refine(subject, crate::input::parse_config(config)?, desired)
    }
}

/// Sends message and place of a panic to the host's log, as the contract asks. A trap alone says neither.
fn log_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "unknown place".into(), ToString::to_string);
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("(no message)");
        crate::log::error(&format!("panicked at {place}: {message}"));
    }));
}

macro_rules! describe {
    () => {
        fn describe() -> Manifest {
            Self::describe()
        }
    };
}
macro_rules! map_and_report {
    () => {
        fn map(subject: String, config: String) -> Result<Vec<Desired>, Outcome> {
            Self::map(&subject, &config)
        }
        fn report(
            subject: String,
            config: String,
            outcome: Option<Outcome>,
            realized: Vec<Realized>,
        ) -> Option<SubjectReport> {
            Self::report(&subject, &config, outcome, realized)
        }
    };
}
macro_rules! refine {
    () => {
        fn refine(subject: String, config: String, desired: Vec<Desired>) -> Result<Vec<Desired>, Outcome> {
            Self::refine(&subject, &config, desired)
        }
    };
}

impl<M: Mapper> crate::mapper::Guest for Adapter<M> {
    describe!();
    map_and_report!();
}
impl<M: Refiner> crate::refiner::Guest for Adapter<M> {
    describe!();
    refine!();
}
impl<M: Mapper + Refiner> crate::mapper_refiner::Guest for Adapter<M> {
    describe!();
    map_and_report!();
    refine!();
}

/// Exports a [`Mapper`] as a component of the world `mapper`. Once in a crate. Does nothing on other targets than Wasm.
#[macro_export]
macro_rules! export_mapper {
    ($module:ty) => {
        $crate::__export!($module, mapper, export_mapper_world);
    };
}

/// Exports a [`Refiner`] as a component of the world `refiner`. Once in a crate. Does nothing on other targets than Wasm.
#[macro_export]
macro_rules! export_refiner {
    ($module:ty) => {
        $crate::__export!($module, refiner, export_refiner_world);
    };
}

/// Exports a [`Mapper`] that is a [`Refiner`] too as a component of the world `mapper-refiner`. Once in a crate. Does nothing on
/// other targets than Wasm.
#[macro_export]
macro_rules! export_mapper_refiner {
    ($module:ty) => {
        $crate::__export!($module, mapper_refiner, export_mapper_refiner_world);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($module:ty, $world:ident, $export:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exported symbols are unsafe to name; this is generated")]
        const _: () = {
            type Component = $crate::Adapter<$module>;
    $crate::$world::$export!(Component with_types_in $crate::$world);
        };
        // The same demands on the type, so that what a native build accepts a module's build accepts, too.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> $crate::Manifest = <$crate::Adapter<$module> as $crate::$world::Guest>::describe;
    };
}
