//! The custom resources of `isthmus.dev/v1alpha1`. `deploy/crds` is generated from here.

#[allow(clippy::duplicated_attributes, reason = "each printer column has a type of its own")]
mod mapping;
#[allow(clippy::duplicated_attributes, reason = "each printer column has a type of its own")]
#[allow(unreachable_pub, reason = "KubeSchema makes a private copy of the spec with the same visibility")]
mod module;
mod schema;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResourceExt;

pub use mapping::{
    CloudMapping, CloudMappingSpec, CloudMappingStatus, ModuleVersion, ReferenceError, ResourceReference,
    ResourceState, ResourceStatus, Route, SubjectRef, VifStatus,
};
pub use module::{
    ConfigMapRef, Digest, FailurePolicy, Limits, ModuleSource, OnDelete, PendingChanges, PolicyModule,
    PolicyModuleSpec, PolicyModuleStatus, Rollout,
};

/// The definitions of all our custom resources.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![CloudMapping::crd(), PolicyModule::crd()]
}

/// Whether this condition is `True`.
fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use isthmus_model::object::{Gvk, ObjectKey};
    use isthmus_model::record::RecordedReference;
    use isthmus_model::value::Reference;
    use serde_json::json;

    use super::*;

    /// `ISTHMUS_WRITE_CRDS=1 cargo test -p isthmus-kubernetes` rewrites them.
    #[test]
    fn deployed_definitions_are_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
        for crd in crds() {
            let file = folder.join(format!("{}.yaml", crd.spec.names.plural));
            let text = serde_saphyr::to_string(&crd).unwrap();
            if std::env::var_os("ISTHMUS_WRITE_CRDS").is_some() {
                std::fs::write(&file, &text).unwrap();
            }
            let deployed = std::fs::read_to_string(&file).unwrap();
            assert!(deployed == text, "{} is not current: run with ISTHMUS_WRITE_CRDS=1", file.display());
        }
    }

    /// Kubernetes refuses a schema that is not structural, and users read the descriptions with `kubectl explain`.
    #[test]
    fn every_field_is_described() {
        fn walk(path: &str, schema: &serde_json::Value, missing: &mut Vec<String>) {
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                if field["description"].as_str().is_none_or(str::is_empty) {
                    missing.push(path.clone());
                }
                walk(&path, field, missing);
                walk(&path, &field["items"], missing);
            }
        }
        for crd in crds() {
            let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
            let mut missing = Vec::new();
            for part in ["spec", "status"] {
                walk(part, &schema["openAPIV3Schema"]["properties"][part], &mut missing);
            }
            assert!(missing.is_empty(), "{}: {missing:?}", crd.spec.names.kind);
        }
    }

    #[test]
    fn a_status_clears_what_it_does_not_say() {
        let empty = serde_json::to_value(CloudMappingStatus::default()).unwrap();
        assert!(empty["module"].is_null() && empty.as_object().unwrap().contains_key("module"));
        assert_eq!(empty["resources"], json!([]));
        let empty = serde_json::to_value(PolicyModuleStatus::default()).unwrap();
        assert!(empty.as_object().unwrap().contains_key("pendingDigest"));
    }

    #[test]
    fn a_module_needs_only_its_source() {
        let spec: PolicyModuleSpec =
            serde_json::from_value(json!({"source": {"configMaps": [{"name": "pod-port"}]}})).unwrap();
        assert_eq!(
            (spec.order, spec.failure_policy, spec.on_delete),
            (100, FailurePolicy::KeepLastGood, OnDelete::Retain)
        );
        assert_eq!((spec.rollout.max_deletes, spec.rollout.max_replaces), (0, 0));
    }

    #[test]
    fn references_survive_the_record() {
        let of = ObjectKey::new(Gvk::new("apps", "v1", "Deployment"), Some("n"), "web");
        let references = [
            Reference::Local("net".into()),
            Reference::Mapped { subject: of, name: "port".into() },
            Reference::Existing("public".into()),
        ];
        for reference in references {
            let recorded = RecordedReference { reference, id: "id".into() };
            let stored = ResourceReference::from(&recorded);
            assert_eq!(RecordedReference::try_from(&stored).unwrap(), recorded);
        }
        let neither = ResourceReference { entry: None, subject: None, existing: None, id: "id".into() };
        assert!(RecordedReference::try_from(&neither).is_err());
    }
}
