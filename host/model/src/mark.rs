//! The mark that every cloud resource of ours carries (invariant 2).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

const CLUSTER: &str = "isthmus:cluster=";
const SUBJECT: &str = "isthmus:subject=";
const NAME: &str = "isthmus:name=";
const PREFIX: &str = "isthmus:";

/// Whose a cloud resource is: of which cluster, for which life of which object, under which local name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// `metadata.uid` of the namespace `kube-system`.
    pub cluster: String,
    /// `metadata.uid` of the subject.
    pub subject: String,
    /// Local name of the entry.
    pub name: String,
}

impl Mark {
    /// The tag that all resources of a cluster carry: what to filter a list by.
    pub fn cluster_tag(cluster: &str) -> String {
        format!("{CLUSTER}{cluster}")
    }

    /// The tag that all resources of a subject carry.
    pub fn subject_tag(subject: &str) -> String {
        format!("{SUBJECT}{subject}")
    }

    /// The three tags.
    pub fn tags(&self) -> [String; 3] {
        [Self::cluster_tag(&self.cluster), format!("{NAME}{}", self.name), Self::subject_tag(&self.subject)]
    }

    /// The mark that these tags make; `None` where a part is missing or there twice (no mark is better than a guess).
    pub fn from_tags<'a>(tags: impl IntoIterator<Item = &'a str> + Clone) -> Option<Self> {
        let one = |prefix: &str| {
            let mut found = tags.clone().into_iter().filter_map(|t| t.strip_prefix(prefix));
            match (found.next(), found.next()) {
                (Some(value), None) if !value.is_empty() => Some(value.to_owned()),
                _ => None,
            }
        };
        Some(Self { cluster: one(CLUSTER)?, subject: one(SUBJECT)?, name: one(NAME)? })
    }

    /// The tags that are not part of a mark.
    pub fn others<'a>(tags: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        tags.into_iter().filter(|t| !t.starts_with(PREFIX)).map(Into::into).collect()
    }

    /// For resources without tags (address groups, rules): the description.
    pub fn description(&self) -> String {
        self.tags().join(" ")
    }

    /// A description that begins with the mark.
    pub fn described(&self, text: Option<&str>) -> String {
        match text {
            Some(text) => format!("{} {text}", self.description()),
            None => self.description(),
        }
    }

    /// What a description says beside a mark.
    pub fn beside(text: &str) -> String {
        text.split(' ').filter(|word| !word.starts_with(PREFIX)).collect::<Vec<_>>().join(" ")
    }

    /// The mark that a description begins with.
    pub fn from_description(text: &str) -> Option<Self> {
        Self::from_tags(text.split_whitespace())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let mark = Mark { cluster: "c".into(), subject: "s".into(), name: "eth0".into() };
        let tags = mark.tags();
        assert_eq!(Mark::from_tags(tags.iter().map(String::as_str)), Some(mark.clone()));
        let text = mark.described(Some("by hand"));
        assert_eq!(Mark::from_description(&text), Some(mark));
        assert_eq!(Mark::beside(&text), "by hand");
    }

    #[test]
    fn half_a_mark_is_none() {
        assert_eq!(Mark::from_tags(["isthmus:cluster=c", "isthmus:subject=s"]), None);
        assert_eq!(
            Mark::from_tags([
                "isthmus:cluster=c",
                "isthmus:cluster=d",
                "isthmus:subject=s",
                "isthmus:name=n"
            ]),
            None
        );
        assert_eq!(Mark::others(["isthmus:cluster=c", "team=a"]), BTreeSet::from(["team=a".to_owned()]));
    }
}
