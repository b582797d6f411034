//! A browser's visit to a provider. It leaves with a state, which comes back in a URL that anybody could have given it, and
//! with a cookie, which only this browser has; the verifier of PKCE and the nonce are made of both, so that nothing that came
//! from another visit fits.

use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Duration;
use shared::ApiError;
use shared::id::SessionId;

use super::queries::{self, NewVisit};
use super::{Identity, ProviderName, Returned, not_accepted};
use crate::sessions::{Secret, sha256};
use crate::state::AppState;

pub const COOKIE: &str = "flowlet_social";
pub const LIFETIME: Duration = Duration::minutes(10);

/// Where to send the browser, and what it is to come back with.
pub struct Departure {
    pub url: String,
    pub cookie: Cookie<'static>,
}

/// Begins a visit that ends at `callback`, a path of ours; with a session, to link the account to its user.
pub async fn begin(
    state: &AppState,
    provider: ProviderName,
    callback: &str,
    session_id: Option<SessionId>,
) -> Result<Departure, ApiError> {
    let visit_state = Secret::generate("vst_")?.reveal();
    let browser = Secret::generate("brw_")?.reveal();
    let url = state
        .social
        .authorization_url(
            provider,
            &state.social.redirect_uri(callback),
            &visit_state,
            &derived("nonce", &browser, &visit_state),
            &challenge(&derived("verifier", &browser, &visit_state)),
        )
        .await?;
    let now = state.clock.now();
    let visit = NewVisit {
        state: &visit_state,
        browser: &browser,
        provider,
        callback,
        session_id,
    };
    let mut connection = state.db.connection().await?;
    queries::begin_visit(&mut connection, &visit, now, now + LIFETIME).await?;
    Ok(Departure {
        url: url.into(),
        cookie: cookie(state, provider, browser),
    })
}

fn cookie(state: &AppState, provider: ProviderName, browser: String) -> Cookie<'static> {
    let is_https = state.social.is_https();
    // Apple comes back by a form, with which browsers send no other cookies.
    let same_site = match provider {
        ProviderName::Apple if is_https => SameSite::None,
        _ => SameSite::Lax,
    };
    Cookie::build(COOKIE, browser)
        .path("/")
        .http_only(true)
        .secure(is_https)
        .same_site(same_site)
        .max_age(CookieDuration::seconds(LIFETIME.num_seconds()))
        .finish()
}

/// What was brought back.
pub struct Return<'r> {
    pub code: &'r str,
    pub state: &'r str,
    pub browser: Option<&'r str>,
}

/// Who came back, and the session in which the account is to be linked, if it is.
pub async fn end(
    state: &AppState,
    provider: ProviderName,
    returned: &Return<'_>,
) -> Result<(Identity, Option<SessionId>), ApiError> {
    let now = state.clock.now();
    let browser = returned
        .browser
        .ok_or_else(|| not_accepted(anyhow::anyhow!("the browser has no cookie of ours")))?;
    let visit = {
        let mut connection = state.db.connection().await?;
        queries::end_visit(&mut connection, provider, returned.state, browser, now).await?
    };
    let (callback, session_id) =
        visit.ok_or_else(|| not_accepted(anyhow::anyhow!("this browser did not leave with this state")))?;
    let expected = Returned {
        code: returned.code,
        redirect_uri: &state.social.redirect_uri(&callback),
        verifier: &derived("verifier", browser, returned.state),
        nonce: &derived("nonce", browser, returned.state),
    };
    let identity = state
        .social
        .identify(provider, &expected, now.timestamp())
        .await?;
    Ok((identity, session_id))
}

fn derived(what: &str, browser: &str, state: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(&format!("{what}\n{browser}\n{state}")))
}

/// RFC 7636, `S256`.
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(verifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn nothing_fits_another_visit() {
        let one = derived("verifier", "browser", "state");
        for other in [
            derived("nonce", "browser", "state"),
            derived("verifier", "another", "state"),
            derived("verifier", "browser", "another"),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(one.len(), 43);
    }
}
