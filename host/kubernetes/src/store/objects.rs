//! The objects of one kind, by name and by the values that they are listed by.

use std::sync::Arc;

use isthmus_model::object::ObjectKey;
use isthmus_model::selector::{Selector, is_field};
use rpds::RedBlackTreeMapSync;

use super::Stored;

/// Namespace and name: objects of a kind lie in this order.
pub(super) type Name = (Option<Arc<str>>, Arc<str>);

pub(super) fn name_of(key: &ObjectKey) -> Name {
    (key.namespace.clone(), key.name.clone())
}

/// Clones share what they have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    by_name: RedBlackTreeMapSync<Name, Arc<Stored>>,
    /// Of fields alone: every object has labels, and few lists ask for one value of one.
    by_field: RedBlackTreeMapSync<(String, String, Name), Arc<Stored>>,
}

impl Objects {
    pub(super) fn get(&self, name: &Name) -> Option<&Arc<Stored>> {
        self.by_name.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Stored>> {
        self.by_name.values()
    }

    pub(super) fn count(&self) -> usize {
        self.by_name.size()
    }

    pub(super) fn insert(&mut self, object: Arc<Stored>) {
        let name = name_of(&object.key);
        self.unlist(&name);
        for place in fields(&object) {
            self.by_field.insert_mut(place, object.clone());
        }
        self.by_name.insert_mut(name, object);
    }

    pub(super) fn remove(&mut self, name: &Name) -> Option<Arc<Stored>> {
        let old = self.unlist(name)?;
        self.by_name.remove_mut(name);
        Some(old)
    }

    /// Takes the one of this name out of what is listed by values.
    fn unlist(&mut self, name: &Name) -> Option<Arc<Stored>> {
        let old = self.by_name.get(name).cloned()?;
        for place in fields(&old) {
            self.by_field.remove_mut(&place);
        }
        Some(old)
    }

    pub(super) fn in_namespace<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Arc<Stored>> {
        let wanted: Arc<str> = namespace.into();
        let first: Name = (Some(wanted.clone()), "".into());
        let inside = move |(name, _): &(&Name, &Arc<Stored>)| name.0.as_ref() == Some(&wanted);
        self.by_name.range(first..).take_while(inside).map(|(_, stored)| stored)
    }

    /// Those of this namespace, or of all, that the selector chooses, in order.
    pub(super) fn chosen<'a>(
        &'a self,
        namespace: Option<&'a str>,
        selector: &'a Selector,
    ) -> impl Iterator<Item = &'a Arc<Stored>> {
        let found: Box<dyn Iterator<Item = &Arc<Stored>>> = match (selector.exact(), namespace) {
            (Some((field, value)), _) if is_field(field) => {
                Box::new(self.with_value(namespace, field, value))
            }
            (_, Some(namespace)) => Box::new(self.in_namespace(namespace)),
            (_, None) => Box::new(self.iter()),
        };
        found.filter(|stored| selector.matches(&stored.labels))
    }

    fn with_value<'a>(
        &'a self,
        namespace: Option<&'a str>,
        field: &'a str,
        value: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Stored>> {
        let first = (field.to_owned(), value.to_owned(), (namespace.map(Into::into), "".into()));
        let inside = move |((of, is, name), _): &(&(String, String, Name), &Arc<Stored>)| {
            of == field && is == value && namespace.is_none_or(|wanted| name.0.as_deref() == Some(wanted))
        };
        self.by_field.range(first..).take_while(inside).map(|(_, stored)| stored)
    }
}

fn fields(object: &Stored) -> impl Iterator<Item = (String, String, Name)> {
    let among = object.labels.iter().filter(|(key, _)| is_field(key));
    among.map(|(key, value)| (key.clone(), value.clone(), name_of(&object.key)))
}
