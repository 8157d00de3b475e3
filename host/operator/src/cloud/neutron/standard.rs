//! What the drivers of Neutron's kinds have in common: resources are listed, marked, tagged, changed, deleted and let go alike.

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::retained::Retained;
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
    /// How it is tagged.
    const TAGS: Tags = Tags::Afterwards;
    /// Whether it is of an extension that a cloud can do without: then there are none of it.
    const OPTIONAL: bool = false;
    /// What a list is narrowed to: several values of one name are either.
    const AMONG: &'static [(&'static str, &'static str)] = &[];

    /// In the terms of the contract.
    fn observed(resource: Self::Resource) -> Observed;

    /// Narrower lists that have all of one subject together; none of them empty of conditions where there is something narrower.
    fn of_subject(_subject: &str) -> Vec<Option<(&'static str, &str)>> {
        vec![None]
    }

    /// The call that makes one.
    fn creation(
        scope: &Scope,
        create: &Create<'_>,
        about: About,
    ) -> impl Future<Output = Created<Self>> + Send;

    /// What is left to do after that call, for what it made to be what was asked for.
    fn finish(
        _scope: &Scope,
        _create: &Create<'_>,
        made: Self::Resource,
    ) -> impl Future<Output = Result<Self::Resource>> + Send {
        async { Ok(made) }
    }

    /// The call that changes one; `None`: there is nothing to change by it.
    fn change(scope: &Scope, update: &Update<'_>, about: About)
    -> impl Future<Output = Changed<Self>> + Send;

    /// The call that gives one that is let go this description.
    fn described(description: String) -> <Self::Resource as Updatable>::Update;

    /// What can only be changed in calls of its own (rules, addresses). Answers with the resource, where there were such calls.
    fn separate(
        _scope: &Scope,
        _update: &Update<'_>,
    ) -> impl Future<Output = Result<Option<Self::Resource>>> + Send {
        async { Ok(None) }
    }

    /// What has to be undone before one can be deleted.
    fn release(_scope: &Scope, _id: &str) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// Body of a creation.
type Created<K> = Result<<<K as Standard>::Resource as Creatable>::Create>;
/// Body of a change, if there is one.
type Changed<K> = Result<Option<<<K as Standard>::Resource as Updatable>::Update>>;

/// How a kind is tagged.
#[derive(PartialEq, Eq)]
pub(super) enum Tags {
    /// Not at all: its mark is in its description alone.
    None,
    /// In the call that makes one, where the cloud takes them there, which its answer says.
    AtCreation,
    /// In a call of its own.
    Afterwards,
}

/// What a call says beside the fields: all of it at a creation, what changes later.
#[derive(Default)]
pub(super) struct About {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) project: Option<String>,
    pub(super) tags: Option<Vec<String>>,
}

/// The driver of a kind.
pub(super) struct Resources<K> {
    scope: Scope,
    kind: std::marker::PhantomData<K>,
}

impl<K: Standard> Resources<K> {
    pub(super) fn boxed(scope: &Scope) -> Box<dyn Driver> {
        Box::new(Self { scope: scope.clone(), kind: std::marker::PhantomData })
    }

    fn neutron(&self) -> &Neutron {
        &self.scope.neutron
    }

    async fn marked(&self, tag: &str, narrowed: Option<(&str, &str)>) -> Result<Vec<Observed>> {
        let query: Vec<(&str, &str)> = K::AMONG.iter().copied().chain(narrowed).collect();
        let all: Vec<K::Resource> = match self.neutron().list(&self.scope.query(&query)).await {
            Err(error) if K::OPTIONAL && error.class == RetryClass::NotFound => Vec::new(),
            answer => answer?,
        };
        Ok(all.into_iter().map(K::observed).filter(|o| has(o, tag)).collect())
    }

    async fn tag(
        &self,
        id: &str,
        wanted: &[String],
    ) -> Result<std::collections::BTreeSet<String>, isthmus_openstack::Error> {
        let tags = self.neutron().set_tags::<K::Resource>(id, wanted).await?;
        Ok(Mark::others(tags.iter().map(String::as_str)))
    }
}

impl<K: Standard> Driver for Resources<K> {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        self.marked(tag, None).boxed()
    }

    fn list_of<'a>(&'a self, tag: &'a str, subject: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            let mut all = Vec::new();
            for narrowed in K::of_subject(subject) {
                all.extend(self.marked(tag, narrowed).await?);
            }
            all.retain(|o| o.mark.as_ref().is_some_and(|mark| mark.subject == subject));
            Ok(all)
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let wanted = tags(&create.mark, create.entry);
            let about = About {
                name: Some(create.name.clone()),
                description: Some(create.mark.described(create.entry.description.as_deref())),
                project: self.scope.project_of(create.entry),
                tags: (K::TAGS == Tags::AtCreation).then(|| wanted.clone()),
            };
            let body = K::creation(&self.scope, &create, about).await?;
            let made = self.neutron().create::<K::Resource>(&body).await?;
            let mut made = K::observed(K::finish(&self.scope, &create, made).await?);
            let tagged = match K::TAGS {
                Tags::None => true,
                Tags::AtCreation => create.entry.tags.is_subset(&made.tags),
                Tags::Afterwards => false,
            };
            if !tagged {
                made.tags = self.tag(&made.id, &wanted).await.map_err(|mut error| {
                    // It is made, but not whole: it is found by its mark, and its tags are set then.
                    error.class = RetryClass::Unknown;
                    error
                })?;
            }
            Ok(made)
        }
        .boxed()
    }

    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let id = &update.observed.id;
            let described = update.description.is_some() || update.remark;
            let about = About {
                name: update.name.clone(),
                description: described.then(|| update.mark.described(update.entry.description.as_deref())),
                ..About::default()
            };
            let mut changed = update.observed.clone();
            if let Some(body) = K::change(&self.scope, &update, about).await? {
                let answer = self.neutron().update::<K::Resource>(id, &body, None).await;
                changed = K::observed(answer.map_err(|error| gone(error, K::GONE))?);
            }
            if let Some(resource) = K::separate(&self.scope, &update).await? {
                changed = K::observed(resource);
            }
            if K::TAGS != Tags::None && (update.tags || update.remark) {
                let wanted = tags(&update.mark, update.entry);
                changed.tags = self.tag(id, &wanted).await.map_err(|error| gone(error, K::GONE))?;
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
        async move {
            K::release(&self.scope, id).await?;
            Ok(self.neutron().delete::<K::Resource>(id).await.map(drop)?)
        }
        .boxed()
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

    fn retain<'a>(&'a self, observed: &'a Observed, retained: &'a Retained) -> BoxFuture<'a, Result<()>> {
        async move {
            let untagged = K::TAGS == Tags::None;
            let description = &observed.description;
            let described = if untagged { retained.described(description) } else { description.clone() };
            let body = K::described(described);
            self.neutron().update::<K::Resource>(&observed.id, &body, None).await?;
            if !untagged {
                let tags = retained.beside_tags(&observed.tags);
                self.neutron().set_tags::<K::Resource>(&observed.id, &tags).await?;
            }
            Ok(())
        }
        .boxed()
    }
}
