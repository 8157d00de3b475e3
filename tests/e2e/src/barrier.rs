//! The API server made to refuse what an operator writes.

use std::fmt::Debug;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::wait::until;

/// Which write of the operator is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// That which stores a CloudMapping.
    Create,
    /// Every one to the status of a CloudMapping.
    Status,
    /// What a Route's status is to say.
    Report,
}

/// While it stands, the API server refuses the write in one namespace: one that is left behind by a failed test harms no
/// other.
pub struct Barrier {
    policies: Api<ValidatingAdmissionPolicy>,
    bindings: Api<ValidatingAdmissionPolicyBinding>,
}

impl Barrier {
    const NAME: &str = "isthmus-e2e-barrier";
    const MESSAGE: &str = "refused by the test";

    /// Stands when such a write is seen refused.
    ///
    /// # Errors
    /// The API server does not take the policy, or does not act on it in time.
    pub async fn raise(lab: &Lab, namespace: &str, refused: Refused) -> Result<Self> {
        let this = Self { policies: Api::all(lab.kube.clone()), bindings: Api::all(lab.kube.clone()) };
        let parameters = PatchParams::apply("e2e").force();
        let object = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": Self::NAME}, "spec": spec});
        let (operation, group, resource) = match refused {
            Refused::Create => ("CREATE", "isthmus.dev", "cloudmappings"),
            Refused::Status => ("UPDATE", "isthmus.dev", "cloudmappings/status"),
            Refused::Report => ("UPDATE", "route.openshift.io", "routes/status"),
        };
        let rule = json!({"apiGroups": [group], "apiVersions": ["*"], "operations": [operation],
                          "resources": [resource]});
        let only = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
        let policy = json!({"matchConstraints": {"resourceRules": [rule], "namespaceSelector": only},
                            "validations": [{"expression": "false", "message": Self::MESSAGE}]});
        let policy = Patch::Apply(object("ValidatingAdmissionPolicy", policy));
        this.policies.patch(Self::NAME, &parameters, &policy).await?;
        let binding = json!({"policyName": Self::NAME, "validationActions": ["Deny"]});
        let binding = Patch::Apply(object("ValidatingAdmissionPolicyBinding", binding));
        this.bindings.patch(Self::NAME, &parameters, &binding).await?;
        until("the API server refuses the write", async || {
            let tried = attempt(lab, namespace, refused).await;
            let is_refused = matches!(&tried, Err(kube::Error::Api(s)) if s.message.contains(Self::MESSAGE));
            ensure!(is_refused, "{tried:?}");
            Ok(())
        })
        .await?;
        Ok(this)
    }

    /// Takes it down.
    ///
    /// # Errors
    /// The API server's.
    pub async fn lower(self) -> Result<()> {
        self.bindings.delete(Self::NAME, &DeleteParams::default()).await.context("the binding")?;
        self.policies.delete(Self::NAME, &DeleteParams::default()).await.context("the policy")?;
        Ok(())
    }
}

/// The write, in a dry run: to any object there is.
async fn attempt(lab: &Lab, namespace: &str, refused: Refused) -> Result<(), kube::Error> {
    let mappings = lab.mapping_api(namespace);
    match refused {
        Refused::Create => {
            let subject = json!({"apiVersion": "v1", "kind": "Pod", "name": "probe", "uid": "probe"});
            let probe = json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "CloudMapping",
                               "metadata": {"name": "probe"}, "spec": {"subject": subject}});
            let probe = serde_json::from_value(probe).map_err(kube::Error::SerdeError)?;
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            mappings.create(&dry_run, &probe).await.map(drop)
        }
        Refused::Status => patch_any(&mappings, json!({"status": {"node": "nowhere"}})).await,
        Refused::Report => patch_any(&lab.route_api(namespace), json!({"status": {"ingress": []}})).await,
    }
}

async fn patch_any<K>(api: &Api<K>, patch: Value) -> Result<(), kube::Error>
where
    K: Clone + Debug + DeserializeOwned + ResourceExt,
{
    let all = api.list(&ListParams::default().limit(1)).await?;
    let name = all.items.first().map(ResourceExt::name_any).unwrap_or_default();
    let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
    api.patch_status(&name, &dry_run, &Patch::Merge(patch)).await.map(drop)
}
