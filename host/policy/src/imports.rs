//! What the host gives to modules: `snapshot` and `log`, and nothing else.

use std::sync::Arc;

use isthmus_model::object::{Gvk, ObjectKey, is_possible_namespace};
use isthmus_model::selector::Selector;
use isthmus_model::snapshot::{CloudFacts, Read};
use isthmus_model::text::quoted;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::bindings::isthmus::mapping::log::Level;
use crate::bindings::isthmus::mapping::snapshot::{Cloud, Provider};
use crate::bindings::isthmus::mapping::values;
use crate::error::CallError;
use crate::manifest::Readable;
use crate::state::{LogLevel, State, View};

type Store<'a> = StoreContextMut<'a, State>;

/// Defines the imports. Versions that are compatible with these link to them, too.
pub(crate) fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut snapshot = linker.instance("isthmus:mapping/snapshot@0.1.0")?;
    snapshot.func_wrap("get", |mut store: Store<'_>, (key,): (values::ObjectKey,)| {
        Ok((get(store.data_mut(), key)?,))
    })?;
    snapshot.func_wrap(
        "list",
        |mut store: Store<'_>, (kind, namespace, selector): (values::Kind, Option<String>, String)| {
            Ok((list(store.data_mut(), &kind, namespace.as_deref(), &selector)?,))
        },
    )?;
    snapshot.func_wrap(
        "list-by",
        |mut store: Store<'_>,
         (kind, namespace, field, value): (values::Kind, Option<String>, String, String)| {
            Ok((list_by(store.data_mut(), &kind, namespace.as_deref(), &field, &value)?,))
        },
    )?;
    snapshot
        .func_wrap("cloud-facts", |mut store: Store<'_>, (): ()| Ok((cloud_facts(store.data_mut())?,)))?;
    let mut log = linker.instance("isthmus:mapping/log@0.1.0")?;
    log.func_wrap("write", |mut store: Store<'_>, (level, message): (Level, String)| {
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        store.data_mut().logs.write(level, &message);
        Ok(())
    })
}

/// What no object can be called is absent for ever: it is not noted, since nothing could change it.
fn get(state: &mut State, key: values::ObjectKey) -> wasmtime::Result<Option<Arc<str>>> {
    let (view, Readable { kind, .. }) = readable(state, &key.kind)?;
    let bytes = key.name.len() + key.namespace.as_ref().map_or(0, String::len);
    let key = ObjectKey::new(kind, key.namespace.as_deref(), &key.name);
    if !key.is_possible() {
        return Ok(None);
    }
    note(state, Read::Get(key.clone()), bytes)?;
    Ok(view.get(&key))
}

fn list(
    state: &mut State,
    kind: &values::Kind,
    namespace: Option<&str>,
    selector: &str,
) -> wasmtime::Result<Vec<Arc<str>>> {
    let (view, Readable { kind, .. }) = readable(state, kind)?;
    match selector.parse() {
        Ok(parsed) => chosen(state, &view, kind, namespace, parsed, selector.len()),
        Err(error) => refuse(state, format!("it lists {kind}, but {error}")),
    }
}

fn list_by(
    state: &mut State,
    kind: &values::Kind,
    namespace: Option<&str>,
    field: &str,
    value: &str,
) -> wasmtime::Result<Vec<Arc<str>>> {
    let (view, Readable { kind, list_by }) = readable(state, kind)?;
    if !list_by.contains(field) {
        let field = quoted(field);
        return refuse(
            state,
            format!("it lists {kind} by {field:?}, which its manifest does not name for that"),
        );
    }
    match Selector::of_field(field, value) {
        Some(selector) => chosen(state, &view, kind, namespace, selector, field.len() + value.len()),
        // What no object can be listed by: nothing could change the answer.
        None => Ok(Vec::new()),
    }
}

