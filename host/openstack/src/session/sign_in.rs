//! Getting a token from Keystone.

use reqwest::Method;
use tokio::time::Instant;

use super::{Request, Session, withheld};
use crate::auth::{self, Token};
use crate::catalog::IDENTITY;
use crate::error::{ErrorKind, Result};
use isthmus_model::retry::RetryClass;

impl Session {
    /// One `POST /v3/auth/tokens`. Its failure is never *unknown*: a token nobody received harms nobody.
    pub(super) async fn sign_in(&self) -> Result<Token> {
        let base = auth::base(&self.inner.config.auth.auth_url);
        let mut request = Request::new(IDENTITY, "tokens", Method::POST, auth::TOKENS.to_owned());
        request.body = Some(auth::body(&self.inner.config.auth).to_string().into_bytes());
        let permit = self.budget(IDENTITY).acquire_while(|| self.may()).await;
        let Some(permit) = permit else { return Err(withheld(&request)) };
        let asked = Instant::now();
        let (result, signal) = self.inner.http.send(&request, base, None).await;
        permit.end(signal);
        let response = result.map_err(|mut error| {
            if error.class == RetryClass::Unknown {
                error.class = RetryClass::Transient;
            }
            error
        })?;
        let unexpected = |message| request.error(RetryClass::Transient, ErrorKind::Decode, message);
        let secret = response
            .subject_token
            .ok_or_else(|| unexpected("the answer has no X-Subject-Token".to_owned()))?;
        let token = Token::parse(secret, &response.body, asked)
            .map_err(|e| unexpected(format!("unexpected answer: {e}")))?;
        tracing::info!(
            cloud = self.inner.config.name,
            project = token.project_id.as_deref().unwrap_or("-"),
            lifetime_s = token.lifetime.as_secs(),
            request_id = response.request_id.as_deref().unwrap_or("-"),
            "signed in"
        );
        Ok(token)
    }
}
