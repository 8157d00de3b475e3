//! An operator that signs in without a password: with an application credential, as one in a cluster does, or with a token.

use anyhow::{Context, Result, ensure};
use http::Method;
use isthmus_openstack::Neutron;
use isthmus_openstack::catalog::IDENTITY;
use isthmus_openstack::session::Request;
use serde_json::{Value, json};

use crate::lab::{Lab, cloud, private};
use crate::operator::Operator;

/// An application credential. It is of the operator's user, for the operator's project.
#[derive(Debug)]
pub struct ApplicationCredential {
    id: String,
    /// What nobody is to be shown.
    pub secret: String,
    /// Path of it in Keystone.
    path: String,
}

/// Sends as the operator's user.
async fn ask(neutron: &Neutron, method: Method, path: String, body: Option<Value>) -> Result<Value> {
    let mut request = Request::new(IDENTITY, "application_credentials", method, path);
    request.body = body.map(|body| serde_json::to_vec(&body)).transpose()?;
    let answer = neutron.session().send(&request).await?;
    Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
}

impl Lab {
    /// Makes one at Keystone.
    ///
    /// # Errors
    /// Keystone's.
    pub async fn application_credential(&self) -> Result<ApplicationCredential> {
        let neutron = cloud("isthmus")?;
        let user = neutron.session().token().await?.user_id.clone().context("a token is of a user")?;
        let path = format!("/users/{user}/application_credentials");
        let name = format!("e2e-{}", std::process::id());
        let body = json!({"application_credential": {"name": name}});
        let made = ask(&neutron, Method::POST, path.clone(), Some(body)).await?;
        let text = |field: &str| {
            let found = made.pointer(&format!("/application_credential/{field}")).and_then(Value::as_str);
            found.map(str::to_owned).with_context(|| format!("it has no {field}"))
        };
        let (id, secret) = (text("id")?, text("secret")?);
        Ok(ApplicationCredential { path: format!("{path}/{id}"), id, secret })
    }

    /// Starts an operator that knows this credential and no password, and waits until it leads.
    ///
    /// # Errors
    /// It does not start.
    pub async fn operator_with(&self, credential: &ApplicationCredential) -> Result<Operator> {
        let auth = json!({"application_credential_id": credential.id,
                          "application_credential_secret": credential.secret});
        self.operator_by("v3applicationcredential", auth).await
    }

    /// Starts an operator that knows a token of the operator's user and nothing else, and waits until it leads. Answers it with the
    /// token.
    ///
    /// # Errors
    /// Keystone's, or it does not start.
    pub async fn operator_with_token(&self) -> Result<(Operator, String)> {
        let neutron = cloud("isthmus")?;
        let token = neutron.session().token().await?;
        let project = token.project_id.clone().context("a token is for a project")?;
        let token = token.secret.expose().to_owned();
        let operator = self.operator_by("v3token", json!({"token": token, "project_id": project})).await?;
        Ok((operator, token))
    }

    async fn operator_by(&self, auth_type: &str, mut auth: Value) -> Result<Operator> {
        let url = cloud("isthmus")?.session().config().auth.auth_url.clone();
        auth.as_object_mut().context("what signs in is an object")?.insert("auth_url".into(), url.into());
        let clouds = json!({"clouds": {"isthmus": {"auth_type": auth_type, "auth": auth, "region_name": "RegionOne"}}});
        self.operator_with_clouds(&private(&self.folder().join("clouds.yaml"), &clouds.to_string())?).await
    }
}

impl ApplicationCredential {
    /// Takes it back: tokens that it gave are worth nothing any more.
    ///
    /// # Errors
    /// Keystone's.
    pub async fn revoke(self) -> Result<()> {
        let gone = ask(&cloud("isthmus")?, Method::DELETE, self.path, None).await?;
        ensure!(gone.is_null(), "{gone}");
        Ok(())
    }
}
