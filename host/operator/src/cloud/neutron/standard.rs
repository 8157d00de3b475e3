//! What the drivers of Neutron's kinds have in common: they are listed, marked, tagged, deleted and let go alike.

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{Creatable, Updatable};

use super::{Scope, gone, has, tags};
use crate::cloud::{Create, Driver, Result, Update};

/// A kind with the standard attributes of Neutron.
pub(super) trait Standard: Send + Sync + 'static {
    /// As Neutron shows it.
    type Resource: Creatable<In = Neutron> + Updatable;

    /// Faults that say that a resource of the kind is not there.
    const GONE: &'static [&'static str];
    /// Whether it can be tagged.
    const TAGGED: bool = true;
    /// Whether it is of an extension that a cloud can do without: then there are none of it.
    const OPTIONAL: bool = false;

    /// In the terms of the contract.
    fn observed(resource: Self::Resource) -> Observed;
    /// The call that makes one.
    ///
    /// # Errors
    /// A field that the service has no place for.
    fn creation(create: &Create<'_>, about: About) -> Result<<Self::Resource as Creatable>::Create>;
    /// The call that changes one; `None`: there is nothing to change by it.
    ///
    /// # Errors
    /// As above.
    fn change(update: &Update<'_>, about: Renamed) -> Result<Option<<Self::Resource as Updatable>::Update>>;
    /// The call that gives one this description.
    fn described(description: String) -> <Self::Resource as Updatable>::Update;
    /// What can only be changed in calls of its own (rules, addresses). Answers with the resource, where there were such calls.
    ///
    /// # Errors
    /// The service's.
    fn separate<'a>(
        _neutron: &'a Neutron,
        _update: &'a Update<'_>,
    ) -> BoxFuture<'a, Result<Option<Self::Resource>>> {
        async { Ok(None) }.boxed()
    }
}

/// What every creation says beside its fields.
pub(super) struct About {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) project: Option<String>,
}

/// What a change says beside its fields.
#[derive(Default)]
pub(super) struct Renamed {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
}

impl Renamed {
    /// Whether there is anything in it.
    pub(super) fn is_some(&self) -> bool {
        self.name.is_some() || self.description.is_some()
    }
}

/// The driver of a kind.
pub(super) struct Resources<K> {
    scope: Scope,
    kind: std::marker::PhantomData<K>,
}

impl<K: Standard> Resources<K> {
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, kind: std::marker::PhantomData }
    }

    fn neutron(&self) -> &Neutron {
        &self.scope.neutron
    }

    /// Tags what was made: only of ports does Neutron take tags in the call that makes one.
    async fn tagged(&self, made: &mut Observed, wanted: Vec<String>) -> Result<()> {
        let tags = self.neutron().set_tags::<K::Resource>(&made.id, &wanted).await.map_err(|mut error| {
            // It is made, but not whole: it is found by its mark, and its tags are set then.
            error.class = RetryClass::Unknown;
            error
        })?;
        made.tags = Mark::others(tags.iter().map(String::as_str));
        Ok(())
    }
}

impl<K: Standard> Driver for Resources<K> {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            let all: Vec<K::Resource> = match self.neutron().list(&self.scope.query(&[])).await {
                Err(error) if K::OPTIONAL && error.class == RetryClass::NotFound => Vec::new(),
                answer => answer?,
            };
            Ok(all.into_iter().map(K::observed).filter(|o| has(o, tag)).collect())
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let about = About {
                name: create.name.clone(),
                description: create.mark.described(create.entry.description.as_deref()),
                project: self.scope.project_of(create.entry),
            };
            let body = K::creation(&create, about)?;
            let mut made = K::observed(self.neutron().create::<K::Resource>(&body).await?);
            if K::TAGGED {
                self.tagged(&mut made, tags(&create.mark, create.entry)).await?;
            }
            Ok(made)
        }
        .boxed()
    }

    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let id = &update.observed.id;
            let described = update.description.is_some() || update.remark;
            let about = Renamed {
                name: update.name.clone(),
                description: described.then(|| update.mark.described(update.entry.description.as_deref())),
            };
            let mut changed = update.observed.clone();
            if let Some(body) = K::change(&update, about)? {
                let answer = self.neutron().update::<K::Resource>(id, &body, None).await;
                changed = K::observed(answer.map_err(|error| gone(error, K::GONE))?);
            }
            if let Some(resource) = K::separate(self.neutron(), &update).await? {
                changed = K::observed(resource);
            }
            if K::TAGGED && (update.tags || update.remark) {
                let wanted = tags(&update.mark, update.entry);
                let tags = self.neutron().set_tags::<K::Resource>(id, &wanted).await;
                let tags = tags.map_err(|error| gone(error, K::GONE))?;
                changed.tags = Mark::others(tags.iter().map(String::as_str));
                // The service counts a change of tags as a revision, and does not say which.
                changed.revision = None;
            }
            if update.remark {
                changed.mark = Some(update.mark);
            }
            Ok(changed)
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move { Ok(self.neutron().delete::<K::Resource>(id).await.map(drop)?) }.boxed()
    }

    fn refresh<'a>(&'a self, observed: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move {
            match self.neutron().get::<K::Resource>(&observed.id).await {
                Ok(resource) => Ok(Some(K::observed(resource))),
                Err(error) if error.class == RetryClass::NotFound => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        .boxed()
    }

    fn retain<'a>(&'a self, observed: &'a Observed, tag: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let body = K::described(observed.description.clone());
            self.neutron().update::<K::Resource>(&observed.id, &body, None).await?;
            if K::TAGGED {
                let tags: Vec<String> = observed.tags.iter().cloned().chain([tag.to_owned()]).collect();
                self.neutron().set_tags::<K::Resource>(&observed.id, &tags).await?;
            }
            Ok(())
        }
        .boxed()
    }
}
