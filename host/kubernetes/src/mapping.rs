//! Writes to CloudMappings. A CloudMapping is stored before the first cloud resource of its subject is made, and goes
//! after the last one (invariant 1).

use isthmus_model::hash;
use isthmus_model::object::{Gvk, Subject};
use isthmus_model::retry::RetryClass;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::client::Client;
use crate::crd::{CloudMapping, CloudMappingSpec, CloudMappingStatus, SubjectRef};
use crate::discovery::Discoveries;
use crate::error::{Error, ErrorKind};
use crate::names::{ANNOTATION_MIRROR, FIELD_MANAGER, FINALIZER, LABEL_NODE, LABEL_SUBJECT_KIND, node_label};

const RESOURCE: &str = "cloudmappings";
/// Longest name of an object (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;

/// Writes CloudMappings.
#[derive(Clone)]
pub struct Mappings {
    client: Client,
    home: String,
    kinds: Discoveries,
}

impl Mappings {
    /// `home` is the operator's namespace: mappings of cluster-scoped subjects live there.
    pub fn new(client: Client, home: &str) -> Self {
        Self { kinds: Discoveries::new(client.clone()), client, home: home.into() }
    }

    /// The namespace that the mapping of this subject lives in.
    pub fn namespace_of<'a>(&'a self, subject: &'a Subject) -> &'a str {
        match subject.key.namespace.as_deref() {
            Some(namespace) => namespace,
            None if *subject.key.kind == Gvk::new("", "v1", "Namespace") => &subject.key.name,
            None => &self.home,
        }
    }

    /// Whether a mapping lies where that of its subject does. One that does not is somebody's copy, or made up.
    pub fn is_in_place(&self, mapping: &CloudMapping) -> bool {
        let subject = mapping.spec.subject.subject();
        mapping.namespace().as_deref() == Some(self.namespace_of(&subject))
            && mapping.name_any() == name_of(&subject)
    }