fn chosen(
    state: &mut State,
    view: &View,
    kind: Arc<Gvk>,
    namespace: Option<&str>,
    selector: Selector,
    bytes: usize,
) -> wasmtime::Result<Vec<Arc<str>>> {
    let bytes = bytes + namespace.map_or(0, str::len);
    if !namespace.is_none_or(is_possible_namespace) {
        return Ok(Vec::new());
    }
    let read =
        Read::List { kind: kind.clone(), namespace: namespace.map(Into::into), selector: selector.clone() };
    note(state, read, bytes)?;
    let mut all = view.list(&kind, namespace, &selector);
    if namespace.is_none() {
        leave_out(state, &kind, &mut all);
    }
    Ok(all)
}

/// Of a list of all namespaces what is too long: whoever writes such objects must not be able to end the calls of others.
fn leave_out(state: &mut State, kind: &Gvk, all: &mut Vec<Arc<str>>) {
    let (before, most) = (all.len(), state.listed);
    all.retain(|text| text.len() <= most);
    let left_out = before - all.len();
    if left_out > 0 {
        let message =
            format!("{left_out} objects of {kind} are left out, as they have more than {most} bytes");
        state.logs.write(LogLevel::Warn, &message);
    }
}

fn cloud_facts(state: &mut State) -> wasmtime::Result<Cloud> {
    let facts = view(state)?.cloud();
    note(state, Read::Cloud, 0)?;
    let CloudFacts { network_extensions, load_balancer_providers, has_key_manager } =
        CloudFacts::clone(&facts);
    let provider = |p: isthmus_model::snapshot::Provider| Provider {
        name: p.name,
        protocols: p.protocols,
        algorithms: p.algorithms,
        l7: p.l7,
    };
    let load_balancer_providers = load_balancer_providers.into_iter().map(provider).collect();
    Ok(Cloud { network_extensions, load_balancer_providers, has_key_manager })
}

fn view(state: &mut State) -> wasmtime::Result<View> {
    match &state.view {
        Some(view) => Ok(view.clone()),
        None => refuse(state, "it reads the snapshot in `describe`".into()),
    }
}

/// The snapshot, and the manifest's own entry of this kind. A kind that it does not name is one that nobody watches or granted.
fn readable(state: &mut State, kind: &values::Kind) -> wasmtime::Result<(View, Readable)> {
    let view = view(state)?;
    let same = |Readable { kind: k, .. }: &&Readable| {
        k.kind == kind.kind && k.group == kind.group && k.version == kind.version
    };
    match state.kinds.iter().find(same) {
        Some(readable) => Ok((view, readable.clone())),
        None => {
            let kind = Gvk::new(&kind.group, &kind.version, &kind.kind).to_string();
            refuse(state, format!("it reads {}, which its manifest does not name", quoted(&kind)))
        }
    }
}

fn note(state: &mut State, read: Read, bytes: usize) -> wasmtime::Result<()> {
    state.reads.note(read, bytes).or_else(|error| end(state, error))
}

fn refuse<T>(state: &mut State, why: String) -> wasmtime::Result<T> {
    end(state, CallError::contract(&why))
}

/// Ends the call with this error.
fn end<T>(state: &mut State, error: CallError) -> wasmtime::Result<T> {
    let trap = wasmtime::Error::msg(error.to_string());
    state.violation = Some(error);
    Err(trap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn what_is_too_long_for_a_list_of_all_namespaces_is_left_out_and_told() {
        let mut state = State::new(&Limits { listed: 5, ..Limits::default() }, None, Arc::default());
        let kind = Gvk::new("", "v1", "Service");
        let texts = |all: &[&str]| all.iter().map(|text| Arc::from(*text)).collect::<Vec<Arc<str>>>();
        let mut all = texts(&["12345", "123456", "1"]);
        leave_out(&mut state, &kind, &mut all);
        assert_eq!(all, texts(&["12345", "1"]));
        let mut all = texts(&["1"]);
        leave_out(&mut state, &kind, &mut all);
        assert_eq!(all.len(), 1);
        let (lines, _) = state.logs.beginning();
        let [(LogLevel::Warn, line)] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(line.starts_with("1 objects of v1/Service are left out"), "{line}");
    }
}
