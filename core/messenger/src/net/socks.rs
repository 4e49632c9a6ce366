//! SOCKS 5: connections that somebody else makes for us (RFC 1928, with the passwords of RFC 1929).
//!
//! Names go to the proxy as they are and are looked up there, or not at all. Where nobody gave a name and a password, each pool of
//! connections and each stream invents its own: Tor puts what comes with different ones on different circuits, and whoever sees an
//! anonymous call leave a circuit does not see a signed one beside it. A proxy that asks for neither gets neither.
//! Our own few lines, because the libraries offer a way without a password beside every password.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::world::{Rng as _, SystemRng, TransportError};

const VERSION: u8 = 5;
const NO_PASSWORD: u8 = 0;
const PASSWORD: u8 = 2;
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
const GRANTED: u8 = 0;

/// Through which all connections go: `socks5://[NAME:PASSWORD@]HOST:PORT`. The name and the password are taken as they stand.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    password: Option<Password>,
}

/// What a proxy is told of who we are: each part has 1 to 255 bytes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Password {
    name: String,
    password: String,
    /// Whether somebody gave it: then the proxy has to ask for it.
    is_given: bool,
}

/// Not the address of a proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a proxy's address: it looks like socks5://127.0.0.1:9050")]
pub struct BadProxy;

impl FromStr for Proxy {
    type Err = BadProxy;

    fn from_str(address: &str) -> Result<Self, BadProxy> {
        let rest = address.strip_prefix("socks5://").or_else(|| address.strip_prefix("socks5h://")).ok_or(BadProxy)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (password, place) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((given, place)) => {
                let (name, password) = given.split_once(':').ok_or(BadProxy)?;
                (Some(Password { name: name.to_owned(), password: password.to_owned(), is_given: true }), place)
            }
        };
        let fits = |part: &str| (1..=255).contains(&part.len());
        if password.as_ref().is_some_and(|given| !fits(&given.name) || !fits(&given.password)) {
            return Err(BadProxy);
        }
        let (host, port) = place.rsplit_once(':').ok_or(BadProxy)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) if matches!(host.parse(), Ok(IpAddr::V6(_))) => format!("[{host}]"),
            Some(_) => return Err(BadProxy),
            None => host.to_owned(),
        };
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
        if !host.starts_with('[') && (host.is_empty() || !host.chars().all(is_word)) {
            return Err(BadProxy);
        }
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(BadProxy)?;
        Ok(Self { host, port, password })
    }
}

/// Everything but a password that was given.
impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "socks5://{}:{}", self.host, self.port)
    }
}

impl Proxy {
    /// Where it is: host and port.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A way through it that shares nothing with any other, unless somebody gave a password for all of them.
    pub(super) fn tunnel(&self) -> Tunnel {
        let password = self.password.clone().unwrap_or_else(|| {
            let mut chance = [0; 16];
            SystemRng.fill(&mut chance);
            Password { name: HEXLOWER.encode(&chance), password: "sotto".to_owned(), is_given: false }
        });
        Tunnel { proxy: self.place(), password }
    }
}

/// One way through a proxy.
#[derive(Clone)]
pub(super) struct Tunnel {
    /// Host and port.
    pub(super) proxy: String,
    password: Password,
}

impl Tunnel {
    /// Asks the proxy at the other end of `io` for a connection; after that `io` leads there.
    pub(super) async fn open(
        &self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        host: &str,
        port: u16,
    ) -> Result<(), TransportError> {
        let broken = |_| TransportError::Broken;
        let offered: &[u8] =
            if self.password.is_given { &[VERSION, 1, PASSWORD] } else { &[VERSION, 2, PASSWORD, NO_PASSWORD] };
        io.write_all(offered).await.map_err(broken)?;
        let mut chosen = [0; 2];
        io.read_exact(&mut chosen).await.map_err(broken)?;
        match chosen {
            [VERSION, PASSWORD] => self.identify(io).await?,
            [VERSION, NO_PASSWORD] if !self.password.is_given => {}
            [VERSION, u8::MAX] => return Err(TransportError::Unreachable),
            _ => return Err(TransportError::Broken),
        }
        io.write_all(&request(host, port)?).await.map_err(broken)?;
        let mut reply = [0; 4];
        io.read_exact(&mut reply).await.map_err(broken)?;
        match reply {
            [VERSION, GRANTED, 0, kind] => skip_address(io, kind).await,
            [VERSION, _, 0, _] => Err(TransportError::Unreachable),
            _ => Err(TransportError::Broken),
        }
    }

    async fn identify(&self, io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), TransportError> {
        let broken = |_| TransportError::Broken;
        let mut said = vec![PASSWORD_VERSION];
        for part in [&self.password.name, &self.password.password] {
            said.push(length(part)?);
            said.extend_from_slice(part.as_bytes());
        }
        io.write_all(&said).await.map_err(broken)?;
        let mut verdict = [0; 2];
        io.read_exact(&mut verdict).await.map_err(broken)?;
        match verdict {
            [PASSWORD_VERSION, GRANTED] => Ok(()),
            [PASSWORD_VERSION, _] => Err(TransportError::Unreachable),
            _ => Err(TransportError::Broken),
        }
    }
}

