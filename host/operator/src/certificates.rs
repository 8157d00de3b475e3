//! What certificates hold: read by the host from the objects that a list names, so that no private key enters a module, a
//! list, a record or a log.
//!
//! Before a list is planned it is *sealed*: in place of its source, a certificate gets a digest of what that holds now, and the
//! planner sees from the digest whether the one in the cloud is the right one. A source that can't be used blocks its entry, and
//! what was made of it before stays.
//!
//! The object is read at every reconcile of who names it, and that is woken when the object changes: an object of a watched kind
//! by its watch, any other (a Secret) by a watch of its own, by name. A change is in the cloud a second or two later. Where
//! the operator may read an object and not watch it, at the next resync; what can't be used is looked at every 20 s too.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use isthmus_kubernetes::named::{Content, NamedObjects};
use isthmus_kubernetes::watch::Watches;
use isthmus_model::desired::{DesiredList, Entry};
use isthmus_model::kinds::Kind;
use isthmus_model::object::{Gvk, ObjectKey, Subject};
use isthmus_model::observed::Observed;
use isthmus_model::projection::FieldPath;
use isthmus_model::retry::RetryClass;
use isthmus_model::value::{Fields, Reference, Value};
use isthmus_openstack::barbican::{Bundle, Part};
use parking_lot::Mutex;

use crate::cloud::certificate::CONTENT;
use crate::cloud::{CloudError, Held};
use crate::error::ReconcileError;
use crate::session::Session;

/// The field that a sealed entry has no more.
const SOURCE: &str = "source";

/// A list that can be planned. What its certificates hold is at hand for as long as it is kept.
pub(crate) struct Sealed<'a> {
    pub(crate) list: Cow<'a, DesiredList>,
    /// Why the contents of some stand for nothing.
    pub(crate) unusable: BTreeMap<Reference, String>,
    _held: Option<Held>,
}

/// Why a certificate can't be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) why: String,
    /// Whether the object is there, and wrong.
    pub(crate) wrong: bool,
}

/// Who makes certificates of which objects.
pub struct Sources {
    named: NamedObjects,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    by_subject: HashMap<Arc<str>, Uses>,
    by_object: BTreeMap<ObjectKey, BTreeSet<Arc<Subject>>>,
}

#[derive(Default)]
struct Uses {
    objects: BTreeSet<ObjectKey>,
    /// By local name.
    problems: BTreeMap<String, Problem>,
}

impl Sources {
    /// Nobody makes any yet.
    pub fn new(named: NamedObjects) -> Self {
        Self { named, used: Mutex::default() }
    }

    /// Makes these the objects that a subject's certificates are made of.
    fn refer(&self, watches: &Watches, subject: &Arc<Subject>, objects: BTreeSet<ObjectKey>) {
        let mut used = self.used.lock();
        if used.set(subject, objects) {
            let all: BTreeSet<ObjectKey> = used.by_object.keys().cloned().collect();
            let (watched, others) = all.into_iter().partition(|key| watches.state(&key.kind).is_some());
            watches.heed(watched);
            self.named.watch(&others);
        }
    }

    fn note(&self, subject: &Subject, problems: BTreeMap<String, Problem>) {
        let mut used = self.used.lock();
        if !problems.is_empty() || used.by_subject.contains_key(&subject.uid) {
            used.by_subject.entry(subject.uid.clone()).or_default().problems = problems;
        }
    }

    /// Why certificates of a subject can't be made, by local name.
    pub(crate) fn problems(&self, subject: &Subject) -> BTreeMap<String, Problem> {
        self.used.lock().by_subject.get(&subject.uid).map(|uses| uses.problems.clone()).unwrap_or_default()
    }

    /// Those whose certificates are made of this object.
    pub(crate) fn users(&self, object: &ObjectKey) -> Vec<Arc<Subject>> {
        self.used.lock().by_object.get(object).into_iter().flatten().cloned().collect()
    }

    /// A subject makes none any more.
    pub(crate) fn forget(&self, watches: &Watches, subject: &Arc<Subject>) {
        self.refer(watches, subject, BTreeSet::new());
        self.used.lock().by_subject.remove(&subject.uid);
    }
}

