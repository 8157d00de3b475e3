//! Where the mark of an object is: in its tags, or where Octavia has none (before API 2.5) at the beginning of its description. Health
//! monitors, members and rules have no description: they carry none there, and go with what they are below.

use std::collections::HashSet;

use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::retained::Retained;
use isthmus_openstack::Octavia;
use isthmus_openstack::octavia::{ApiVersion, L7Policy, Listener, LoadBalancer, Pool, Resource};
use parking_lot::Mutex;

use super::tags;
use crate::cloud::{Create, Result, Update};

/// How this Octavia is told whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marking {
    Tags,
    Description,
}

/// Description and tags of a body; `None`: they stay, or are none.
pub(super) type Said = (Option<String>, Option<Vec<String>>);

impl Marking {
    pub(super) fn of(version: ApiVersion) -> Self {
        if version >= ApiVersion::TAGS { Self::Tags } else { Self::Description }
    }

    pub(super) fn created(self, create: &Create<'_>) -> Said {
        let description = create.entry.description.as_deref();
        match self {
            Self::Tags => (description.map(Into::into), Some(tags(&create.mark, create.entry))),
            Self::Description => (Some(create.mark.described(description)), None),
        }
    }

    /// `more`: what is kept in the tags changes.
    pub(super) fn updated(self, update: &Update<'_>, more: bool) -> Said {
        let described = update.description.is_some();
        let tagged = update.tags || update.remark || more;
        match self {
            // The description may have the mark, from before Octavia had tags.
            Self::Tags => {
                (update.description.clone(), (tagged || described).then(|| tags(&update.mark, update.entry)))
            }
            Self::Description => {
                let text = update.description.as_deref().unwrap_or(&update.observed.description);
                ((described || update.remark).then(|| update.mark.described(Some(text))), None)
            }
        }
    }

    /// The tags of what has no description.
    pub(super) fn tags_of(self, mark: &Mark) -> Option<Vec<String>> {
        (self == Self::Tags).then(|| mark.tags().into())
    }

    pub(super) fn retained(self, observed: &Observed, retained: &Retained) -> Said {
        match self {
            Self::Tags => (Some(observed.description.clone()), Some(retained.beside_tags(&observed.tags))),
            Self::Description => (Some(retained.described(&observed.description)), None),
        }
    }
}

/// What may carry a mark.
pub(super) trait Marked: Resource<In = Octavia> {
    fn said(&self) -> (&str, &[String]);

    fn mark(&self) -> Option<Mark> {
        let (description, tags) = self.said();
        mark(description, tags)
    }

    /// Whether it has the tags of a query, with commas in between, wherever they are.
    fn has(&self, tag: &str) -> bool {
        let (description, tags) = self.said();
        let marked = mark(description, tags).map(|mark| mark.tags().to_vec());
        let retained = Retained::of(description, tags).map(|retained| retained.tags());
        let all: Vec<String> = marked.into_iter().chain(retained).flatten().collect();
        tag.split(',').all(|wanted| all.iter().any(|own| own == wanted))
    }
}

/// The mark that an object has. What the description says is of before Octavia had tags.
pub(super) fn mark(description: &str, tags: &[String]) -> Option<Mark> {
    Mark::from_tags(tags.iter().map(String::as_str)).or_else(|| Mark::from_description(description))
}

macro_rules! marked {
    ($($kind:ty)*) => {$(
        impl Marked for $kind {
            fn said(&self) -> (&str, &[String]) {
                (&self.description, &self.tags)
            }
        }
    )*};
}
marked!(LoadBalancer Listener Pool L7Policy);