    /// Stores the mapping of a subject, with our finalizer and without a status. Where it is stored already, that one is
    /// returned, with our finalizer put back if somebody took it off. `node` is what the node's agent selects by, and
    /// `mirror` what its kubelet knows a static Pod by.
    ///
    /// # Errors
    /// [`ErrorKind::NamespaceTerminating`] where nothing new can be stored; [`ErrorKind::NameTaken`] where another
    /// subject's mapping has the name; [`ErrorKind::Conflict`] where the one that is stored is being deleted.
    pub async fn create(
        &self,
        subject: &Subject,
        node: Option<&str>,
        mirror: Option<&str>,
    ) -> Result<CloudMapping, Error> {
        let (namespace, name) = (self.namespace_of(subject), name_of(subject));
        let mappings = self.api(namespace);
        let what = format!("create CloudMapping {namespace}/{name}");
        let new = new_mapping(subject, namespace, &name, node, mirror);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let created = self.client.write("create", RESOURCE, &what, mappings.create(&parameters, &new)).await;
        match created {
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                let stored = self.client.read(&what, mappings.get(&name)).await?;
                let owner = &stored.spec.subject;
                if owner.uid != *subject.uid {
                    let why = format!("the name is taken by {} {} ({})", owner.kind, owner.name, owner.uid);
                    return Err(Error::new(RetryClass::Conflict, ErrorKind::NameTaken, &what, why));
                }
                if stored.metadata.deletion_timestamp.is_some() {
                    let why = "the one that is there is being deleted";
                    return Err(Error::new(RetryClass::Conflict, ErrorKind::Conflict, &what, why));
                }
                self.hold(&mappings, stored).await
            }
            other => other,
        }
    }

    /// Puts our finalizer on where it is missing.
    async fn hold(&self, mappings: &Api<CloudMapping>, stored: CloudMapping) -> Result<CloudMapping, Error> {
        if stored.finalizers().iter().any(|f| f == FINALIZER) {
            return Ok(stored);
        }
        let name = stored.name_any();
        let finalizers: Vec<&str> =
            stored.finalizers().iter().map(String::as_str).chain([FINALIZER]).collect();
        let metadata = json!({"finalizers": finalizers, "resourceVersion": stored.resource_version()});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let what = format!("put the finalizer of CloudMapping {name} back");
        let parameters = PatchParams::default();
        self.client.write("patch", RESOURCE, &what, mappings.patch(&name, &parameters, &patch)).await
    }

    /// Says on which node it is, where that was not known when it was made.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where the mapping is gone.
    pub async fn label_node(&self, namespace: &str, name: &str, node: &str) -> Result<CloudMapping, Error> {
        let patch = Patch::Merge(json!({"metadata": {"labels": {LABEL_NODE: node_label(node)}}}));
        let what = format!("label CloudMapping {namespace}/{name} with its node");
        let (mappings, parameters) = (self.api(namespace), PatchParams::default());
        self.client.write("patch", RESOURCE, &what, mappings.patch(name, &parameters, &patch)).await
    }

    /// Writes the whole status. With a resource version the write fails with [`ErrorKind::Conflict`] where the mapping has
    /// changed since: the node agent's condition would be lost otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where the mapping is gone.
    pub async fn patch_status(
        &self,
        namespace: &str,
        name: &str,
        status: &CloudMappingStatus,
        resource_version: Option<&str>,
    ) -> Result<CloudMapping, Error> {
        let what = format!("write status of CloudMapping {namespace}/{name}");
        // A null would ask for the version to be removed, which is refused.
        let metadata =
            resource_version.map_or_else(|| json!({}), |version| json!({"resourceVersion": version}));
        let patch = Patch::Merge(json!({"metadata": metadata, "status": status}));
        let mappings = self.api(namespace);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        self.client
            .write("patch_status", RESOURCE, &what, mappings.patch_status(name, &parameters, &patch))
            .await
    }

    /// Lets go of a mapping whose cloud resources are gone: takes our finalizer off and, where nobody did yet, deletes it.
    /// Two writes at most; one where it is being deleted already. A mapping that is gone, or one of another life under the
    /// name, is none of this call's business: `Ok`.
    ///
    /// # Errors
    /// A write that failed. Calling again is safe.
    pub async fn release(&self, namespace: &str, name: &str, uid: &str) -> Result<(), Error> {
        let what = format!("release CloudMapping {namespace}/{name}");
        let mappings = self.api(namespace);
        let mut mapping = match self.read_if_same(&mappings, &what, name, uid).await? {
            Some(mapping) => mapping,
            None => return Ok(()),
        };
        if let Some(at) = mapping.finalizers().iter().position(|f| f == FINALIZER) {
            // The tests make sure that what is removed is ours, whatever happened since the read.
            let path = format!("/metadata/finalizers/{at}");
            let steps = json!([
                {"op": "test", "path": "/metadata/uid", "value": uid},
                {"op": "test", "path": path, "value": FINALIZER},
                {"op": "remove", "path": path},
            ]);
            let patch =
                Patch::<()>::Json(serde_json::from_value(steps).map_err(|e| Error::malformed(&what, e))?);
            let parameters = PatchParams::default();
            match self.client.write("patch", RESOURCE, &what, mappings.patch(name, &parameters, &patch)).await
            {
                Ok(patched) => mapping = patched,
                Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
                // A test that does not hold is answered by 422: the mapping changed since it was read.
                Err(error) if error.class == RetryClass::Invalid => {
                    return Err(Error::new(RetryClass::Conflict, ErrorKind::Conflict, &what, error));
                }
                Err(error) => return Err(error),
            }
        }
        if mapping.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let preconditions = Preconditions { uid: Some(uid.into()), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.client.write("delete", RESOURCE, &what, mappings.delete(name, &parameters)).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The CloudMapping as it is now; `None`: there is none.
    ///
    /// # Errors
    /// The API server's.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<CloudMapping>, Error> {
        let mappings = self.api(namespace);
        self.client.read(&format!("read CloudMapping {namespace}/{name}"), mappings.get_opt(name)).await
    }

    /// Whether a namespace is being deleted, or gone: nothing new can be stored in it. Asked of the API server itself, as a watch lags.
    ///
    /// # Errors
    /// The API server's.
    pub async fn is_going(&self, namespace: &str) -> Result<bool, Error> {
        let namespaces: Api<Namespace> = Api::all(self.client.kube());
        let call = namespaces.get_opt(namespace);
        let found = self.client.read(&format!("read namespace {namespace}"), call).await?;
        Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
    }

    /// Whether a subject is there, in this life. Asked of the API server itself: of two watches either may be the later one.
    ///
    /// # Errors
    /// The API server's.
    pub async fn lives(&self, subject: &Subject) -> Result<bool, Error> {
        let key = &subject.key;
        let Some(api) = self.kinds.api(key).await? else { return Ok(false) };
        let found = self.client.read(&format!("read {key}"), api.get_metadata_opt(&key.name)).await?;
        Ok(found.is_some_and(|found| found.metadata.uid.as_deref() == Some(&*subject.uid)))
    }

    async fn read_if_same(
        &self,
        mappings: &Api<CloudMapping>,
        what: &str,
        name: &str,
        uid: &str,
    ) -> Result<Option<CloudMapping>, Error> {
        let stored = self.client.read(what, mappings.get_opt(name)).await?;
        Ok(stored.filter(|mapping| mapping.metadata.uid.as_deref() == Some(uid)))
    }

    fn api(&self, namespace: &str) -> Api<CloudMapping> {
        Api::namespaced(self.client.kube(), namespace)
    }
}