impl Used {
    /// Whether anything differs.
    fn set(&mut self, subject: &Arc<Subject>, objects: BTreeSet<ObjectKey>) -> bool {
        let before = self.by_subject.get(&subject.uid).map(|uses| &uses.objects);
        if before.map_or(objects.is_empty(), |before| *before == objects) {
            return false;
        }
        for gone in before.into_iter().flatten().filter(|key| !objects.contains(*key)) {
            if let Some(users) = self.by_object.get_mut(gone) {
                users.remove(subject);
                if users.is_empty() {
                    self.by_object.remove(gone);
                }
            }
        }
        for key in &objects {
            self.by_object.entry(key.clone()).or_default().insert(subject.clone());
        }
        match objects.is_empty() {
            true => drop(self.by_subject.remove(&subject.uid)),
            false => self.by_subject.entry(subject.uid.clone()).or_default().objects = objects,
        }
        true
    }
}

/// Where a certificate comes from.
enum Source {
    Object { key: ObjectKey, certificate: Field, private_key: Option<Field>, chain: Option<Field> },
    Pem { certificate: String, private_key: String, chain: Option<String> },
}

/// A path, and how people write it.
struct Field(FieldPath, String);

impl Source {
    fn of(entry: &Entry) -> Result<Self, String> {
        let Some(Value::Map(source)) = entry.fields.get(SOURCE) else {
            return Err("it has no source".into());
        };
        match (source.get("from_object"), source.get("pem")) {
            (Some(Value::Map(of)), _) => Ok(Self::Object {
                key: object(of).ok_or("its object has no kind or no name")?,
                certificate: Field::of(of, "certificate")?.ok_or("it names no field for the certificate")?,
                private_key: Field::of(of, "private_key")?,
                chain: Field::of(of, "chain")?,
            }),
            (_, Some(Value::Map(pem))) => Ok(Self::Pem {
                certificate: text(pem, "certificate").unwrap_or_default().into(),
                private_key: text(pem, "private_key").unwrap_or_default().into(),
                chain: text(pem, "chain").map(Into::into),
            }),
            _ => Err("its source is of no known kind".into()),
        }
    }
}

impl Field {
    /// `None` for one that is not named, or named by an empty text.
    fn of(fields: &Fields, name: &str) -> Result<Option<Self>, String> {
        let Some(path) = text(fields, name).filter(|path| !path.is_empty()) else { return Ok(None) };
        let parsed: FieldPath = path.parse().map_err(|error| format!("{name}: {error}"))?;
        Ok(Some(Self(parsed, path.into())))
    }

    fn read<'c>(&self, key: &ObjectKey, content: &'c Content) -> Result<&'c str, Problem> {
        let missing = || Problem { why: format!("{key} has no text at {}", self.1), wrong: true };
        content.text(&self.0).filter(|text| !text.trim().is_empty()).ok_or_else(missing)
    }
}

