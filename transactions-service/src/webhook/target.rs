//! Which URLs webhooks are sent to. An endpoint's URL comes from a user, and we send to it from inside of our own network: so
//! it is HTTPS on port 443 to a public address, looked at when it is registered and again at each connection, with the
//! address that is then connected to. Redirects are not followed.
//!
//! `WEBHOOK_ALLOW_PRIVATE_TARGETS` lets a sandbox send to private addresses, over HTTP and on any port as well. What is never
//! anybody's receiver stays refused: link-local addresses, among them those of clouds' metadata, and multicast.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use tokio::time::timeout;

pub const MAX_URL_LENGTH: usize = 2048;
const RESOLVED_WITHIN: Duration = Duration::from_secs(3);

/// How far webhooks may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Public,
    /// And to private addresses.
    Sandbox,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error(
        "expected an https URL on port 443, without user and fragment, of at most {MAX_URL_LENGTH} characters"
    )]
    Form,
    #[error("the host is not at a public address")]
    Address,
    #[error("the host cannot be found")]
    Unknown,
}

/// Private to somebody's network or machine.
static PRIVATE: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    nets(&[
        "10.0.0.0/8",
        "100.64.0.0/10", // carriers' NAT
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    ])
});

/// Of the addresses that look public, those that are not. Everything outside of 2000::/3 is refused without being named: of
/// IPv6 that is all that is global, and IPv4 in disguise (mapped, NAT64) is not in it.
static RESERVED: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    nets(&[
        "0.0.0.0/8",
        "168.63.129.16/32", // a cloud's metadata, at an address that looks public
        "169.254.0.0/16",   // link-local, and most clouds' metadata
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3", // multicast, reserved, broadcast
        "2001::/23",   // Teredo and other protocols' own
        "2001:db8::/32",
        "2002::/16", // 6to4: IPv4 in disguise
        "3fff::/20",
    ])
});

static GLOBAL_IPV6: LazyLock<Vec<IpNet>> = LazyLock::new(|| nets(&["2000::/3"]));

fn nets(texts: &[&str]) -> Vec<IpNet> {
    let nets: Vec<IpNet> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    debug_assert_eq!(nets.len(), texts.len());
    nets
}

impl Reach {
    pub fn allows(self, address: IpAddr) -> bool {
        let is_in = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        if is_in(&PRIVATE) {
            return self == Self::Sandbox;
        }
        !is_in(&RESERVED) && (address.is_ipv4() || is_in(&GLOBAL_IPV6))
    }

    /// A URL that is allowed by itself. Where its name leads is not known yet.
    pub fn parse(self, text: &str) -> Result<Url, TargetError> {
        if text.len() > MAX_URL_LENGTH {
            return Err(TargetError::Form);
        }
        let url = Url::parse(text).map_err(|_| TargetError::Form)?;
        let place_is_right = match self {
            Self::Public => url.scheme() == "https" && url.port_or_known_default() == Some(443),
            Self::Sandbox => matches!(url.scheme(), "http" | "https"),
        };
        let has_more = !url.username().is_empty() || url.password().is_some() || url.fragment().is_some();
        if !place_is_right || has_more || url.as_str().len() > MAX_URL_LENGTH {
            return Err(TargetError::Form);
        }
        match address_of(&url) {
            Some(address) if !self.allows(address) => Err(TargetError::Address),
            _ => Ok(url),
        }
    }

    /// The same, and its name leads to where we may send now.
    pub async fn look_up(self, text: &str) -> Result<Url, TargetError> {
        let url = self.parse(text)?;
        if address_of(&url).is_none() {
            self.addresses(url.host_str().unwrap_or_default()).await?;
        }
        Ok(url)
    }

    /// The addresses of a name, of which none may be refused: a name that leads inside too is not a mistake.
    async fn addresses(self, name: &str) -> Result<Vec<SocketAddr>, TargetError> {
        let found = timeout(RESOLVED_WITHIN, lookup_host((name, 0))).await;
        let found = found.map_err(|_| TargetError::Unknown)?;
        let addresses: Vec<SocketAddr> = found.map_err(|_| TargetError::Unknown)?.collect();
        if addresses.is_empty() {
            return Err(TargetError::Unknown);
        }
        let all_allowed = addresses.iter().all(|address| self.allows(address.ip()));
        all_allowed.then_some(addresses).ok_or(TargetError::Address)
    }
}

