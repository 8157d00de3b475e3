//! What references that leave the list stand for: entries of other mappings, and existing resources.

use std::collections::BTreeMap;

use isthmus_model::desired::DesiredList;
use isthmus_model::object::{ObjectKey, Subject};
use isthmus_model::observed::{Observed, Target};
use isthmus_model::plan::External;
use isthmus_model::value::Reference;

use crate::cloud::{Lookup, Result};
use crate::nodes::OfNode;
use crate::records::referred;
use crate::session::{Session, subject_of};

/// What they stand for, and why the others stand for nothing.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Those that stand for something.
    pub external: External,
    /// The others, with what to tell people.
    pub missing: BTreeMap<Reference, String>,
    /// Those of them that are certificates, with what is wrong with their sources.
    pub unusable: BTreeMap<Reference, String>,
}

/// Looks up everything that a list refers to outside of itself.
///
/// # Errors
/// The cloud's, where it could not be asked.
pub async fn resolve(session: &Session, subject: &Subject, desired: &DesiredList) -> Result<Resolved> {
    let mut resolved = Resolved::default();
    resolved.external.sets = session.addresses_of_sets(subject, desired);
    for entry in desired.entries() {
        for (field, reference) in entry.references() {
            let found = match reference {
                Reference::Local(_) => continue,
                Reference::Mapped { subject: other, name } => mapped(session, subject, other, name),
                Reference::Existing(text) => match existing(session, field, text).await? {
                    Lookup::Found(found) => Ok(found.target.clone()),
                    Lookup::Not(why) => Err(why),
                },
            };
            match found {
                Ok(target) => {
                    drop(resolved.external.references.insert((field.to_owned(), reference.clone()), target))
                }
                Err(why) => drop(resolved.missing.insert(reference.clone(), why)),
            }
        }
    }
    Ok(resolved)
}

/// What is not ours; what a node has in the cloud is named by the node.
async fn existing(session: &Session, field: &str, text: &str) -> Result<Lookup> {
    match field {
        "trunk" => session.of_node(text, OfNode::Trunk, &session.snapshot()).await,
        "parent" => session.of_node(text, OfNode::Port, &session.snapshot()).await,
        _ => session.cloud.existing.of_field(field, text).await,
    }
}

/// What the entry of another mapping stands for, in the life that its subject has now.
///
/// # Errors
/// Why there is none, for people.
pub fn mapped(session: &Session, user: &Subject, key: &ObjectKey, name: &str) -> Result<Target, String> {
    found(session, user, key, name).map(|found| found.target())
}

/// The entry of another mapping, for this user of it. Where the other subject is gone, or is made again and has it not yet, the one that
/// the user referred to before, which is kept for it: what it has there, it may go on changing.
///
/// # Errors
/// Why there is none, for people.
pub fn found(session: &Session, user: &Subject, key: &ObjectKey, name: &str) -> Result<Observed, String> {
    now(session, key, name).or_else(|why| kept(session, user, key, name).ok_or(why))
}

/// The entry of another mapping in the life that its subject has now.
fn now(session: &Session, key: &ObjectKey, name: &str) -> Result<Observed, String> {
    let stored = session.snapshot().subject(key).ok_or_else(|| format!("there is no {key}"))?;
    let id = {
        let records = session.records.lock();
        let known =
            records.get(&subject_of(&stored)).ok_or_else(|| format!("{key} has no CloudMapping yet"))?;
        let resource = known.status.resources.iter().find(|r| r.name == name);
        let resource = resource.ok_or_else(|| format!("the mapping of {key} has no entry {name:?}"))?;
        resource
            .id
            .clone()
            .ok_or_else(|| format!("entry {name:?} of the mapping of {key} is not made yet"))?
    };
    let observed = session.inventory.lock().get(&stored.uid, &id);
    observed.ok_or_else(|| format!("entry {name:?} of the mapping of {key} is gone from the cloud"))
}

/// What an entry was that this user's mapping records a reference to, as long as it is there.
fn kept(session: &Session, user: &Subject, key: &ObjectKey, name: &str) -> Option<Observed> {
    let (lives, ids) = {
        let records = session.records.lock();
        let recorded = referred(&records.get(user)?.status);
        let of_entry = recorded.into_iter().filter(|(of, entry, _)| of == key && entry == name);
        let ids: Vec<String> = of_entry.map(|(.., id)| id).collect();
        (records.lives(key).collect::<Vec<Subject>>(), ids)
    };
    let inventory = session.inventory.lock();
    lives.iter().find_map(|life| ids.iter().find_map(|id| inventory.get(&life.uid, id)))
}
