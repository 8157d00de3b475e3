//! The mark that every cloud resource of ours carries (invariant 2).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

const CLUSTER: &str = "isthmus:cluster=";
const SUBJECT: &str = "isthmus:subject=";
const NAME: &str = "isthmus:name=";
const PREFIX: &str = "isthmus:";

/// Most bytes of what a module says in a description, after the mark.
pub const DESCRIPTION_ROOM: usize = 64;
/// Most tags that a module gives a resource: Neutron takes 50, three of them are the mark.
pub const TAG_ROOM: usize = 47;

/// Neutron's limit of a description.
const DESCRIPTION: usize = 255;
/// The longest mark in a description, with a space after each part: two uids of Kubernetes and a DNS label.
const LONGEST: usize = CLUSTER.len() + 36 + NAME.len() + 63 + SUBJECT.len() + 36 + 3;
const _: () = assert!(LONGEST + DESCRIPTION_ROOM <= DESCRIPTION, "a mark and the module's text fit together");

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
        tags.into_iter().filter(|t| !Self::is_part(t)).map(Into::into).collect()
    }

    /// For resources without tags (address groups, rules): the description.
    pub fn description(&self) -> String {
        self.tags().join(" ")
    }

    /// A description that begins with the mark.
    pub fn described(&self, text: Option<&str>) -> String {
        match text {
            Some(text) if !text.is_empty() => format!("{} {text}", self.description()),
            _ => self.description(),
        }
    }

    /// What a description says beside the mark that it begins with.
    pub fn beside(text: &str) -> String {
        leading(text).map_or(text, |(_, rest)| rest).to_owned()
    }

    /// The mark that a description begins with. What follows is the module's, and never part of a mark.
    pub fn from_description(text: &str) -> Option<Self> {
        leading(text).map(|(mark, _)| mark)
    }

    /// The mark of a resource that has both. Either will do: somebody may have edited the other.
    pub fn of(description: &str, tags: &[String]) -> Option<Self> {
        Self::from_description(description).or_else(|| Self::from_tags(tags.iter().map(String::as_str)))
    }

    /// Whether a tag looks like a part of a mark.
    pub(crate) fn is_part(tag: &str) -> bool {
        tag.starts_with(PREFIX)
    }

    /// The first word that looks like a part of a mark.
    pub(crate) fn word_in(text: &str) -> Option<&str> {
        text.split_whitespace().find(|word| Self::is_part(word))
    }
}

/// The mark in front, its parts in the order of [`Mark::tags`], and what follows.
fn leading(text: &str) -> Option<(Mark, &str)> {
    let (cluster, rest) = text.strip_prefix(CLUSTER)?.split_once(' ')?;
    let (name, rest) = rest.strip_prefix(NAME)?.split_once(' ')?;
    let rest = rest.strip_prefix(SUBJECT)?;
    let (subject, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let whole = ![cluster, name, subject].contains(&"");
    whole.then(|| (Mark { cluster: cluster.into(), subject: subject.into(), name: name.into() }, rest))
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
    fn a_description_is_marked_by_its_beginning_alone() {
        let mark = Mark { cluster: "c".into(), subject: "s".into(), name: "eth0".into() };
        for said in
            ["isthmus:cluster=other", "of isthmus:name=x  ", "isthmus:subject=t isthmus:name=u", " a\nb"]
        {
            let text = mark.described(Some(said));
            assert_eq!(Mark::from_description(&text), Some(mark.clone()), "{text}");
            assert_eq!(Mark::beside(&text), said);
            assert_eq!(Mark::from_description(&format!("by hand {text}")), None, "not at the start");
        }
        assert_eq!(mark.described(Some("")), mark.description());
        let [cluster, name, subject] = mark.tags();
        for torn in [
            format!("{cluster} {subject} {name}"),
            format!("{cluster} {name}"),
            format!("{cluster}  {name} {subject}"),
        ] {
            assert_eq!(Mark::from_description(&torn), None, "{torn}");
        }
    }

    #[test]
    fn the_longest_mark_leaves_the_room_that_is_promised() {
        let uid = "0b9e1f6c-6a44-4c0e-8b0a-1f2d3c4b5a69".to_owned();
        let mark = Mark { cluster: uid.clone(), subject: uid, name: "n".repeat(63) };
        assert_eq!(mark.description().len() + 1, LONGEST);
        assert!(mark.described(Some(&"x".repeat(DESCRIPTION_ROOM))).len() <= DESCRIPTION);
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
