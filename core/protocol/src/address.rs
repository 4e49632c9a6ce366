//! Where a relay is, and the name that signatures bind to.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;

use crate::decode::DecodeError;
use crate::limits::ADDRESS_BYTES_MAX;

/// `https://host[:port]`, `https://PIN@host[:port]`, or `http://` on loopback for development. Kept in its canonical form, so that
/// equal relays compare equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RelayAddress {
    tls: Tls,
    name: RelayName,
}

/// How a connection to a relay is protected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tls {
    /// Not at all: development, on loopback only.
    Absent,
    /// By a certificate of a public authority.
    Authority,
    /// By the one certificate whose public key has this SHA-256.
    Pinned([u8; 32]),
}

impl RelayAddress {
    /// How connections to it are protected.
    #[must_use]
    pub const fn tls(&self) -> Tls {
        self.tls
    }

    /// What signatures for it name.
    #[must_use]
    pub const fn name(&self) -> &RelayName {
        &self.name
    }

    /// `https://host[:port]` without the pin, to put paths behind.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}://{}", self.scheme(), self.name)
    }

    /// `wss://` or `ws://`, likewise.
    #[must_use]
    pub fn stream_url(&self) -> String {
        let scheme = if self.tls == Tls::Absent { "ws" } else { "wss" };
        format!("{scheme}://{}/v1/stream", self.name)
    }

    const fn scheme(&self) -> &'static str {
        match self.tls {
            Tls::Absent => "http",
            Tls::Authority | Tls::Pinned(_) => "https",
        }
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tls {
            Tls::Pinned(pin) => write!(formatter, "https://{}@{}", BASE64URL_NOPAD.encode(&pin), self.name),
            Tls::Absent | Tls::Authority => write!(formatter, "{}://{}", self.scheme(), self.name),
        }
    }
}

impl FromStr for RelayAddress {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(DecodeError::TooLong { length: text.len(), length_max: ADDRESS_BYTES_MAX });
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        let (scheme, rest) = text.split_once("://").ok_or(DecodeError::BadAddress)?;
        let (pin, authority) = match rest.split_once('@') {
            Some((pin, authority)) => (Some(decode_pin(pin)?), authority),
            None => (None, rest),
        };
        let (tls, port_default) = match (scheme.to_ascii_lowercase().as_str(), pin) {
            ("https", None) => (Tls::Authority, 443),
            ("https", Some(pin)) => (Tls::Pinned(pin), 443),
            ("http", None) => (Tls::Absent, 80),
            _ => return Err(DecodeError::BadAddress),
        };
        let name = RelayName::parse(authority, port_default)?;
        if tls == Tls::Absent && !name.is_loopback() {
            return Err(DecodeError::BadAddress);
        }
        Ok(Self { tls, name })
    }
}

fn decode_pin(text: &str) -> Result<[u8; 32], DecodeError> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| DecodeError::NotBase64)?;
    bytes.as_slice().try_into().map_err(|_| DecodeError::WrongLength { what: "pin", length: bytes.len() })
}

/// A relay's `host[:port]`, lower case, without a default port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RelayName(String);

impl RelayName {
    /// Reads `host[:port]`, leaving `port_default` out.
    ///
    /// # Errors
    /// [`DecodeError::BadAddress`] for what is no DNS name or IP address with an optional port.
    pub fn parse(authority: &str, port_default: u16) -> Result<Self, DecodeError> {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let host = canonical_host(host).ok_or(DecodeError::BadAddress)?;
        match port.map(parse_port).transpose()? {
            Some(port) if port != port_default => Ok(Self(format!("{host}:{port}"))),
            _ => Ok(Self(host)),
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names this very machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = match self.0.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.0.split(':').next().unwrap_or_default(),
        };
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

fn parse_port(text: &str) -> Result<u16, DecodeError> {
    let canonical = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| canonical && *port != 0).ok_or(DecodeError::BadAddress)
}

/// A host in the one spelling that it has: an IPv6 address as RFC 5952 writes it.
fn canonical_host(host: &str) -> Option<String> {
    match host.strip_prefix('[') {
        Some(rest) => {
            let address: std::net::Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            Some(format!("[{address}]"))
        }
        None => is_dns_name(host).then(|| host.to_ascii_lowercase()),
    }
}

fn is_dns_name(host: &str) -> bool {
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label_is_good)
}

impl fmt::Display for RelayName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_relays_have_one_form() {
        for (text, canonical) in [
            ("https://Relay.Example", "https://relay.example"),
            ("https://relay.example:443/", "https://relay.example"),
            ("https://relay.example:8443", "https://relay.example:8443"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("https://[2001:DB8:0::1]", "https://[2001:db8::1]"),
            ("https://[::ffff:192.0.2.1]:443", "https://[::ffff:192.0.2.1]"),
        ] {
            assert_eq!(text.parse::<RelayAddress>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn a_pin_survives() {
        let text = format!("https://{}@10.0.0.2:8443", BASE64URL_NOPAD.encode(&[7; 32]));
        let address: RelayAddress = text.parse().unwrap();
        assert_eq!(address.tls(), Tls::Pinned([7; 32]));
        assert_eq!(address.to_string(), text);
        assert_eq!(address.name().as_str(), "10.0.0.2:8443");
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for text in [
            "",
            "relay.example",
            "ftp://relay.example",
            "https://",
            "https://relay.example/path",
            "https://relay.example:0",
            "https://relay.example:99999",
            "https://relay.example:+1",
            "https://relay .example",
            "https://user:word@relay.example",
            "https://-relay.example",
            "https://[::1",
            "http://relay.example",
            "http://10.0.0.1",
        ] {
            assert!(text.parse::<RelayAddress>().is_err(), "{text}");
        }
    }
}