fn new_mapping(
    subject: &Subject,
    namespace: &str,
    name: &str,
    node: Option<&str>,
    mirror: Option<&str>,
) -> CloudMapping {
    let key = &subject.key;
    let mut mapping = CloudMapping::new(name, CloudMappingSpec { subject: SubjectRef::from(subject) });
    mapping.metadata.namespace = Some(namespace.into());
    mapping.metadata.finalizers = Some(vec![FINALIZER.into()]);
    mapping.metadata.owner_references = Some(vec![OwnerReference {
        api_version: key.kind.api_version(),
        kind: key.kind.kind.clone(),
        name: key.name.to_string(),
        uid: subject.uid.to_string(),
        // The subject goes when its owner wants: our finalizer keeps the record, not the subject.
        block_owner_deletion: Some(false),
        controller: None,
    }]);
    let labels = mapping.labels_mut();
    labels.insert(LABEL_SUBJECT_KIND.into(), key.kind.kind.to_lowercase());
    if let Some(node) = node {
        labels.insert(LABEL_NODE.into(), node_label(node));
    }
    if let Some(uid) = mirror {
        mapping.annotations_mut().insert(ANNOTATION_MIRROR.into(), uid.into());
    }
    mapping
}

/// The name of a subject's mapping: kind, name and the beginning of the uid, as `pod-web-0-1a2b3c4d`. A DNS subdomain of
/// at most 253 characters: what does not fit, or may not be in one, is replaced by a hash.
pub fn name_of(subject: &Subject) -> String {
    let plain = format!("{}-{}", subject.key.kind.kind, subject.key.name);
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let kind = subject.key.kind.kind.to_lowercase();
    let uid: String =
        subject.uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect::<String>().to_lowercase();
    let name = format!("{kind}-{}-{uid}", subject.key.name);
    if name.len() <= LONGEST_NAME
        && name.chars().all(fits)
        && !name.contains("..")
        && !name.contains(".-")
        && !name.contains("-.")
    {
        return name;
    }
    let digest = hash::of(&(&plain, &*subject.uid));
    let room = LONGEST_NAME - digest.len() - 1;
    let kept: String = name.chars().map(|c| if fits(c) && c != '.' { c } else { '-' }).take(room).collect();
    format!("{}-{digest}", kept.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use isthmus_model::object::ObjectKey;
    use proptest::prelude::*;

    use super::*;

    fn subject(kind: &str, name: &str, uid: &str) -> Subject {
        Subject { key: ObjectKey::new(Gvk::new("", "v1", kind), Some("default"), name), uid: Arc::from(uid) }
    }

    #[test]
    fn a_name_tells_what_it_is_of() {
        let uid = "1a2b3c4d-5e6f-4a1b-8c2d-000000000001";
        assert_eq!(name_of(&subject("Pod", "web-0", uid)), "pod-web-0-1a2b3c4d");
        assert_eq!(name_of(&subject("Pod", "a.b", uid)), "pod-a.b-1a2b3c4d");
        let odd = name_of(&subject("ClusterRole", "system:node", uid));
        assert!(odd.starts_with("clusterrole-system-node-1a2b3c4d-"), "{odd}");
    }

    #[test]
    fn long_names_stay_apart() {
        let uid = "1a2b3c4d-5e6f-4a1b-8c2d-000000000001";
        let (long, longer) = ("a".repeat(250), "a".repeat(253));
        let names = [name_of(&subject("Pod", &long, uid)), name_of(&subject("Pod", &longer, uid))];
        assert!(names[0] != names[1] && names.iter().all(|n| n.len() <= LONGEST_NAME));
    }

    proptest! {
        #[test]
        fn every_name_is_a_dns_subdomain(kind in "[A-Z][A-Za-z]{0,62}", name in "[a-zA-Z0-9:._-]{1,253}", uid in "[a-fA-F0-9-]{9,36}") {
            let name = name_of(&subject(&kind, &name, &uid));
            prop_assert!(name.len() <= LONGEST_NAME, "{name}");
            for label in name.split('.') {
                let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
                prop_assert!(edge(label.chars().next()) && edge(label.chars().last()), "{name}");
                prop_assert!(label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
            }
        }
    }
}
