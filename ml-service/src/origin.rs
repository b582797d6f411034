//! Where a request came from, as it is kept: 128 bits of a keyed hash, so that the database alone tells which requests came
//! from one device or address, and not from which.
//!
//! The key that is listed first hashes. After it was replaced every device and address is a new one to the model, for a while. On the
//! lists those that were hashed before are found under the keys that follow, until those are retired.

use std::net::IpAddr;

use shared::field_key::{Column, KeyNumber};
use shared::{ApiError, FieldKeys, Origin};
use uuid::Uuid;

const DEVICE: Column = Column("ml.scores.device");
const ADDRESS: Column = Column("ml.scores.address");

/// A device and an address, neither of which can be read from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashedOrigin {
    pub device: Option<Uuid>,
    pub address: Option<Uuid>,
}

#[derive(Clone, Debug)]
pub struct OriginKey(pub FieldKeys);

impl OriginKey {
    pub fn hash(&self, origin: &Origin) -> Result<HashedOrigin, ApiError> {
        self.hash_under(self.0.first_blind_index_key()?, origin)
    }

    /// Under the keys that were first before.
    pub fn former_hashes(&self, origin: &Origin) -> Result<Vec<HashedOrigin>, ApiError> {
        let former = self.0.blind_index_keys().skip(1);
        former.map(|key| self.hash_under(key, origin)).collect()
    }

    fn hash_under(&self, key: KeyNumber, origin: &Origin) -> Result<HashedOrigin, ApiError> {
        let device = origin.device.as_deref();
        Ok(HashedOrigin {
            device: device.map(|device| self.of(key, DEVICE, device)).transpose()?,
            address: origin
                .address
                .map(|address| self.of(key, ADDRESS, &network(address)))
                .transpose()?,
        })
    }

    fn of(&self, key: KeyNumber, column: Column, text: &str) -> Result<Uuid, ApiError> {
        let hash = self.0.blind_index(key, column, text)?;
        let bits = hash.first_chunk::<16>().copied().unwrap_or_default();
        Ok(Uuid::from_bytes(bits))
    }
}

/// Of IPv6 a customer has at least 64 bits to choose from, so these are left out.
fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> OriginKey {
        OriginKey(FieldKeys::parse_blind_index(text).unwrap())
    }

    fn origin(device: &str, address: &str) -> Origin {
        Origin {
            device: Some(device.to_owned()),
            address: Some(address.parse().unwrap()),
        }
    }

    const KEY: &str = "1:ArpK/bJW8VILg7ANAUpnwxxeTC8hUw1W8n/kd8EZf7o=";
    const OTHER: &str = "2:OFWWCHaF9nC5vBWLPW0zMaHbXYI/dtYWyBMGCw7PKHY=";

    #[test]
    fn the_same_origin_is_the_same_under_one_key_and_another_under_another() {
        let known = key(KEY).hash(&origin("phone", "192.0.2.7")).unwrap();
        assert_eq!(key(KEY).hash(&origin("phone", "192.0.2.7")).unwrap(), known);
        let first_counts = format!("{KEY},{OTHER}");
        assert_eq!(
            key(&first_counts).hash(&origin("phone", "192.0.2.7")).unwrap(),
            known
        );
        let replaced = key(&format!("{OTHER},{KEY}"));
        assert_eq!(
            replaced.former_hashes(&origin("phone", "192.0.2.7")).unwrap(),
            [known]
        );
        let other = key(OTHER).hash(&origin("phone", "192.0.2.7")).unwrap();
        assert!(other.device != known.device && other.address != known.address);
        // A device that is called like an address is none.
        let named_so = key(KEY).hash(&origin("192.0.2.7", "192.0.2.7")).unwrap();
        assert_ne!(named_so.device, named_so.address);
        assert_eq!(
            key(KEY).hash(&Origin::default()).unwrap(),
            HashedOrigin::default()
        );
    }

    #[test]
    fn an_address_of_ipv6_is_its_network() {
        let of = |address| key(KEY).hash(&origin("phone", address)).unwrap().address;
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::4"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }
}
