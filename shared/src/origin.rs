//! Where a request comes from: the device and the network address, as the gateway passes them on.
//!
//! Both are personal data, and a device is whatever a client says it is: whoever keeps one keeps it encrypted or as a keyed
//! hash.

use std::fmt;
use std::net::IpAddr;

use actix_web::http::header::{self, HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

const DEVICE_ID: HeaderName = HeaderName::from_static("x-device-id");
const MAX_DEVICE_ID_LENGTH: usize = 128;

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What the program calls the device it runs on: `X-Device-ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl Origin {
    /// The last address of `X-Forwarded-For` is the gateway's word, and only the gateway reaches a service.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let forwarded = text(header::X_FORWARDED_FOR).and_then(|list| list.rsplit(',').next());
        let address = forwarded.and_then(|address| address.trim().parse::<IpAddr>().ok());
        Self {
            device: text(DEVICE_ID).and_then(device_id),
            address: address.map(|address| address.to_canonical()),
        }
    }

    pub fn is_unknown(&self) -> bool {
        self.device.is_none() && self.address.is_none()
    }
}

/// A device id as it is kept: one that is too long names no device.
pub fn device_id(text: &str) -> Option<String> {
    let text = text.trim();
    (1..=MAX_DEVICE_ID_LENGTH)
        .contains(&text.len())
        .then(|| text.to_owned())
}

/// Logs have nothing private in them.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("device", &self.device.is_some())
            .field("address", &self.address.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn origin(headers: &[(&'static str, &str)]) -> Origin {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        Origin::of(&headers.collect())
    }

    #[test]
    fn it_is_what_the_gateway_says_within_bounds() {
        let known = origin(&[
            ("x-forwarded-for", "6.6.6.6, ::ffff:192.0.2.7"),
            ("x-device-id", " phone-1 "),
        ]);
        assert_eq!(known.device.as_deref(), Some("phone-1"));
        assert_eq!(known.address, Some([192, 0, 2, 7].into()));
        assert!(!format!("{known:?}").contains("phone-1"));
        let longest = "d".repeat(MAX_DEVICE_ID_LENGTH);
        assert_eq!(origin(&[("x-device-id", &longest)]).device, Some(longest));
        let too_long = "d".repeat(MAX_DEVICE_ID_LENGTH + 1);
        for nonsense in ["<script>", ""] {
            let headers = [("x-forwarded-for", nonsense), ("x-device-id", &too_long)];
            assert!(origin(&headers).is_unknown(), "{nonsense}");
        }
    }
}