/// The address that stands in place of a name. Whatever way it was written in, a parsed URL has it in the plain one.
fn address_of(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// Connections are made to what this found, and to nothing else.
impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = *self;
        Box::pin(async move {
            let addresses = reach.addresses(name.as_str()).await?;
            Ok::<Addrs, _>(Box::new(addresses.into_iter()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn only_public_addresses_are_sent_to() {
        for public in [
            "1.1.1.1",
            "93.184.215.14",
            "172.32.0.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(Reach::Public.allows(public.parse().unwrap()), "{public}");
        }
        for never in [
            "0.0.0.0",
            "169.254.169.254",
            "168.63.129.16",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
        ] {
            for reach in [Reach::Public, Reach::Sandbox] {
                assert!(!reach.allows(never.parse().unwrap()), "{reach:?} {never}");
            }
        }
        for private in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "::1",
            "fc00::1",
            "fd00:ec2::254",
        ] {
            assert!(!Reach::Public.allows(private.parse().unwrap()), "{private}");
            assert!(Reach::Sandbox.allows(private.parse().unwrap()), "{private}");
        }
    }

    #[test]
    fn every_net_is_read() {
        assert_eq!((PRIVATE.len(), RESERVED.len(), GLOBAL_IPV6.len()), (7, 14, 1));
    }

    #[test]
    fn a_url_is_https_on_its_own_port_and_nothing_more() {
        let good = [
            "https://example.com",
            "https://example.com:443/hooks?tenant=7",
            "https://1.1.1.1/x",
        ];
        for url in good {
            assert!(Reach::Public.parse(url).is_ok(), "{url}");
        }
        let long = format!("https://example.com/{}", "x".repeat(MAX_URL_LENGTH));
        for (url, error) in [
            ("http://example.com", TargetError::Form),
            ("https://example.com:8443", TargetError::Form),
            ("https://example.com:22", TargetError::Form),
            ("https://ada:secret@example.com", TargetError::Form),
            ("https://ada@example.com", TargetError::Form),
            ("https://example.com/#part", TargetError::Form),
            ("ftp://example.com", TargetError::Form),
            ("file:///etc/passwd", TargetError::Form),
            ("example.com", TargetError::Form),
            ("", TargetError::Form),
            (long.as_str(), TargetError::Form),
            ("https://127.0.0.1", TargetError::Address),
            ("https://0x7f.1", TargetError::Address),
            ("https://2130706433", TargetError::Address),
            ("https://0177.0.0.1", TargetError::Address),
            ("https://[::1]", TargetError::Address),
            ("https://[::ffff:169.254.169.254]", TargetError::Address),
            ("https://169.254.169.254/latest/meta-data", TargetError::Address),
        ] {
            assert_eq!(Reach::Public.parse(url), Err(error), "{url}");
        }
        assert!(Reach::Sandbox.parse("http://127.0.0.1:9999/hook").is_ok());
        let metadata = Reach::Sandbox.parse("http://169.254.169.254/");
        assert_eq!(metadata, Err(TargetError::Address));
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_however_it_is_reached() {
        assert_eq!(
            Reach::Public.look_up("https://localhost").await,
            Err(TargetError::Address)
        );
        assert!(Reach::Sandbox.look_up("https://localhost").await.is_ok());
        let client =
            shared::http_client::outward_connection_pool(Duration::from_secs(5), Reach::Public).unwrap();
        let error = client.get("https://localhost/").send().await.unwrap_err();
        assert!(
            shared::db::chain(&error).contains("not at a public address"),
            "{error:?}"
        );
        let found = Reach::Sandbox.addresses("localhost").await.unwrap();
        assert!(found.iter().any(|address| address.ip() == LOOPBACK));
    }
}
