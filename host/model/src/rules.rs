//! What the contract says of a single entry, and of the VIFs of a list, as far as it can be told without the cloud.

use std::collections::BTreeMap;

use crate::desired::{Creation, Entry, ListError, Removal};
use crate::kinds::Kind;
use crate::mark::{DESCRIPTION_ROOM, Mark, TAG_ROOM};
use crate::sets;
use crate::text::{is_dns_label, quoted};
use crate::value::{Reference, Value};

/// Neutron's limit of a name and of a tag.
const NEUTRON_TEXT: usize = 255;
/// Longest sort key of an L7 policy: it is kept in a tag of Octavia's.
const PRECEDENCE: usize = 200;
/// Linux' limit of an interface name (`IFNAMSIZ` with its final NUL is 16).
const INTERFACE: usize = 15;

/// The rules of one entry.
pub(crate) fn check(entry: &Entry) -> Result<(), ListError> {
    if !is_dns_label(&entry.name) {
        return Err(ListError::BadName(quoted(&entry.name)));
    }
    if entry.project.is_some() {
        return Err(ListError::Project(entry.name.clone()));
    }
    if entry.create == Creation::WhenReferenced {
        return Err(ListError::WhenReferenced(entry.name.clone()));
    }
    let too_long = |what, text: &Option<String>, limit| match text.as_ref().map_or(0, String::len) {
        found if found > limit => Err(ListError::TooLong { entry: entry.name.clone(), what, found, limit }),
        _ => Ok(()),
    };
    too_long("display name", &entry.display_name, NEUTRON_TEXT)?;
    too_long("description", &entry.description, DESCRIPTION_ROOM)?;
    if let Some(Value::Text(precedence)) = entry.fields.get("precedence") {
        too_long("precedence", &Some(precedence.clone()), PRECEDENCE)?;
    }
    if let Some(word) = entry.description.as_deref().and_then(Mark::word_in) {
        return Err(ListError::MarkInDescription { entry: entry.name.clone(), word: quoted(word) });
    }
    let bad = entry.references().into_iter().find_map(|(field, r)| Some((field, wrong_reference(r)?)));
    if let Some((field, why)) = bad {
        return Err(ListError::BadReference { entry: entry.name.clone(), field: quoted(field), why });
    }
    certificates(entry)?;
    unnamed(entry)?;
    selections(entry)?;
    tags(entry)
}

/// A set that can't be told would be an empty one.
fn selections(entry: &Entry) -> Result<(), ListError> {
    let mut wrong = None;
    for value in entry.fields.values() {
        value.selections(&mut |selection| {
            wrong = wrong.take().or(sets::check(selection).err());
        });
    }
    wrong.map_or(Ok(()), |error| {
        Err(ListError::Selection { entry: entry.name.clone(), error: error.to_string() })
    })
}

/// Neutron's address groups have no tags, and its floating IPs no name.
fn unnamed(entry: &Entry) -> Result<(), ListError> {
    let wrong = match entry.kind {
        Kind::AddressGroup if !entry.tags.is_empty() => Some(("tags", "Neutron's address groups have none")),
        Kind::FloatingIp if entry.display_name.is_some() => {
            Some(("display-name", "Neutron's floating IPs have none"))
        }
        Kind::FloatingIpAssociation => association(entry),
        _ => None,
    };
    wrong.map_or(Ok(()), |(field, why)| {
        Err(ListError::BadReference { entry: entry.name.clone(), field: field.into(), why })
    })
}

/// The floating IP is somebody else's, and stays as it is.
fn association(entry: &Entry) -> Option<(&'static str, &'static str)> {
    let leads_nowhere = |value: &Value| matches!(value, Value::Map(case) if case.contains_key("unattached"));
    let is_own = |value: &Value| matches!(value, Value::Ref(Reference::Local(_) | Reference::Mapped { .. }));
    if entry.fields.get("target").is_some_and(leads_nowhere) {
        return Some(("target", "an association is with a port or a VIP: leave the entry out"));
    }
    if entry.fields.get("floating_ip").is_some_and(is_own) {
        return Some(("floating-ip", "the target of a floating IP of ours is a field of its own: use that"));
    }
    let named = entry.display_name.is_some() || entry.description.is_some() || !entry.tags.is_empty();
    named.then_some(("tags", "an association has neither tags nor name nor description"))
}

