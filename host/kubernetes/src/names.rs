//! Labels, annotations and other names that Isthmus writes to, or looks for on, Kubernetes objects.

/// API group of our custom resources.
pub const GROUP: &str = "isthmus.dev";
/// Version of our custom resources.
pub const VERSION: &str = "v1alpha1";
/// Field manager of everything that we apply; also who reports our Events.
pub const FIELD_MANAGER: &str = "isthmus";
/// Finalizer of a CloudMapping: it has resources in the cloud (invariant 1). Also of a PolicyModule, for `onDelete`.
pub const FINALIZER: &str = "isthmus.dev/cloud-resources";

/// Label of a ConfigMap that holds a module, with the name of its PolicyModule as value.
pub const LABEL_POLICY_MODULE: &str = "isthmus.dev/policy-module";
/// Annotation of such a ConfigMap: which part of how many it holds, as `2/3`, where one ConfigMap is too
/// small for all.
pub const ANNOTATION_PART: &str = "isthmus.dev/part";
/// Annotation of such a ConfigMap: SHA-256 of the whole module, in hex.
pub const ANNOTATION_SHA256: &str = "isthmus.dev/sha256";
/// Annotation of a PolicyModule: the version whose held changes its owner agrees to, as its `status.pendingDigest` names it.
pub const ANNOTATION_APPROVE: &str = "isthmus.dev/approve";

/// Label of a CloudMapping: the node that its VIFs are bound on. What a node agent selects by.
pub const LABEL_NODE: &str = "isthmus.dev/node";
/// Value of [`LABEL_NODE`]: the node's name, or a hash of it where it is too long for a label (63 characters; names of nodes
/// have up to 253).
pub fn node_label(node: &str) -> String {
    if node.len() <= 63 { node.to_owned() } else { isthmus_model::hash::of(&node) }
}

/// Label of a Node that is a virtual machine of the cloud: the binding of its Pods' interfaces that name none themselves, as `vlan`.
pub const LABEL_BINDING: &str = "isthmus.dev/binding";
/// Annotation of such a Node: id or name of its port in the cloud, where that is not to be told by the Node's addresses.
pub const ANNOTATION_PARENT_PORT: &str = "isthmus.dev/parent-port";

/// Label of a CloudMapping: the kind of its subject, in lower case.
pub const LABEL_SUBJECT_KIND: &str = "isthmus.dev/subject-kind";
/// Annotation of a CloudMapping of a static Pod's mirror: the uid that the kubelet has given the Pod, which is what a
/// container runtime knows.
pub const ANNOTATION_MIRROR: &str = "isthmus.dev/mirror-of";
/// Annotation of a Pod by which the kubelet says the same.
pub const ANNOTATION_CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
