//! Devices that have logged in before, and therefore keep a budget of attempts of their own: who guesses at somebody's
//! password from elsewhere slows down all unknown devices, and never the owner's.
//!
//! A device proves it with a token that it got with its last login for that e-mail: random bits, and a keyed hash of them and
//! the e-mail. So nothing is stored about devices, and a token is of no use for anybody else's e-mail.

use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite, time};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::field_key::{Column, FieldError};
use shared::{ApiError, FieldKeys};

const TOKEN: Column = Column("auth.device_tokens");
const PREFIX: &str = "dev_";
const COOKIE: &str = "device_token";
const HEADER: &str = "x-device-token";
const COOKIE_LIFETIME_DAYS: i64 = 365;
const RANDOM_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// What a request claims about its device.
#[derive(Clone, Debug, Default)]
pub struct PresentedDevice(Option<[u8; RANDOM_BYTES + HASH_BYTES]>);

impl PresentedDevice {
    pub fn of(request: &HttpRequest) -> Self {
        let header = request
            .headers()
            .get(HEADER)
            .and_then(|value| value.to_str().ok());
        let cookie = request.cookie(COOKIE);
        let text = header.or_else(|| cookie.as_ref().map(Cookie::value));
        Self(text.and_then(parse))
    }

    /// The random part, if the token was given to a device that logged in with this e-mail.
    pub fn known_for(&self, keys: &FieldKeys, email: &str) -> Result<Option<String>, FieldError> {
        let Some((random, hash)) = self
            .0
            .as_ref()
            .and_then(|bytes| bytes.split_at_checked(RANDOM_BYTES))
        else {
            return Ok(None);
        };
        for number in keys.blind_index_keys() {
            let expected = keys.blind_index(number, TOKEN, &hashed_text(random, email))?;
            if aws_lc_rs::constant_time::verify_slices_are_equal(&expected, hash).is_ok() {
                return Ok(Some(URL_SAFE_NO_PAD.encode(random)));
            }
        }
        Ok(None)
    }
}

fn parse(text: &str) -> Option<[u8; RANDOM_BYTES + HASH_BYTES]> {
    URL_SAFE_NO_PAD
        .decode(text.strip_prefix(PREFIX)?)
        .ok()?
        .try_into()
        .ok()
}

fn hashed_text(random: &[u8], email: &str) -> String {
    format!("{}\n{email}", URL_SAFE_NO_PAD.encode(random))
}

/// A token for the device that has just logged in with `email`.
pub fn issue_token(keys: &FieldKeys, email: &str) -> Result<String, ApiError> {
    let mut random = [0; RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| ApiError::internal(anyhow::anyhow!("no random bytes")))?;
    let number = keys.blind_index_keys().next().ok_or(FieldError::NotEncrypted)?;
    let hash = keys.blind_index(number, TOKEN, &hashed_text(&random, email))?;
    Ok(format!(
        "{PREFIX}{}",
        URL_SAFE_NO_PAD.encode([&random[..], &hash].concat())
    ))
}

/// For browsers, which bring it back by themselves; it opens nothing.
pub fn cookie(token: &str) -> Cookie<'static> {
    Cookie::build(COOKIE, token.to_owned())
        .path("/")
        .http_only(true)
        .secure(true)
        .same_site(SameSite::Strict)
        .max_age(time::Duration::days(COOKIE_LIFETIME_DAYS))
        .finish()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn keys(seed: u8) -> FieldKeys {
        let key = |base: u8| {
            let bytes: Vec<u8> = (0..32).map(|at: u8| at ^ base ^ seed).collect();
            base64::engine::general_purpose::STANDARD.encode(bytes)
        };
        FieldKeys::parse(&format!("1:{}", key(0)), &format!("1:{}", key(128))).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_email_and_under_its_key() {
        let token = issue_token(&keys(1), "ada@example.com").unwrap();
        let request = |text: &str| {
            TestRequest::default()
                .insert_header((HEADER, text))
                .to_http_request()
        };
        let known = |text: &str, keys: &FieldKeys, email| {
            PresentedDevice::of(&request(text))
                .known_for(keys, email)
                .unwrap()
        };
        let first = known(&token, &keys(1), "ada@example.com");
        assert!(first.is_some());
        let another = issue_token(&keys(1), "ada@example.com").unwrap();
        assert_ne!(first, known(&another, &keys(1), "ada@example.com"));
        assert_eq!(known(&token, &keys(1), "bob@example.com"), None);
        assert_eq!(known(&token, &keys(2), "ada@example.com"), None);
        for forged in ["", "dev_", "dev_AAAA", &token[4..], &format!("{token}A")] {
            assert_eq!(known(forged, &keys(1), "ada@example.com"), None, "{forged}");
        }
        let as_cookie = TestRequest::default().cookie(cookie(&token)).to_http_request();
        assert!(
            PresentedDevice::of(&as_cookie)
                .known_for(&keys(1), "ada@example.com")
                .unwrap()
                .is_some()
        );
    }
}