/// Whose a certificate of a listener is, is told by the mark of its secret: that is of the same list. A secret's mark is its
/// name, which can't be taken off.
fn certificates(entry: &Entry) -> Result<(), ListError> {
    let wrong = match (entry.kind, entry.fields.get("certificate")) {
        (Kind::ListenerCertificate, Some(Value::Ref(Reference::Local(_))) | None) => None,
        (Kind::ListenerCertificate, Some(_)) => {
            Some(("certificate", "a certificate of a listener is an entry of the same list"))
        }
        _ => None,
    };
    let kept = !entry.kind.can_be_remarked() && entry.on_removal == Removal::Retain;
    let wrong = wrong.or(kept.then_some(("on-removal", "it can't be retained: use `delete`")));
    wrong.map_or(Ok(()), |(field, why)| {
        Err(ListError::BadReference { entry: entry.name.clone(), field: field.into(), why })
    })
}

/// References are recorded, and asked of the cloud: what nothing can be called is refused before.
fn wrong_reference(reference: &Reference) -> Option<&'static str> {
    match reference {
        Reference::Existing(id) if !(1..=NEUTRON_TEXT).contains(&id.len()) => {
            Some("an id or a name has 1 to 255 bytes")
        }
        Reference::Mapped { name, .. } if !is_dns_label(name) => Some("an entry's name is a DNS label"),
        Reference::Mapped { subject, .. } if !subject.is_possible() => {
            Some("there is no object of such a name in Kubernetes")
        }
        _ => None,
    }
}

fn tags(entry: &Entry) -> Result<(), ListError> {
    if entry.tags.len() > TAG_ROOM {
        let found = entry.tags.len();
        return Err(ListError::TooManyTags { entry: entry.name.clone(), found, limit: TAG_ROOM });
    }
    let wrong = |tag: &str| match tag {
        tag if tag.len() > NEUTRON_TEXT => Some("it has more than 255 bytes"),
        tag if tag.contains([',', '/']) => Some("it holds a comma or a slash"),
        tag if Mark::is_part(tag) => Some("it begins with isthmus:, as the host's own marks do"),
        _ => None,
    };
    let bad = entry.tags.iter().find_map(|tag| Some((tag, wrong(tag)?)));
    bad.map_or(Ok(()), |(tag, why)| {
        Err(ListError::BadTag { entry: entry.name.clone(), tag: quoted(tag), why })
    })
}

/// The rules of the interfaces of a pod: names that Linux takes, each of them once, and one way out.
pub(crate) fn check_interfaces(entries: &[Entry]) -> Result<(), ListError> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut way_out: Option<&str> = None;
    for entry in entries.iter().filter(|e| e.kind == Kind::Vif) {
        if let Some(Value::Text(interface)) = entry.fields.get("interface") {
            if !is_interface_name(interface) {
                let interface = quoted(interface);
                return Err(ListError::BadInterface { entry: entry.name.clone(), interface });
            }
            if let Some(first) = names.insert(interface, &entry.name) {
                let (first, second) = (first.into(), entry.name.clone());
                return Err(ListError::DuplicateInterface { first, second, interface: interface.clone() });
            }
        }
        if entry.fields.get("default_route") == Some(&Value::Bool(true))
            && let Some(first) = way_out.replace(&entry.name)
        {
            return Err(ListError::TwoDefaultRoutes { first: first.into(), second: entry.name.clone() });
        }
    }
    Ok(())
}

