//! What a resource that was let go carries in place of our mark: no collector touches it, and people find it by this.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::object::ObjectKey;

const CLUSTER: &str = "isthmus:retained=";
const NAME: &str = "isthmus:retained-name=";
const SUBJECT: &str = "isthmus:retained-of=";
const PREFIX: &str = "isthmus:retained";
/// Neutron's limit of a tag and of a description.
const TEXT: usize = 255;

/// Of which cluster it was, and what it was made for, where there is room to say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// The cluster's id, as in a mark.
    pub cluster: String,
    /// Local name of the entry.
    pub name: Option<String>,
    /// The object, as `Pod:shop:web-0`; the namespace is empty where it has none.
    pub subject: Option<String>,
}

impl Retained {
    /// What a resource that was made for an entry of this object gets.
    pub fn new(cluster: &str, subject: &ObjectKey, name: &str) -> Self {
        let namespace = subject.namespace.as_deref().unwrap_or_default();
        let subject = format!("{}:{namespace}:{}", subject.kind.kind, subject.name);
        Self { cluster: cluster.into(), name: Some(name.into()), subject: Some(subject) }
    }

    /// The tag that all of a cluster carry: what to filter a list by.
    pub fn cluster_tag(cluster: &str) -> String {
        format!("{CLUSTER}{cluster}")
    }

    /// The tags, as many as a mark has. One that is too long is left out: a part of a name would be another object's.
    pub fn tags(&self) -> Vec<String> {
        let name = self.name.as_ref().map(|name| format!("{NAME}{name}"));
        let subject = self.subject.as_ref().map(|subject| format!("{SUBJECT}{subject}"));
        let rest = name.into_iter().chain(subject).filter(|tag| tag.len() <= TEXT);
        std::iter::once(Self::cluster_tag(&self.cluster)).chain(rest).collect()
    }

    /// The tags of a resource that has others beside.
    pub fn beside_tags(&self, others: &BTreeSet<String>) -> Vec<String> {
        others.iter().cloned().chain(self.tags()).collect()
    }

    /// For resources without tags: the description, before what it says beside. What there is no room for is left out.
    pub fn described(&self, beside: &str) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut room = TEXT.saturating_sub(beside.len());
        for word in self.tags() {
            if word.len() < room {
                room -= word.len() + 1;
                words.push(word);
            }
        }
        words.extend((!beside.is_empty()).then(|| beside.to_owned()));
        words.join(" ")
    }

    /// What a description says beside it.
    pub fn beside(text: &str) -> &str {
        let mut rest = text;
        while rest.starts_with(PREFIX) {
            rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
        }
        rest
    }

    /// What a resource carries; `None`: nothing of it, or of two clusters.
    pub fn of(description: &str, tags: &[String]) -> Option<Self> {
        let said = description.strip_suffix(Self::beside(description)).unwrap_or_default();
        let one = |prefix: &str| {
            let all = tags.iter().map(String::as_str).chain(said.split_whitespace());
            let mut found = all.filter_map(|tag| tag.strip_prefix(prefix)).filter(|value| !value.is_empty());
            found.next().filter(|_| found.next().is_none()).map(str::to_owned)
        };
        Some(Self { cluster: one(CLUSTER)?, name: one(NAME), subject: one(SUBJECT) })
    }

    /// Kind, namespace and name of what it was made for, as `Pod shop/web-0`.
    pub fn told(&self) -> Option<String> {
        let mut parts = self.subject.as_deref()?.splitn(3, ':');
        match (parts.next()?, parts.next()?, parts.next()?) {
            (kind, "", name) => Some(format!("{kind} {name}")),
            (kind, namespace, name) => Some(format!("{kind} {namespace}/{name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::{DESCRIPTION_ROOM, Mark, TAG_ROOM};
    use crate::object::Gvk;

    fn of(namespace: Option<&str>, name: &str) -> Retained {
        let kind = if namespace.is_some() { "Pod" } else { "PolicyModule" };
        Retained::new("c", &ObjectKey::new(Gvk::new("", "v1", kind), namespace, name), "port")
    }

    #[test]
    fn it_is_told_by_tags_and_by_descriptions() {
        let retained = of(Some("shop"), "web-0");
        assert_eq!(Retained::of("by hand", &retained.tags()), Some(retained.clone()));
        let tags = retained.beside_tags(&BTreeSet::from(["team".into()]));
        assert_eq!((tags[0].as_str(), Retained::of("", &tags)), ("team", Some(retained.clone())));
        assert_eq!(retained.told().unwrap(), "Pod shop/web-0");
        assert_eq!(of(None, "a:b").told().unwrap(), "PolicyModule a:b");
        for beside in ["", "by hand", "of isthmus"] {
            let text = retained.described(beside);
            assert_eq!(Retained::of(&text, &[]), Some(retained.clone()), "{text}");
            assert_eq!(Retained::beside(&text), beside);
        }
        assert_eq!(Retained::of("isthmus:cluster=c by isthmus:retained=c", &[]), None, "not at the start");
        let both = [Retained::cluster_tag("c"), Retained::cluster_tag("d")];
        assert_eq!(Retained::of("", &both), None);
    }

    #[test]
    fn it_is_no_mark_and_has_the_room_of_one() {
        let retained = of(Some("shop"), "web-0");
        assert_eq!(Mark::of(&retained.described(""), &retained.tags()), None);
        assert!(Mark::others(retained.tags().iter().map(String::as_str)).is_empty());
        assert!(retained.tags().len() + TAG_ROOM <= 50);
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out_whole() {
        let long = of(Some("shop"), &"x".repeat(253));
        assert_eq!(long.tags(), ["isthmus:retained=c", "isthmus:retained-name=port"]);
        let uid = "0b9e1f6c-6a44-4c0e-8b0a-1f2d3c4b5a69";
        let key = ObjectKey::new(Gvk::new("", "v1", "Pod"), Some("shop"), &"y".repeat(60));
        let retained = Retained::new(uid, &key, &"n".repeat(63));
        let beside = "z".repeat(DESCRIPTION_ROOM);
        let text = retained.described(&beside);
        assert!(text.len() <= TEXT && text.ends_with(&beside), "{text}");
        let read = Retained::of(&text, &[]).unwrap();
        assert_eq!((read.cluster.as_str(), read.name, read.subject), (uid, retained.name, None));
    }
}
