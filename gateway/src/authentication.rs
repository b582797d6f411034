//! Who is asking: the user of an access token, or of what an access token is given for, unless it was revoked.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::HttpRequest;
use shared::access_token::AccessTokenVerifier;
use shared::clients::auth::{self, AuthClient};
use shared::{ApiError, HttpClient, Principal, ServiceTokens};

use crate::config::Config;
use crate::cors::Cors;
use crate::credential::Credential;
use crate::revocations::Revocations;
use crate::token_exchange::TokenExchange;

pub struct Authentication {
    verifier: AccessTokenVerifier,
    exchange: TokenExchange,
    pub revocations: Revocations,
}

/// Whom a request comes from, and the access token that tells services.
pub struct Authenticated {
    pub principal: Arc<Principal>,
    /// Unless the request brings it.
    pub access_token: Option<Arc<str>>,
}

impl Authentication {
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let clock = config.clock.clone();
        let tokens = ServiceTokens::new(crate::SERVICE, &config.service_secrets, clock.clone())?;
        let client = |tokens| HttpClient::new(crate::SERVICE, auth::SERVICE, &config.auth_url, tokens);
        let auth = AuthClient::new(client(Some(tokens))?);
        Ok(Self {
            verifier: AccessTokenVerifier::from_auth_service(crate::SERVICE, client(None)?, clock.clone()),
            exchange: TokenExchange::new(auth.clone(), clock),
            revocations: Revocations::new(auth, config.revocation_max_staleness),
        })
    }

    pub async fn authenticate(
        &self,
        request: &HttpRequest,
        client: IpAddr,
        cors: &Cors,
    ) -> Result<Authenticated, ApiError> {
        let authenticated = match Credential::of(request.method(), request.headers(), cors)? {
            Credential::AccessToken(token) => Authenticated {
                principal: self.verifier.verify(token).await?,
                access_token: None,
            },
            Credential::Exchangeable(credential) => {
                let token = self.exchange.token_for(credential, client).await?;
                Authenticated {
                    principal: self.verifier.verify(&token).await?,
                    access_token: Some(token),
                }
            }
        };
        let principal = &authenticated.principal;
        self.revocations.check(principal.session_id.uuid())?;
        if let Some(client) = principal.client_id {
            self.revocations.check(client.uuid())?;
        }
        Ok(authenticated)
    }
}