/// The kinds of which everything of a cluster (by its tag) that was listed has its mark in tags: by these they are listed from then on.
/// The first list of a kind has everything, as Octavia may have been an older one when something was made.
#[derive(Debug, Default)]
pub(super) struct Tagged(Mutex<HashSet<(&'static str, String)>>);

impl Tagged {
    /// All of a kind in a project that have these tags.
    pub(super) async fn list<R: Marked>(
        &self,
        octavia: &Octavia,
        project: Option<&str>,
        tag: &str,
    ) -> Result<Vec<R>> {
        let marking = Marking::of(octavia.known_version().await?);
        let whose = tag.split(',').next().unwrap_or(tag);
        let key = (R::PATH, whose.to_owned());
        let by_tags = marking == Marking::Tags && self.0.lock().contains(&key);
        let tags = by_tags.then_some(("tags", tag));
        let query: Vec<(&str, &str)> = tags.into_iter().chain(project.map(|p| ("project_id", p))).collect();
        let mut all = octavia.list::<R>(&query).await?;
        if marking == Marking::Tags && !all.iter().any(|found| by_description(found) && found.has(whose)) {
            self.0.lock().insert(key);
        }
        all.retain(|found| found.has(tag));
        Ok(all)
    }
}

fn by_description<R: Marked>(found: &R) -> bool {
    let (description, tags) = found.said();
    found.mark().is_some() && Mark::from_tags(tags.iter().map(String::as_str)).is_none()
        || Retained::of(description, &[]).is_some()
}

#[cfg(test)]
mod tests {
    use isthmus_model::desired::Entry;
    use isthmus_model::kinds::Kind;
    use isthmus_model::object::{Gvk, ObjectKey};
    use serde_json::json;

    use super::*;
    use crate::cloud::Fields;

    fn whose(name: &str) -> Mark {
        Mark { cluster: "c".into(), subject: "s".into(), name: name.into() }
    }

    fn pool((description, tags): Said) -> Pool {
        serde_json::from_value(json!({"id": "p", "description": description, "tags": tags})).unwrap()
    }

    fn told(found: &Pool) -> Observed {
        let (description, tags) = found.said();
        let mut observed = Observed::of(Kind::Pool, "p");
        (observed.mark, observed.retained) = (found.mark(), Retained::of(description, tags));
        observed.description = crate::cloud::beside(description);
        observed
    }

    /// Made, renamed, given another text and let go, by an Octavia with tags and by one without.
    #[test]
    fn the_mark_is_where_octavia_has_a_place_for_it() {
        let mut entry = Entry::new("pool", Kind::Pool, Default::default());
        entry.description = Some("by hand".into());
        for (version, in_tags) in [("2.5", true), ("2.30", true), ("2.4", false), ("2.0", false)] {
            let minor = version.strip_prefix("2.").unwrap().parse().unwrap();
            let marking = Marking::of(ApiVersion { major: 2, minor });
            let (mark, fields, name) = (whose("pool"), Fields::new(), String::new());
            let said = marking.created(&Create { entry: &entry, mark, fields, name, ahead: None });
            assert_eq!(said.1.is_some(), in_tags, "{version}");
            let observed = told(&pool(said));
            assert_eq!(
                (observed.mark.as_ref(), observed.description.as_str()),
                (Some(&whose("pool")), "by hand")
            );

            let change = |remark, description: Option<&str>| Update {
                entry: &entry,
                mark: whose(if remark { "other" } else { "pool" }),
                observed: &observed,
                fields: Fields::new(),
                tags: false,
                remark,
                name: None,
                description: description.map(Into::into),
            };
            assert_eq!(marking.updated(&change(false, None), false), (None, None), "{version}");
            let renamed = told(&pool(marking.updated(&change(true, None), false)));
            assert_eq!(renamed.mark, Some(whose("other")), "{version}");
            let described = told(&pool(marking.updated(&change(false, Some("new")), false)));
            assert_eq!((described.mark, described.description.as_str()), (Some(whose("pool")), "new"));

            let key = ObjectKey::new(Gvk::new("", "v1", "Service"), Some("shop"), "web");
            let retained = Retained::new("c", &key, "pool");
            let gone = pool(marking.retained(&observed, &retained));
            assert!(gone.mark().is_none() && gone.has(&Retained::cluster_tag("c")), "{version}: {gone:?}");
            assert_eq!(told(&gone).description, "by hand", "{version}");
        }
    }

    #[test]
    fn what_was_made_before_octavia_had_tags_is_found_after() {
        let old = pool((Some(whose("pool").described(Some("by hand"))), None));
        assert!(by_description(&old) && old.has("isthmus:cluster=c,isthmus:subject=s"));
        assert!(!old.has("isthmus:cluster=c,isthmus:subject=t"));
        let both = pool((Some(whose("pool").description()), Some(whose("other").tags().into())));
        assert!(!by_description(&both) && both.mark() == Some(whose("other")));
        assert!(!by_description(&pool((Some("by hand".into()), None))));
    }
}
