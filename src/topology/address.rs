//! Where a relay is reached: a host and a port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name in lower case, not looked up yet.
    Name(String),
}

/// A host and a port, written `host:port` or `[ip6]:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: Host,
    port: u16,
}

impl Address {
    /// Reads an address. Names are not looked up. Port 0 ("any free one") and
    /// the unspecified address ("all interfaces") are taken; the caller knows
    /// whether they make sense.
    ///
    /// # Errors
    /// What was wrong with the text.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        if text.contains("://") {
            return Err(AddressFault::Scheme);
        }
        let (host, port) = text.rsplit_once(':').ok_or(AddressFault::NoPort)?;
        let inner = host.strip_prefix('[').map(|rest| rest.strip_suffix(']'));
        let host = match inner {
            Some(Some(ip6)) => ip6.parse().map(IpAddr::V6).map(Host::Ip).map_err(|_| AddressFault::BadIp)?,
            Some(None) => return Err(AddressFault::NoPort),
            None if host.contains(':') => return Err(AddressFault::Brackets),
            None => parse_host(host)?,
        };
        let digits = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or(AddressFault::BadPort)?;
        Ok(Self { host, port })
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port; 0 stands for any free one.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can reach it: a loopback IP, or `localhost`
    /// and the names below it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.to_canonical().is_loopback(),
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// Whether it stands for all interfaces, which can be listened on but not
    /// connected to.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.to_canonical().is_unspecified(),
            Host::Name(_) => false,
        }
    }

    /// `127.0.0.1` with `port`.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self { host: Host::Ip(IpAddr::from([127, 0, 0, 1])), port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Why an address cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressFault {
    /// It is a URL.
    #[error("has a scheme, must be \"host:port\"")]
    Scheme,
    /// There is no `:port`.
    #[error("has no port, must be \"host:port\"")]
    NoPort,
    /// The port is not a number from 0 to 65535.
    #[error("has a bad port, must be a number up to 65535")]
    BadPort,
    /// An IPv6 address without brackets.
    #[error("has several ':', an IPv6 address is written \"[ip]:port\"")]
    Brackets,
    /// Numbers and dots or colons that are no IP address.
    #[error("has a bad IP address")]
    BadIp,
    /// No host, or characters that no host name has.
    #[error("has a bad host name, must be letters, digits, '-', '_' and '.'")]
    BadHost,
}

impl AddressFault {
    /// What was probably meant by `text`, when it can be told.
    #[must_use]
    pub fn suggestion(&self, text: &str) -> Option<String> {
        let better = match self {
            Self::Scheme => text.split_once("://")?.1.trim_end_matches('/').to_owned(),
            Self::NoPort => format!("{text}:{PORT_DEFAULT}"),
            Self::Brackets if text.parse::<Ipv6Addr>().is_ok() => format!("[{text}]:{PORT_DEFAULT}"),
            Self::Brackets => {
                let (ip, port) = text.rsplit_once(':')?;
                format!("[{ip}]:{port}")
            }
            Self::BadPort | Self::BadIp | Self::BadHost => return None,
        };
        Address::parse(&better).is_ok().then(|| format!("did you mean {better:?}?"))
    }
}

/// The port of a relay when nobody says otherwise.
pub const PORT_DEFAULT: u16 = 7411;
/// The longest DNS name.
const HOST_BYTES_MAX: usize = 253;
/// The longest level of a DNS name.
const LABEL_BYTES_MAX: usize = 63;

fn parse_host(host: &str) -> Result<Host, AddressFault> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Host::Ip(ip));
    }
    let labels = || host.strip_suffix('.').unwrap_or(host).split('.');
    let numeric = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit());
    // A name whose last level is a number is a mistyped IPv4 address.
    if labels().next_back().is_some_and(numeric) {
        return Err(AddressFault::BadIp);
    }
    let right = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if host.len() > HOST_BYTES_MAX || !labels().all(right) {
        return Err(AddressFault::BadHost);
    }
    Ok(Host::Name(host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let cases = ["127.0.0.1:7411", "[::1]:7411", "relay-1.example.org:1", "[fe80::1]:65535", "0.0.0.0:0"];
        for text in cases {
            assert_eq!(Address::parse(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Address::parse("North.Example:1").unwrap().to_string(), "north.example:1");
    }

    #[test]
    fn wrong_addresses_are_told() {
        let cases = [
            ("127.0.0.1", AddressFault::NoPort),
            ("", AddressFault::NoPort),
            ("[::1]", AddressFault::NoPort),
            ("127.0.0.1:", AddressFault::BadPort),
            ("127.0.0.1:+1", AddressFault::BadPort),
            ("127.0.0.1:65536", AddressFault::BadPort),
            ("::1:7411", AddressFault::Brackets),
            ("[::z]:1", AddressFault::BadIp),
            ("127.0.0.256:1", AddressFault::BadIp),
            ("tcp://a:1", AddressFault::Scheme),
            (":7411", AddressFault::BadHost),
            ("a b:1", AddressFault::BadHost),
            ("-a:1", AddressFault::BadHost),
            ("a..b:1", AddressFault::BadHost),
        ];
        for (text, expected) in cases {
            assert_eq!(Address::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn what_was_probably_meant_is_offered() {
        let cases = [
            ("north.example", Some("did you mean \"north.example:7411\"?")),
            ("tcp://north.example:1/", Some("did you mean \"north.example:1\"?")),
            ("::1", Some("did you mean \"[::1]:7411\"?")),
            ("fe80::1:2:3:4:5:6:7411", Some("did you mean \"[fe80::1:2:3:4:5:6]:7411\"?")),
            ("1:2:3:4:5:6:7:8:7411", Some("did you mean \"[1:2:3:4:5:6:7:8]:7411\"?")),
            ("a:99999", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let fault = Address::parse(text).unwrap_err();
            assert_eq!(fault.suggestion(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        let loopback = ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1"];
        let open = ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "localhost.example:1", "[::ffff:192.0.2.1]:1"];
        assert!(loopback.iter().all(|text| Address::parse(text).unwrap().is_loopback()));
        assert!(!open.iter().any(|text| Address::parse(text).unwrap().is_loopback()));
        assert!(Address::parse("[::ffff:0.0.0.0]:1").unwrap().is_unspecified());
    }
}
