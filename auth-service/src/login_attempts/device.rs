//! Devices that have logged in before, and therefore keep a budget of attempts of their own: who guesses at somebody's
//! password from elsewhere slows down all unknown devices, and never the owner's.
//!
//! A device proves it with a token that it got with its last login of that user: random bits, and a keyed hash of them and the
//! user. So nothing is stored about devices, and a token is of no use for anybody else.

use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite, time};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::field_key::{Column, FieldError};
use shared::id::UserId;
use shared::{ApiError, FieldKeys};

use super::of_user;

const TOKEN: Column = Column("auth.device_tokens");
const PREFIX: &str = "dev_";
const COOKIE: &str = "device_token";
const HEADER: &str = "x-device-token";
const COOKIE_LIFETIME_DAYS: i64 = 365;
const RANDOM_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// What a request claims about its device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

    /// The random part, if the token was given to a device on which they logged in.
    pub fn known_for(&self, keys: &FieldKeys, whose: &str) -> Result<Option<String>, FieldError> {
        let Some((random, hash)) = self
            .0
            .as_ref()
            .and_then(|bytes| bytes.split_at_checked(RANDOM_BYTES))
        else {
            return Ok(None);
        };
        for number in keys.blind_index_keys() {
            let expected = keys.blind_index(number, TOKEN, &hashed_text(random, whose))?;
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

fn hashed_text(random: &[u8], whose: &str) -> String {
    format!("{}\n{whose}", URL_SAFE_NO_PAD.encode(random))
}

/// A token for the device on which this user has just logged in.
pub fn issue_token(keys: &FieldKeys, user: UserId) -> Result<String, ApiError> {
    let mut random = [0; RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| ApiError::internal(anyhow::anyhow!("no random bytes")))?;
    let number = keys.blind_index_keys().next().ok_or(FieldError::NotEncrypted)?;
    let hash = keys.blind_index(number, TOKEN, &hashed_text(&random, &of_user(user)))?;
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
    fn a_token_is_good_for_its_user_and_under_its_key() {
        let ada = UserId::new();
        let token = issue_token(&keys(1), ada).unwrap();
        let request = |text: &str| {
            TestRequest::default()
                .insert_header((HEADER, text))
                .to_http_request()
        };
        let known = |text: &str, keys: &FieldKeys, whose: &str| {
            PresentedDevice::of(&request(text))
                .known_for(keys, whose)
                .unwrap()
        };
        let (adas, bobs) = (of_user(ada), of_user(UserId::new()));
        let first = known(&token, &keys(1), &adas);
        assert!(first.is_some());
        let another = issue_token(&keys(1), ada).unwrap();
        assert_ne!(first, known(&another, &keys(1), &adas));
        assert_eq!(known(&token, &keys(1), &bobs), None);
        assert_eq!(known(&token, &keys(1), &ada.to_string()), None);
        assert_eq!(known(&token, &keys(2), &adas), None);
        for forged in ["", "dev_", "dev_AAAA", &token[4..], &format!("{token}A")] {
            assert_eq!(known(forged, &keys(1), &adas), None, "{forged}");
        }
        let as_cookie = TestRequest::default().cookie(cookie(&token)).to_http_request();
        let presented = PresentedDevice::of(&as_cookie);
        assert!(presented.known_for(&keys(1), &adas).unwrap().is_some());
    }
}
