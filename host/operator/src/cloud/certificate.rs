//! Certificates: secrets of Barbican.
//!
//! A secret has neither tags nor a description, and never changes: its name is its mark, and behind that a digest of what it
//! holds. What it holds comes from the session, which reads it for as long as a plan is carried out ([`Contents`]): it is in no
//! list, no record, no log.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::{Observed, State};
use isthmus_model::retained::Retained;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::Barbican;
use isthmus_openstack::barbican::{Bundle, Secret, SecretCreate};
use parking_lot::Mutex;

use super::{CloudError, Create, Driver, Fields, Result, Update};

/// The kinds that need Barbican.
pub(super) const KINDS: [Kind; 2] = [Kind::Certificate, Kind::ListenerCertificate];

/// The field that says what a certificate holds, by a digest.
pub(crate) const CONTENT: &str = "content";
/// In front of that digest, in a secret's name.
const CONTENT_WORD: &str = "isthmus:content=";

/// What certificates hold, by subject's uid and digest, while it is needed.
#[derive(Clone, Debug, Default)]
pub struct Contents(Arc<Mutex<HashMap<Key, Bundle>>>);

type Key = (Arc<str>, String);

/// Some of [`Contents`], which are forgotten with this.
#[derive(Debug)]
pub struct Held {
    contents: Contents,
    keys: Vec<Key>,
}

impl Contents {
    /// Holds contents of a subject's certificates, by their digests, for as long as the answer is kept. There is one of a
    /// subject at a time.
    pub fn hold(&self, subject: &Arc<str>, contents: Vec<(String, Bundle)>) -> Held {
        let mut all = self.0.lock();
        let mut keys = Vec::new();
        for (digest, bundle) in contents {
            let key = (subject.clone(), digest);
            all.insert(key.clone(), bundle);
            keys.push(key);
        }
        Held { contents: self.clone(), keys }
    }

    fn get(&self, subject: &str, digest: &str) -> Option<Bundle> {
        self.0.lock().get(&(subject.into(), digest.to_owned())).cloned()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.contents.0.lock();
        self.keys.iter().for_each(|key| drop(all.remove(key)));
    }
}

/// Whose the secrets of ours are, by their references: an attachment of a certificate is told by it. `None`: they were not
/// listed yet.
pub(super) type Marks = Arc<Mutex<Option<HashMap<String, Mark>>>>;

/// The driver.
pub(super) struct Certificates {
    barbican: Barbican,
    contents: Contents,
    marks: Marks,
}

impl Certificates {
    pub(super) fn new(barbican: Barbican, contents: Contents, marks: Marks) -> Self {
        Self { barbican, contents, marks }
    }

    fn note(&self, secret_ref: &str, mark: Option<Mark>) {
        if let Some(marks) = &mut *self.marks.lock() {
            match mark {
                Some(mark) => drop(marks.insert(secret_ref.to_owned(), mark)),
                None => drop(marks.remove(secret_ref)),
            }
        }
    }
}

/// The parts of a query by tags: the cluster's, and the subject's where there is one.
pub(super) fn of_subject(tag: &str) -> (&str, Option<&str>) {
    tag.split_once(',').map_or((tag, None), |(cluster, subject)| (cluster, Some(subject)))
}

/// Whether a mark has the tags of a query.
pub(super) fn has(mark: &Mark, tag: &str) -> bool {
    let tags = mark.tags();
    tag.split(',').all(|wanted| tags.iter().any(|own| own == wanted))
}

fn name(mark: &Mark, digest: &str) -> String {
    mark.described(Some(&format!("{CONTENT_WORD}{digest}")))
}

fn observed(secret: Secret) -> Option<Observed> {
    let mark = Mark::from_description(&secret.name)?;
    let digest = Mark::beside(&secret.name).strip_prefix(CONTENT_WORD).unwrap_or_default().to_owned();
    let state = match secret.status.as_str() {
        "ERROR" => State::Failed,
        _ => State::Ready,
    };
    Some(Observed {
        kind: Kind::Certificate,
        id: secret.secret_ref,
        mark: Some(mark),
        retained: None,
        // Barbican lists those of the token's project, and does not say so.
        project: None,
        fields: Fields::from([(CONTENT.to_owned(), digest.into())]),
        tags: Default::default(),
        display_name: secret.name,
        description: String::new(),
        revision: None,
        addresses: Vec::new(),
        cidr: None,
        state,
        created: secret.created,
    })
}