fn text<'v>(fields: &'v Fields, name: &str) -> Option<&'v str> {
    match fields.get(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn object(fields: &Fields) -> Option<ObjectKey> {
    let Some(Value::Map(of)) = fields.get("object") else { return None };
    let kind = Gvk::new(text(of, "group")?, text(of, "version")?, text(of, "kind")?);
    Some(ObjectKey::new(kind, text(of, "namespace"), text(of, "name")?))
}

/// What an object holds of a certificate, checked.
fn bundle_of(
    key: &ObjectKey,
    content: &Content,
    certificate: &Field,
    private_key: Option<&Field>,
    chain: Option<&Field>,
) -> Result<Bundle, Problem> {
    let (own, chained) = (certificate.read(key, content)?, chain.map(|f| f.read(key, content)).transpose()?);
    let made = match private_key {
        Some(private) => Bundle::new(own, private.read(key, content)?, chained),
        None => Bundle::authority(own),
    };
    made.map_err(|error| {
        let field = match error.part {
            Part::Certificate => Some(certificate),
            Part::PrivateKey => private_key,
            Part::Chain => chain,
        };
        let field = field.map(|field| field.1.as_str()).unwrap_or_default();
        Problem { why: format!("{key}, {field}: {error}"), wrong: true }
    })
}

impl Session {
    /// Reads what the certificates of a list hold.
    ///
    /// # Errors
    /// The API server's, where it could not say.
    pub(crate) async fn seal<'a>(
        &self,
        subject: &Arc<Subject>,
        desired: &'a DesiredList,
    ) -> Result<Sealed<'a>, ReconcileError> {
        let of = desired.entries().iter().filter(|e| e.kind == Kind::Certificate);
        let sources: Vec<(&Entry, Result<Source, String>)> = of.map(|e| (e, Source::of(e))).collect();
        if sources.is_empty() {
            self.sources.forget(&self.watches, subject);
            return Ok(Sealed { list: Cow::Borrowed(desired), unusable: BTreeMap::new(), _held: None });
        }
        let objects = sources.iter().filter_map(|(_, source)| match source {
            Ok(Source::Object { key, .. }) if may_name(subject, key) => Some(key.clone()),
            _ => None,
        });
        // Before anything is read: what changes after that wakes the subject.
        self.sources.refer(&self.watches, subject, objects.collect());
        let (mut read, mut held) = (HashMap::new(), Vec::new());
        let (mut values, mut problems) = (BTreeMap::new(), BTreeMap::new());
        for (entry, source) in &sources {
            match self.bundle(subject, source.as_ref(), &mut read).await? {
                Ok(bundle) => {
                    let digest = bundle.digest(&subject.uid);
                    values.insert(entry.name.as_str(), Value::Text(digest.clone()));
                    held.push((digest, bundle));
                }
                Err(problem) => drop(problems.insert(entry.name.clone(), problem)),
            }
        }
        let unusable: BTreeMap<Reference, String> =
            problems.iter().map(|(name, problem)| (unread(name), problem.why.clone())).collect();
        self.sources.note(subject, problems);
        let content = |entry: &Entry| {
            values.get(entry.name.as_str()).cloned().unwrap_or_else(|| Value::Ref(unread(&entry.name)))
        };
        let list = Cow::Owned(sealed(desired, content)?);
        Ok(Sealed { list, unusable, _held: Some(self.cloud.contents.hold(&subject.uid, held)) })
    }

    /// What a source holds; or why that can't be used.
    async fn bundle(
        &self,
        subject: &Subject,
        source: Result<&Source, &String>,
        read: &mut HashMap<ObjectKey, Option<Content>>,
    ) -> Result<Result<Bundle, Problem>, ReconcileError> {
        let problem = |why: String, wrong| Ok(Err(Problem { why, wrong }));
        match source {
            Err(why) => problem(why.clone(), true),
            Ok(Source::Pem { certificate, private_key, chain }) => {
                let made = match private_key.as_str() {
                    "" => Bundle::authority(certificate),
                    key => Bundle::new(certificate, key, chain.as_deref()),
                };
                Ok(made.map_err(|error| Problem { why: format!("{:?}: {error}", error.part), wrong: true }))
            }
            Ok(Source::Object { key, .. }) if !may_name(subject, key) => {
                problem(format!("{key} is not read: it is not in the namespace of {}", subject.key), true)
            }
            Ok(Source::Object { key, certificate, private_key, chain }) => {
                if !read.contains_key(key) {
                    match self.sources.named.read(key).await {
                        Ok(content) => drop(read.insert(key.clone(), content)),
                        Err(error) if error.class == RetryClass::Forbidden => {
                            return problem(forbidden(key, &error), false);
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                match read.get(key).and_then(Option::as_ref) {
                    Some(content) => {
                        Ok(bundle_of(key, content, certificate, private_key.as_ref(), chain.as_ref()))
                    }
                    None => problem(format!("there is no {key}"), false),
                }
            }
        }
    }

    /// A list as if its certificates held what they held when they were made: what another version of a module changes is not
    /// what their sources hold.
    pub(crate) fn sealed_as_made<'a>(
        &self,
        subject: &Subject,
        desired: &'a DesiredList,
    ) -> Cow<'a, DesiredList> {
        if desired.entries().iter().all(|entry| entry.kind != Kind::Certificate) {
            return Cow::Borrowed(desired);
        }
        let observed: Vec<Observed> = self.inventory.lock().of(&subject.uid).into_values().collect();
        let content = |entry: &Entry| {
            let own = |o: &&Observed| {
                o.kind == entry.kind && o.mark.as_ref().is_some_and(|mark| mark.name == entry.name)
            };
            let known = observed.iter().find(own).and_then(|o| o.fields.get(CONTENT)?.as_str());
            known.unwrap_or_default().into()
        };
        sealed(desired, content).map_or(Cow::Borrowed(desired), Cow::Owned)
    }

    /// Wakes those whose certificates are made of an object.
    pub(crate) fn touched(&self, object: &ObjectKey) {
        for subject in self.sources.users(object) {
            self.causes.lock().entry(subject.uid.clone()).or_insert_with(|| format!("{object} changed"));
            self.queue.now(subject);
        }
    }
}

/// What is in a namespace speaks for what is in there; what is in the cluster for everything.
fn may_name(subject: &Subject, key: &ObjectKey) -> bool {
    subject.key.namespace.is_none() || subject.key.namespace == key.namespace
}

fn forbidden(key: &ObjectKey, error: &isthmus_kubernetes::Error) -> String {
    format!(
        "the operator may not read {key}: give it get, list and watch of it, by a Role in its namespace with \
         resourceNames ({error})"
    )
}

