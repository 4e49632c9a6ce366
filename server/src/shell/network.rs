//! What counts as one address, and the larger network that it shares a bound with.
//!
//! Of IPv6 a household gets a /64, so that is one address here. Whoever runs a site gets a /48, which is 65,536 of those: its
//! households have bounds in common, wide enough for a provider that gives four thousand phones a /64 each of one /48.

use std::net::{IpAddr, Ipv6Addr};

/// A network whose connections are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Network {
    /// An IPv4 address, or an IPv6 /64.
    Household(IpAddr),
    /// An IPv6 /48.
    Site(Ipv6Addr),
}

/// How many times a household's connections all households of a site may have together.
const SITE_CONNECTIONS: usize = 4;
/// How many times a household's memory: with all of it, a site holds a quarter of the whole.
const SITE_MEMORY: usize = 2;

/// Where a connection comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Origin {
    household: IpAddr,
    site: Option<Ipv6Addr>,
}

impl Origin {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self { household: IpAddr::V4(address), site: None },
            IpAddr::V6(address) => {
                Self { household: IpAddr::V6(prefix::<64>(address)), site: Some(prefix::<48>(address)) }
            }
        }
    }

    pub(crate) fn networks(self) -> impl Iterator<Item = Network> {
        std::iter::once(Network::Household(self.household)).chain(self.site.map(Network::Site))
    }
}

const fn prefix<const BITS: u32>(address: Ipv6Addr) -> Ipv6Addr {
    let rest = 128 - BITS;
    Ipv6Addr::from_bits(address.to_bits() >> rest << rest)
}

impl Network {
    /// A household's bound on connections, for this network.
    pub(crate) const fn connections(self, of_household: usize) -> usize {
        match self {
            Self::Household(_) => of_household,
            Self::Site(_) => of_household.saturating_mul(SITE_CONNECTIONS),
        }
    }

    /// A household's bound on memory, for this network.
    pub(crate) const fn memory(self, of_household: usize) -> usize {
        match self {
            Self::Household(_) => of_household,
            Self::Site(_) => of_household.saturating_mul(SITE_MEMORY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Vec<Network> {
        Origin::of(text.parse().unwrap()).networks().collect()
    }

    #[test]
    fn neighbours_in_one_ipv6_network_count_as_one_address_and_share_with_their_site() {
        assert_eq!(networks("2001:db8:1:2:3::1"), networks("2001:db8:1:2:4::1"));
        let (one, other) = (networks("2001:db8:1:2::1"), networks("2001:db8:1:3::1"));
        assert!(one[0] != other[0] && one[1] == other[1]);
        assert_ne!(one[1], networks("2001:db8:2:2::1")[1]);
        assert_eq!(networks("::ffff:192.0.2.1"), networks("192.0.2.1"));
        assert_ne!(networks("192.0.2.1"), networks("192.0.2.2"));
        assert_eq!(networks("192.0.2.1").len(), 1);
    }
}
