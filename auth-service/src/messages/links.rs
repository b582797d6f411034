//! Where the links in mails lead: to a page of ours, or to one that the operator has allowed. A program that asks for a mail
//! may name its own page, and a mail of ours must never lead anywhere else.

use std::str::FromStr;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use shared::ApiError;
use shared::config::Env;

const MAX_LENGTH: usize = 500;

/// The pages that links lead to.
#[derive(Clone, Debug)]
pub struct Links {
    frontend: String,
    allowed: Vec<Url>,
}

/// Where one link leads: to our own page unless somebody asked for another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkTarget(Option<String>);

impl Links {
    pub fn from_env(env: &mut Env) -> Self {
        let frontend: String = env.required("FRONTEND_URL");
        match Url::parse(&frontend) {
            _ if frontend.is_empty() => {}
            Ok(url) if is_plain(&url) && matches!(url.scheme(), "http" | "https") => {
                if url.scheme() == "http" {
                    env.refuse_in_production(
                        "FRONTEND_URL",
                        "is http, and the links carry tokens: use https",
                    );
                }
            }
            _ => env.refuse("FRONTEND_URL", "is not a URL such as https://app.example.com"),
        }
        let text: Option<String> = env.optional("LINK_URLS");
        let mut allowed = Vec::new();
        for text in text.iter().flat_map(|text| text.split(',')).map(str::trim) {
            match Url::from_str(text) {
                Ok(url) if is_plain(&url) => allowed.push(url),
                _ => env.refuse(
                    "LINK_URLS",
                    "is not a list of URLs such as https://app.example.com/reset or example://reset",
                ),
            }
        }
        Self {
            frontend: frontend.trim_end_matches('/').to_owned(),
            allowed,
        }
    }

    /// What a request named, if it is allowed; 422 otherwise.
    pub fn target(&self, named: Option<&str>) -> Result<LinkTarget, ApiError> {
        let Some(text) = named.filter(|text| !text.is_empty()) else {
            return Ok(LinkTarget::default());
        };
        let url = Some(text)
            .filter(|text| text.len() <= MAX_LENGTH)
            .and_then(|text| Url::parse(text).ok())
            .filter(is_plain);
        let is_own = |url: &Url| {
            Url::parse(&self.frontend).is_ok_and(|own| {
                own.scheme() == url.scheme()
                    && own.host() == url.host()
                    && own.port_or_known_default() == url.port_or_known_default()
            })
        };
        url.filter(|url| is_own(url) || self.allowed.contains(url))
            .map(|url| LinkTarget(Some(url.into())))
            .ok_or_else(|| {
                let detail = "Links may lead to the pages that the operator has allowed (LINK_URLS) only.";
                ApiError::unprocessable("url_not_allowed", detail)
            })
    }

    /// A page of our own.
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.frontend)
    }

    /// The link, with the token in its query.
    pub fn link(&self, target: &LinkTarget, own_page: &str, token: &str) -> String {
        let page = match &target.0 {
            Some(page) => page.clone(),
            None => format!("{}{own_page}", self.frontend),
        };
        format!("{page}?token={token}")
    }
}

/// Nothing in it but where it leads: a query or a fragment would swallow the token.
fn is_plain(url: &Url) -> bool {
    let is_script = ["javascript", "data", "vbscript", "file", "blob"].contains(&url.scheme());
    !is_script
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        let mut env = Env::from_pairs([
            ("FRONTEND_URL", "https://app.example.com"),
            ("LINK_URLS", "example://reset, https://shop.example.com/reset"),
        ]);
        let links = Links::from_env(&mut env);
        env.finish(links).unwrap()
    }

    #[test]
    fn a_link_leads_to_allowed_pages_only() {
        let links = links();
        let link = |named| links.link(&links.target(named).unwrap(), "/reset-password", "reset_1");
        assert_eq!(link(None), "https://app.example.com/reset-password?token=reset_1");
        assert_eq!(link(Some("")), link(None));
        assert_eq!(link(Some("example://reset")), "example://reset?token=reset_1");
        assert_eq!(
            link(Some("https://app.example.com/any/page")),
            "https://app.example.com/any/page?token=reset_1"
        );
        assert_eq!(
            link(Some("https://shop.example.com/reset")),
            "https://shop.example.com/reset?token=reset_1"
        );
        let long = format!("https://app.example.com/{}", "a".repeat(MAX_LENGTH));
        for refused in [
            "https://evil.example.com/reset",
            "https://shop.example.com/other",
            "https://shop.example.com/reset?next=1",
            "https://shop.example.com/reset#",
            "https://app.example.com@evil.example.com/reset",
            "http://app.example.com/reset",
            "https://app.example.com:444/reset",
            "example://other",
            "javascript:alert(1)",
            "//evil.example.com",
            "reset",
            &long,
        ] {
            let error = links.target(Some(refused)).unwrap_err();
            assert_eq!(error.code(), "url_not_allowed", "{refused}");
        }
    }

    #[test]
    fn what_is_allowed_must_be_a_page() {
        for wrong in ["reset", "https://a.example.com/?x=1", "javascript:alert(1)"] {
            let mut env =
                Env::from_pairs([("FRONTEND_URL", "https://app.example.com"), ("LINK_URLS", wrong)]);
            Links::from_env(&mut env);
            assert!(env.finish(()).is_err(), "{wrong}");
        }
    }
}
