//! The named sets of addresses, between the index of the model and what there is: objects, their namespaces, and the addresses
//! that their CloudMappings record.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_kubernetes::store::{StoreSnapshot, Stored};
use isthmus_model::desired::DesiredList;
use isthmus_model::members::Members;
use isthmus_model::object::{Gvk, ObjectKey, Subject};
use isthmus_model::sets::{Candidate, SetIndex, SetKey, addresses};
use isthmus_model::value::Selection;

use crate::session::{Session, namespace_kind, subject_of};

/// The sets that mappings use.
pub(crate) type Sets = SetIndex<Arc<Subject>>;

/// What a set looks at of an object.
struct Member {
    stored: Arc<Stored>,
    namespace: Option<Arc<Stored>>,
    interfaces: Vec<(String, IpAddr)>,
}

impl Member {
    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            namespace: self.stored.key.namespace.as_deref(),
            labels: &self.stored.labels,
            namespace_labels: self.namespace.as_ref().map(|namespace| &namespace.labels),
            text: &self.stored.text,
            interfaces: &self.interfaces,
        }
    }
}

/// The sets that a list names.
fn named(subject: &Subject, desired: &DesiredList) -> BTreeMap<Selection, SetKey> {
    let key = |selection: &Selection| SetKey::new(selection, subject.key.namespace.as_ref());
    desired.selections().into_iter().map(|selection| (selection.clone(), key(selection))).collect()
}

impl Session {
    /// Keeps the sets that a list names from now on, and no others for this subject.
    pub(crate) fn use_sets(&self, subject: &Arc<Subject>, desired: &DesiredList) {
        let keys: BTreeSet<SetKey> = named(subject, desired).into_values().collect();
        let mut sets = self.sets.lock();
        let mut new: BTreeMap<Gvk, Vec<Arc<SetKey>>> = BTreeMap::new();
        for key in sets.set(subject, keys) {
            new.entry(key.selection.kind.clone()).or_default().push(key);
        }
        if new.is_empty() {
            return;
        }
        // What is read is read under the lock. A change of an object may be seen here first: the other sets' users are told of it when
        // it is put, as it is in the new sets alone by now.
        let snapshot = self.snapshot();
        for (kind, keys) in new {
            // A set of one namespace holds nothing of another.
            let homes: Option<BTreeSet<&str>> = keys.iter().map(|key| key.home.as_deref()).collect();
            let may_be_in = |stored: &&Arc<Stored>| match (&homes, &stored.key.namespace) {
                (Some(homes), Some(namespace)) => homes.contains(&**namespace),
                _ => true,
            };
            for stored in snapshot.iter(&kind).filter(may_be_in) {
                sets.fill(&keys, &stored.uid, self.member(stored, &snapshot).candidate());
            }
        }
    }

    /// The addresses of the sets that a list names.
    pub(crate) fn addresses_of_sets(
        &self,
        subject: &Subject,
        desired: &DesiredList,
    ) -> BTreeMap<Selection, Arc<Members>> {
        let named = named(subject, desired);
        let found = |(selection, key): (Selection, SetKey)| {
            let kept = self.sets.lock().addresses(&key);
            let all = kept.unwrap_or_else(|| Arc::new(self.look_for(&key)));
            (selection, all)
        };
        named.into_iter().map(found).collect()
    }

    /// The addresses of a set that nobody uses yet.
    fn look_for(&self, key: &SetKey) -> Members {
        let snapshot = self.snapshot();
        let members: Vec<Member> =
            snapshot.iter(&key.selection.kind).map(|stored| self.member(stored, &snapshot)).collect();
        addresses(key, members.iter().map(Member::candidate))
    }

    /// Takes in that an object or its mapping may have changed: who uses a set that it joined or left is looked at again.
    pub(crate) fn may_join(&self, subject: &Subject) {
        let users = {
            let mut sets = self.sets.lock();
            if !sets.holds(&subject.key.kind) {
                return;
            }
            // What is read is read under the lock: the last to look is the last to put.
            let snapshot = self.snapshot();
            let stored = snapshot.subject(&subject.key).filter(|stored| stored.uid == subject.uid);
            let member = stored.map(|stored| self.member(&stored, &snapshot));
            sets.put(&subject.key.kind, &subject.uid, member.as_ref().map(Member::candidate))
        };
        users.into_iter().for_each(|user| self.queue.now(user));
    }

    /// Takes in that a namespace's labels may have changed.
    pub(crate) fn may_join_in(&self, namespace: &str) {
        let kinds: Vec<Gvk> = self.sets.lock().kinds().into_iter().cloned().collect();
        let snapshot = self.snapshot();
        for kind in kinds {
            for stored in snapshot.iter(&kind).filter(|s| s.key.namespace.as_deref() == Some(namespace)) {
                self.may_join(&subject_of(stored));
            }
        }
    }

    fn member(&self, stored: &Arc<Stored>, snapshot: &StoreSnapshot) -> Member {
        let namespace = stored.key.namespace.as_deref();
        let namespace = namespace.map(|name| ObjectKey::new(namespace_kind(), None, name));
        let known = self.records.lock().get(&subject_of(stored));
        let vifs = known.iter().flat_map(|known| &known.status.vifs);
        let interfaces = vifs.flat_map(|vif| {
            // With the length of the subnet's prefix behind it.
            let addresses = vif.addresses.iter().filter_map(|a| a.split('/').next()?.parse().ok());
            addresses.map(|address| (vif.interface.clone(), address))
        });
        Member {
            stored: stored.clone(),
            namespace: namespace.and_then(|key| snapshot.subject(&key)),
            interfaces: interfaces.collect(),
        }
    }
}