/// What stands in a list for a content that is not known.
fn unread(name: &str) -> Reference {
    Reference::Existing(format!("content of {name}"))
}

/// A list with contents in place of sources. A secret has no place for what else can be said of it.
fn sealed(desired: &DesiredList, content: impl Fn(&Entry) -> Value) -> Result<DesiredList, ReconcileError> {
    let seal = |entry: &Entry| {
        if entry.kind.can_be_remarked() {
            return entry.clone();
        }
        let mut fields = entry.fields.clone();
        if fields.remove(SOURCE).is_some() || entry.kind == Kind::Certificate {
            fields.insert(CONTENT.into(), content(entry));
        }
        Entry { after: entry.after.clone(), ..Entry::new(&entry.name, entry.kind, fields) }
    };
    DesiredList::new(desired.entries().iter().map(seal).collect()).map_err(|error| {
        let (kind, name) = (Kind::Certificate, String::new());
        ReconcileError::Cloud(CloudError::Field { kind, name, message: error.to_string() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_object(key: &str, private_key: &str) -> Entry {
        let text = |pairs: &[(&str, &str)]| {
            Value::Map(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect())
        };
        let object = text(&[
            ("group", ""),
            ("version", "v1"),
            ("kind", "Secret"),
            ("namespace", "shop"),
            ("name", key),
        ]);
        let Value::Map(mut of) = text(&[("certificate", "data[\"tls.crt\"]"), ("private_key", private_key)])
        else {
            unreachable!()
        };
        of.insert("object".into(), object);
        let source = Value::Map([("from_object".to_owned(), Value::Map(of))].into());
        Entry::new("certificate", Kind::Certificate, [(SOURCE.to_owned(), source)].into())
    }

    #[test]
    fn a_source_says_what_is_to_be_read() {
        let Ok(Source::Object { key, certificate, private_key, chain }) =
            Source::of(&of_object("own", "data[\"tls.key\"]"))
        else {
            panic!("a source")
        };
        assert_eq!(key.to_string(), "Secret shop/own");
        assert_eq!(certificate.1, "data[\"tls.crt\"]");
        assert!(private_key.is_some() && chain.is_none());
        let Ok(Source::Object { private_key, .. }) = Source::of(&of_object("ca", "")) else {
            panic!("a source")
        };
        assert!(private_key.is_none(), "an authority has none here");
        assert!(Source::of(&of_object("own", "a..b")).is_err_and(|why| why.contains("not a field path")));
    }

    #[test]
    fn a_sealed_list_has_digests_and_no_sources() {
        let mut entry = of_object("own", "");
        entry.tags.insert("tag".into());
        let desired = DesiredList::new(vec![entry]).unwrap();
        let sealed = sealed(&desired, |_| "digest".into()).unwrap();
        let entry = sealed.get("certificate").unwrap();
        assert_eq!(entry.fields, Fields::from([(CONTENT.to_owned(), "digest".into())]));
        assert!(entry.tags.is_empty());
    }

    #[test]
    fn who_uses_an_object_is_known_until_he_does_no_more() {
        let key = |name: &str| ObjectKey::new(Gvk::new("", "v1", "Secret"), Some("shop"), name);
        let subject = |uid: &str| {
            let key = ObjectKey::new(Gvk::new("", "v1", "Route"), Some("shop"), uid);
            Arc::new(Subject { key, uid: uid.into() })
        };
        let (mut used, one, two) = (Used::default(), subject("1"), subject("2"));
        assert!(!used.set(&one, BTreeSet::new()), "it never did");
        assert!(used.set(&one, [key("a"), key("b")].into()) && used.set(&two, [key("b")].into()));
        assert!(!used.set(&two, [key("b")].into()));
        assert_eq!(used.by_object[&key("b")].len(), 2);
        assert!(used.set(&one, [key("a")].into()));
        assert_eq!(used.by_object[&key("b")], BTreeSet::from([two.clone()]));
        assert!(used.set(&two, BTreeSet::new()) && used.set(&one, BTreeSet::new()));
        assert!(used.by_object.is_empty() && used.by_subject.is_empty());
    }

    #[test]
    fn a_namespace_speaks_for_itself() {
        let secret = ObjectKey::new(Gvk::new("", "v1", "Secret"), Some("shop"), "own");
        let of = |namespace: Option<&str>| {
            let key = ObjectKey::new(Gvk::new("g", "v1", "Route"), namespace, "web");
            may_name(&Subject { key, uid: "u".into() }, &secret)
        };
        assert!(of(Some("shop")) && of(None) && !of(Some("other")));
    }
}