impl Driver for Certificates {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            let (cluster, subject) = of_subject(tag);
            let secrets = self.barbican.list(&format!("{cluster} ")).await?;
            let mut all: Vec<Observed> = secrets.into_iter().filter_map(observed).collect();
            let marked = all.iter().filter_map(|o| Some((o.id.clone(), o.mark.clone()?)));
            // Beside what is known: one that was made meanwhile is not in the list, and one that somebody deleted may be attached.
            self.marks.lock().get_or_insert_default().extend(marked);
            if subject.is_some() {
                all.retain(|o| o.mark.as_ref().is_some_and(|mark| has(mark, tag)));
            }
            Ok(all)
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let digest = create.fields.get(CONTENT).and_then(|v| v.as_str()).unwrap_or_default();
            let bundle = self.contents.get(&create.mark.subject, digest);
            let bundle = bundle.ok_or_else(|| CloudError::Unread { name: create.entry.name.clone() })?;
            let name = name(&create.mark, digest);
            let secret_ref = self.barbican.create(&SecretCreate::new(&name, &bundle)).await?;
            self.note(&secret_ref, Some(create.mark));
            let made = Secret { secret_ref, name, ..Secret::default() };
            observed(made).ok_or(CloudError::Unread { name: create.entry.name.clone() })
        }
        .boxed()
    }

    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            Err(CloudError::Field {
                kind: Kind::Certificate,
                name: update.entry.name.clone(),
                message: "a secret never changes: this is a fault of Isthmus".into(),
            })
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            self.barbican.delete(Secret::id_of(id)).await?;
            self.note(id, None);
            Ok(())
        }
        .boxed()
    }

    fn refresh<'a>(&'a self, old: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move {
            match self.barbican.get(Secret::id_of(&old.id)).await {
                Ok(secret) => Ok(observed(secret)),
                Err(error) if error.class == RetryClass::NotFound => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        .boxed()
    }

    /// A list that says so is refused ([`Kind::can_be_remarked`]).
    fn retain<'a>(&'a self, observed: &'a Observed, _retained: &'a Retained) -> BoxFuture<'a, Result<()>> {
        let name = observed.mark.as_ref().map(|mark| mark.name.clone()).unwrap_or_default();
        let message = "the mark of a secret is its name, and can't be taken off".into();
        async move { Err(CloudError::Field { kind: Kind::Certificate, name, message }) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark { cluster: "c".into(), subject: "s".into(), name: "certificate".into() }
    }

    #[test]
    fn the_name_of_a_secret_is_its_mark_and_what_it_holds() {
        let digest = "0123456789abcdef0123456789abcdef";
        let uid = "0d1f2f5e-6c54-4a3c-9d0f-0d1f2f5e6c54";
        let longest = Mark { cluster: uid.into(), subject: uid.into(), name: "x".repeat(63) };
        assert!(name(&longest, digest).len() <= 255, "Barbican's limit of a name");
        let secret = Secret {
            secret_ref: "http://b/v1/secrets/1".into(),
            name: name(&mark(), digest),
            ..Secret::default()
        };
        let found = observed(secret).unwrap();
        assert_eq!((found.mark, found.state), (Some(mark()), State::Ready));
        assert_eq!(found.fields, Fields::from([(CONTENT.to_owned(), digest.into())]));
        for other in ["", "web.example", "isthmus:cluster=c mine"] {
            assert!(observed(Secret { name: other.into(), ..Secret::default() }).is_none());
        }
        let [cluster, _, subject] = mark().tags();
        assert!(has(&mark(), &cluster) && has(&mark(), &format!("{cluster},{subject}")));
        assert!(!has(&mark(), &format!("{cluster},isthmus:subject=other")));
    }

    #[test]
    fn contents_are_kept_for_as_long_as_they_are_held() {
        let (contents, subject) = (Contents::default(), Arc::from("s"));
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        let bundle = Bundle::new(&certificate.pem(), &key.serialize_pem(), None).unwrap();
        let held = contents.hold(&subject, vec![("d".into(), bundle)]);
        assert!(contents.get("s", "d").is_some() && contents.get("t", "d").is_none());
        assert!(!format!("{contents:?} {held:?}").contains("PRIVATE"));
        drop(held);
        assert!(contents.get("s", "d").is_none());
    }
}
