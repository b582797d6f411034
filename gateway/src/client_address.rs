//! Whose request it is, by address. `X-Forwarded-For` is believed only as far as the networks in `TRUSTED_PROXIES` wrote it:
//! anyone can send the header.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Networks in CIDR notation; a bare address is a network of one.
    pub fn parse(networks: &[String]) -> Result<Self, String> {
        let parse = |text: &String| {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            text.parse()
                .or(address)
                .map_err(|_| format!("holds `{text}`, which is not a network such as 10.0.0.0/8"))
        };
        networks.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The address nearest to us that is not one of our own proxies.
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let fields: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .map(|value| value.to_str().unwrap_or("?"))
            .collect();
        for hop in fields.iter().rev().flat_map(|field| field.rsplit(',')) {
            // What a trusted proxy did not understand, we do not either: the last hop that is known is answerable.
            let Some(address) = parse_hop(hop) else { break };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }
}

/// Some proxies write the port as well.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    text.parse::<IpAddr>()
        .or_else(|_| with_port())
        .ok()
        .map(|address| address.to_canonical())
}

/// What a limit counts by: one host has one IPv4 address, and 2^64 of IPv6.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn client(trusted: &[&str], peer: &str, fields: &[&str]) -> String {
        let trusted: Vec<String> = trusted.iter().map(|text| (*text).to_owned()).collect();
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(field).unwrap());
        }
        TrustedProxies::parse(&trusted)
            .unwrap()
            .client_of(peer.parse().unwrap(), &headers)
            .to_string()
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        assert_eq!(client(&[], "203.0.113.9", &["1.1.1.1"]), "203.0.113.9");
        assert_eq!(
            client(&["10.0.0.0/8"], "203.0.113.9", &["1.1.1.1"]),
            "203.0.113.9"
        );
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        let trusted = ["10.0.0.0/8", "192.0.2.7"];
        assert_eq!(
            client(&trusted, "10.0.0.1", &["6.6.6.6, 203.0.113.9, 192.0.2.7"]),
            "203.0.113.9"
        );
        assert_eq!(
            client(&trusted, "10.0.0.1", &["6.6.6.6", "203.0.113.9:4711", "10.1.1.1"]),
            "203.0.113.9"
        );
        assert_eq!(
            client(&trusted, "::ffff:10.0.0.1", &["::ffff:203.0.113.9"]),
            "203.0.113.9"
        );
        assert_eq!(
            client(&trusted, "10.0.0.1", &["[2001:db8::1]:443"]),
            "2001:db8::1"
        );
    }

    #[test]
    fn a_hop_that_cannot_be_read_ends_the_trust() {
        assert_eq!(
            client(&["10.0.0.0/8"], "10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"]),
            "10.0.0.2"
        );
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_host_is_its_64_bit_network() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("203.0.113.9"), "203.0.113.9");
    }
}