fn request(host: &str, port: u16) -> Result<Vec<u8>, TransportError> {
    let mut request = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            request.extend_from_slice(&[NAME, length(host)?]);
            request.extend_from_slice(host.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

fn length(text: &str) -> Result<u8, TransportError> {
    u8::try_from(text.len()).map_err(|_| TransportError::Unreachable)
}

/// Where the proxy connects from is nothing to us, and stands before what we asked for.
async fn skip_address(io: &mut (impl AsyncRead + Unpin), kind: u8) -> Result<(), TransportError> {
    let broken = |_| TransportError::Broken;
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(io.read_u8().await.map_err(broken)?),
        _ => return Err(TransportError::Broken),
    };
    let mut address = [0; u8::MAX as usize + 2];
    // With the port.
    io.read_exact(&mut address[..length + 2]).await.map(drop).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "socks5://ann:secret@127.0.0.1:1080";
    const NOTHING_GIVEN: &str = "socks5://127.0.0.1:1080";
    const CONNECTED: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

    /// What comes of a proxy that answers so, whoever asks, and what it was told.
    async fn asked(proxy: &str, host: &str, answers: &[u8]) -> (Result<(), TransportError>, Vec<u8>) {
        let tunnel = proxy.parse::<Proxy>().unwrap().tunnel();
        // A byte at a time: nothing comes at once.
        let (mut ours, theirs) = tokio::io::duplex(1);
        let (mut reader, mut writer) = tokio::io::split(theirs);
        let answers = answers.to_vec();
        let answering = tokio::spawn(async move {
            // It may have hung up.
            let _ = writer.write_all(&answers).await;
            let _ = writer.shutdown().await;
        });
        let heard = tokio::spawn(async move {
            let mut heard = Vec::new();
            reader.read_to_end(&mut heard).await.map(|_| heard)
        });
        let result = tunnel.open(&mut ours, host, 443).await;
        drop(ours);
        answering.await.unwrap();
        (result, heard.await.unwrap().unwrap())
    }

    #[tokio::test]
    async fn names_are_looked_up_by_the_proxy_and_passwords_are_told_where_they_are_asked_for() {
        let (result, heard) = asked(GIVEN, "relay.example", &[&[5, 2, 1, 0], CONNECTED].concat()).await;
        assert_eq!(result, Ok(()));
        let told = [&b"\x05\x01\x02"[..], b"\x01\x03ann\x06secret", b"\x05\x01\x00\x03\x0drelay.example\x01\xbb"];
        assert_eq!(heard, told.concat());
        let (result, heard) = asked(NOTHING_GIVEN, "::1", &[&[5, 0], CONNECTED].concat()).await;
        assert_eq!(result, Ok(()));
        let address = [&b"\x05\x02\x02\x00"[..], b"\x05\x01\x00\x04", &[0; 15], b"\x01\x01\xbb"].concat();
        assert_eq!(heard, address);
    }

    #[tokio::test]
    async fn refusals_and_nonsense_are_told_apart_and_nobody_goes_on_after_them() {
        use TransportError::{Broken, Unreachable};
        for (answers, expected) in [
            (&b""[..], Broken),
            (b"\x05", Broken),
            (b"\x04\x02", Broken),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", Broken),
            (b"\x05\xff", Unreachable),
            // Without the password that somebody gave.
            (b"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00", Broken),
            (b"\x05\x02\x01\x01", Unreachable),
            (b"\x05\x02\x05\x00", Broken),
            (b"\x05\x02\x01\x00\x05\x04\x00\x01", Unreachable),
            (b"\x05\x02\x01\x00\x04\x00\x00\x01", Broken),
            (b"\x05\x02\x01\x00\x05\x00\x00\x09", Broken),
            (b"\x05\x02\x01\x00\x05\x00\x00\x03\xffshort", Broken),
        ] {
            assert_eq!(asked(GIVEN, "relay.example", answers).await.0, Err(expected), "{answers:?}");
        }
        let long = "x".repeat(256);
        assert_eq!(asked(GIVEN, &long, &[5, 2, 1, 0]).await.0, Err(Unreachable));
    }

    #[test]
    fn each_tunnel_has_a_name_of_its_own_unless_somebody_gave_one() {
        let own: Proxy = NOTHING_GIVEN.parse().unwrap();
        assert_ne!(own.tunnel().password.name, own.tunnel().password.name);
        let given: Proxy = GIVEN.parse().unwrap();
        assert_eq!(given.tunnel().password.name, "ann");
        assert_eq!(format!("{given:?}"), NOTHING_GIVEN, "nobody is shown the password");
    }

    #[test]
    fn addresses_of_proxies_are_read_whole_or_not() {
        let place = |address: &str| address.parse::<Proxy>().map(|proxy| proxy.place());
        assert_eq!(place("socks5h://localhost:9050/"), Ok("localhost:9050".into()));
        assert_eq!(place("socks5://a:b@c:d@[::1]:9050"), Ok("[::1]:9050".into()));
        for wrong in [
            "",
            "127.0.0.1:9050",
            "http://127.0.0.1:9050",
            "socks4://127.0.0.1:9050",
            "socks5://127.0.0.1",
            "socks5://127.0.0.1:0",
            "socks5://:9050",
            "socks5://::1:9050",
            "socks5://[relay]:9050",
            "socks5://a@127.0.0.1:9050",
            "socks5://a:@127.0.0.1:9050",
            "socks5://a/b:9050",
        ] {
            assert_eq!(place(wrong), Err(BadProxy), "{wrong}");
        }
    }
}