/// As the kernel's `dev_valid_name`.
fn is_interface_name(name: &str) -> bool {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
    !name.is_empty() && name.len() <= INTERFACE && name.chars().all(fits) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::DesiredList;
    use crate::object::{Gvk, ObjectKey};
    use crate::value::Fields;

    fn vif(name: &str, interface: &str) -> Entry {
        let fields = [("interface".to_owned(), interface.into())].into_iter().collect();
        Entry::new(name, Kind::Vif, fields)
    }

    fn refused(entries: Vec<Entry>) -> String {
        let text = DesiredList::new(entries).unwrap_err().to_string();
        assert!(text.len() < 400, "{} bytes of an error", text.len());
        text
    }

    fn of_pod(name: &str) -> Reference {
        let subject = ObjectKey::new(Gvk::new("", "v1", "Pod"), Some("shop"), name);
        Reference::Mapped { subject, name: "port".into() }
    }

    #[test]
    fn an_entry_keeps_the_rules_of_the_contract() {
        type Spoil = fn(&mut Entry);
        let table: [(Spoil, &str); 15] = [
            (
                |e| drop(e.fields.insert("precedence".into(), "x".repeat(201).as_str().into())),
                "precedence of 201 bytes; at most 200",
            ),
            (|e| e.name = "x".repeat(1 << 20), "is not a DNS label"),
            (|e| e.project = Some("other".into()), "not supported in this version"),
            (|e| e.display_name = Some("x".repeat(256)), "display name of 256 bytes; at most 255"),
            (|e| e.description = Some("x".repeat(65)), "description of 65 bytes; at most 64"),
            (|e| e.description = Some("a isthmus:name=b".into()), "\"isthmus:name=b\""),
            (|e| e.description = Some("a\nisthmus:b".into()), "\"isthmus:b\""),
            (|e| e.after = vec![Reference::Existing(String::new())], "`after`: an id or a name"),
            (|e| e.after = vec![Reference::Existing("x".repeat(256))], "`after`: an id or a name"),
            (|e| e.after = vec![of_pod(&"x".repeat(254))], "`after`: there is no object"),
            (|e| e.tags = ["isthmus:cluster=x".into()].into(), "the host's own marks"),
            (|e| e.tags = ["a,b".into()].into(), "a comma or a slash"),
            (|e| e.tags = ["a/b".into()].into(), "a comma or a slash"),
            (|e| e.tags = ["x".repeat(256)].into(), "more than 255 bytes"),
            (|e| e.tags = (0..48).map(|n| n.to_string()).collect(), "48 tags; at most 47"),
        ];
        for (spoil, part) in table {
            let mut entry = Entry::new("port", Kind::Port, Fields::new());
            spoil(&mut entry);
            let text = refused(vec![entry]);
            assert!(text.contains(part), "{text}");
        }
        let mut good = Entry::new("port", Kind::Port, Fields::new());
        good.after = vec![Reference::Existing("x".repeat(255)), of_pod("web")];
        good.display_name = Some("x".repeat(255));
        good.description = Some("of isthmus, 64 bytes at most".into());
        good.tags = (0..46).map(|n| n.to_string()).chain(["x".repeat(255)]).collect();
        assert!(DesiredList::new(vec![good]).is_ok());
    }

    #[test]
    fn what_a_kind_has_no_place_for_is_refused() {
        let mut tagged = Entry::new("peers", Kind::AddressGroup, Fields::new());
        tagged.tags = ["team=a".to_owned()].into();
        assert!(refused(vec![tagged]).contains("address groups have none"));
        let mut named = Entry::new("public", Kind::FloatingIp, Fields::new());
        named.display_name = Some("public".into());
        assert!(refused(vec![named]).contains("floating IPs have none"));
    }

    #[test]
    fn a_listeners_certificate_is_of_the_same_list() {
        let sni = |certificate: Reference| {
            let listener = Value::Ref(Reference::Existing("l".into()));
            let fields: Fields =
                [("listener".to_owned(), listener), ("certificate".to_owned(), Value::Ref(certificate))]
                    .into();
            Entry::new("sni", Kind::ListenerCertificate, fields)
        };
        for other in [Reference::Existing("c".into()), of_pod("web")] {
            assert!(refused(vec![sni(other)]).contains("an entry of the same list"));
        }
        let mut own = Entry::new("c", Kind::Certificate, Fields::new());
        assert!(DesiredList::new(vec![own.clone(), sni(Reference::Local("c".into()))]).is_ok());
        own.on_removal = Removal::Retain;
        assert!(refused(vec![own]).contains("`on-removal`"));
    }

    #[test]
    fn interfaces_are_named_as_linux_takes_them() {
        for name in ["", ".", "..", "a/b", "a b", "a\tb", "a:b", "eth0eth0eth0eth0", "a\0"] {
            assert!(refused(vec![vif("v", name)]).contains("no name of an interface"), "{name:?}");
        }
        for name in ["eth0", "eth0eth0eth0eth", "br-ex.5", "äh"] {
            assert!(DesiredList::new(vec![vif("v", name)]).is_ok(), "{name:?}");
        }
        let text = refused(vec![vif("one", "eth0"), vif("two", "eth0")]);
        assert!(text.contains("\"one\" and \"two\" are both the interface \"eth0\""), "{text}");
    }

    #[test]
    fn a_pod_has_one_way_out() {
        let both = [("one", "eth0"), ("two", "eth1")].map(|(name, interface)| {
            let mut entry = vif(name, interface);
            entry.fields.insert("default_route".into(), true.into());
            entry
        });
        assert!(refused(both.to_vec()).contains("the default routes"));
    }
}
