//! Which object or document a path means.

use std::sync::Arc;

use crate::kubernetes::discovery::Document;
use crate::kubernetes::registry::{Registry, Resource};

/// Objects that a request is about.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) resource: Arc<Resource>,
    /// Empty: of the cluster, or of all namespaces.
    pub(crate) namespace: String,
    /// Empty: all.
    pub(crate) name: String,
    /// Empty: the object itself.
    pub(crate) subresource: String,
}

impl Target {
    /// Whether the collection is one that can be deleted or created in.
    pub(crate) fn is_one_scope(&self) -> bool {
        self.resource.namespaced != self.namespace.is_empty()
    }
}

/// A path, understood.
#[derive(Debug)]
pub(crate) enum Route {
    Target(Target),
    Document(Document),
    /// Of access; the kind.
    Review(&'static str),
    NotModelled(String),
    Unknown,
}

const REVIEWS: [(&str, &str, &str); 4] = [
    ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
];

/// Groups of the real server that are left out.
const NOT_MODELLED: [&str; 13] = [
    "admissionregistration.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "node.k8s.io",
    "policy",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Resources of `v1` and the like that are left out.
const NOT_MODELLED_HERE: [&str; 15] = [
    "bindings",
    "componentstatuses",
    "endpoints",
    "limitranges",
    "persistentvolumeclaims",
    "persistentvolumes",
    "podtemplates",
    "replicationcontrollers",
    "resourcequotas",
    "ingresses",
    "ingressclasses",
    "ipaddresses",
    "servicecidrs",
    "tokenreviews",
    "localsubjectaccessreviews",
];

pub(crate) fn parse(registry: &Registry, path: &str) -> Route {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let document = |d| Route::Document(d);
    match &*parts {
        ["version"] => document(Document::Version),
        ["healthz" | "readyz" | "livez", ..] => document(Document::Health),
        ["api"] => document(Document::CoreVersions),
        ["apis"] => document(Document::Groups),
        ["openapi", "v2"] => document(Document::OpenApiV2),
        ["openapi", "v3"] => document(Document::OpenApiV3),
        ["openapi", "v3", "api", version] => {
            document(Document::OpenApiV3Of(String::new(), (*version).to_owned()))
        }
        ["openapi", "v3", "apis", group, version] => {
            document(Document::OpenApiV3Of((*group).to_owned(), (*version).to_owned()))
        }
        ["apis", group] => document(Document::Group((*group).to_owned())),
        ["api", version] => document(Document::Resources(String::new(), (*version).to_owned())),
        ["apis", group, version] => document(Document::Resources((*group).to_owned(), (*version).to_owned())),
        ["api", version, rest @ ..] => object(registry, "", version, rest),
        ["apis", group, version, rest @ ..] => object(registry, group, version, rest),
        [""] => document(Document::Paths),
        _ => Route::Unknown,
    }
}

fn object(registry: &Registry, group: &str, version: &str, rest: &[&str]) -> Route {
    if rest.first() == Some(&"watch") {
        return Route::NotModelled("the old watch paths; use ?watch=true".to_owned());
    }
    let (namespace, rest) = match rest {
        ["namespaces", namespace, plural, rest @ ..]
            if !(group.is_empty() && matches!(*plural, "status" | "finalize")) =>
        {
            (*namespace, [&[*plural], rest].concat())
        }
        rest => ("", rest.to_vec()),
    };
    let (plural, name, subresource) = match &*rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        [plural, _, subresource, ..] => {
            return Route::NotModelled(format!("{plural}/{subresource}"));
        }
        [] => return Route::Unknown,
    };
    if let Some((_, _, kind)) =
        REVIEWS.iter().find(|(g, p, _)| *g == group && *p == plural && version == "v1")
    {
        return Route::Review(kind);
    }
    let Some(resource) = registry.get(group, version, plural) else {
        let left_out = NOT_MODELLED.contains(&group) || NOT_MODELLED_HERE.contains(&plural);
        return match left_out {
            true => Route::NotModelled(format!("{plural} of {group}/{version}").replace(" of /", " of ")),
            false => Route::Unknown,
        };
    };
    if !resource.namespaced && !namespace.is_empty()
        || resource.namespaced && namespace.is_empty() && !name.is_empty()
    {
        return Route::Unknown;
    }
    let known = match subresource {
        "" => true,
        "status" => resource.status,
        "finalize" => plural == "namespaces" && group.is_empty(),
        _ if resource.is_custom() => false,
        other => return Route::NotModelled(format!("{plural}/{other}")),
    };
    match known {
        true => Route::Target(Target {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
        }),
        false => Route::Unknown,
    }
}
