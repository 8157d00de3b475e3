//! What modules said of subjects that name sets. An object that joins or leaves a set changes what the set holds and not what the
//! module would say: it is not asked again (contract, `selection`).

use std::collections::HashMap;
use std::sync::Arc;

use isthmus_policy::Realized;
use parking_lot::Mutex;

use crate::mapped::{Mapping, Verdict};
use crate::modules::Serving;

/// What was said, by the uid of the subject. Everything that a module could answer differently to drops it: another object or
/// pipeline is seen when it is looked up, a change of what was read is told by [`Memos::drop`].
#[derive(Debug, Default)]
pub(crate) struct Memos(Mutex<HashMap<Arc<str>, Memo>>);

#[derive(Debug)]
struct Memo {
    serving: Arc<Serving>,
    /// The subject, as the module saw it.
    text: Arc<str>,
    mapping: Arc<Mapping>,
    /// What the module's report was called with last.
    reported: Option<Vec<Realized>>,
}

impl Memos {
    /// What this pipeline said of this object.
    pub(crate) fn recall(&self, uid: &str, serving: &Arc<Serving>, text: &str) -> Option<Mapping> {
        let said = {
            let all = self.0.lock();
            let memo = all.get(uid)?;
            (Arc::ptr_eq(&memo.serving, serving) && *memo.text == *text).then(|| memo.mapping.clone())?
        };
        Some(Mapping::clone(&said))
    }

    /// Keeps what a pipeline said, if it is a list that names sets, and the current versions said it.
    pub(crate) fn keep(&self, uid: &Arc<str>, serving: &Arc<Serving>, text: &Arc<str>, mapping: &Mapping) {
        let lasting = match &mapping.verdict {
            Verdict::List(list) => mapping.warning.is_none() && !list.selections().is_empty(),
            Verdict::Nothing | Verdict::Frozen(_) => false,
        };
        let mut all = self.0.lock();
        if lasting {
            let (serving, text, mapping) = (serving.clone(), text.clone(), Arc::new(mapping.clone()));
            all.insert(uid.clone(), Memo { serving, text, mapping, reported: None });
        } else {
            all.remove(uid);
        }
    }

    /// Whether the module was told this already, since it mapped the subject.
    pub(crate) fn was_told(&self, uid: &str, realized: &[Realized]) -> bool {
        let all = self.0.lock();
        all.get(uid).and_then(|memo| memo.reported.as_deref()).is_some_and(|told| told == realized)
    }

    /// Takes in that the module was told this, and the subject says what it made of it.
    pub(crate) fn told(&self, uid: &str, realized: Vec<Realized>) {
        if let Some(memo) = self.0.lock().get_mut(uid) {
            memo.reported = Some(realized);
        }
    }

    /// Something that was read for this subject may be different now.
    pub(crate) fn drop(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// Much may be different now.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}
