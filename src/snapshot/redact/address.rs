//! Public addresses in other numbers: what lies in a range lies in the range's replacement, and nothing else does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::key::Key;

/// IPv4 ranges that are nobody's: they stay, with all that lies in them.
const SPECIAL: [(Ipv4Addr, u32); 9] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Of a public IPv6 address these bits change: above them it says only "public", below which host of a subnet.
const V6_BITS: std::ops::Range<u32> = 12..64;

/// The replacement of an address, or of the network of a range (`length` of its bits are meant).
///
/// Each bit may turn by what stands before it, so two addresses share as many leading bits afterwards as before. A
/// bit above which a special range branches off never turns.
pub fn replace(key: &Key, address: IpAddr, length: Option<u32>) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let bits = u32::from(address);
            let top = |bits: u32, length: u32| if length == 0 { 0 } else { bits >> (32 - length) };
            if SPECIAL.iter().any(|(range, length)| top(bits, *length) == top((*range).into(), *length)) {
                return address.into();
            }
            let mut turned = bits;
            for at in 0..network(u128::from(bits) << 96, length, 32) {
                let before = top(bits, at);
                let apart = SPECIAL.iter().all(|(range, length)| *length <= at || top((*range).into(), at) != before);
                if apart && key.ask(format!("4/{at}/{before}").as_bytes()) & 1 == 1 {
                    turned ^= 1 << (31 - at);
                }
            }
            Ipv4Addr::from(turned).into()
        }
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            if bits >> 125 != 1 {
                return address.into();
            }
            let mut turned = bits;
            for at in V6_BITS.start..V6_BITS.end.min(network(bits, length, 128)) {
                if key.ask(format!("6/{at}/{}", bits >> (128 - at)).as_bytes()) & 1 == 1 {
                    turned ^= 1 << (127 - at);
                }
            }
            Ipv6Addr::from(turned).into()
        }
    }
}

/// How many leading bits are meant: those of a range when nothing stands below them, else all.
fn network(bits: u128, length: Option<u32>, all: u32) -> u32 {
    match length {
        Some(length) if length < all && bits << length == 0 => length,
        _ => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new(["a recording"].into_iter())
    }

    #[test]
    fn special_ranges_stay() {
        for address in [
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "169.254.169.253",
            "fd00::1",
            "::1",
            "fe80::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(replace(&key(), address, None), address);
        }
    }

    #[test]
    fn public_addresses_change_and_stay_public_and_apart() {
        let mut seen = std::collections::HashSet::new();
        for i in 0..5_000u32 {
            let address = Ipv4Addr::from(i.wrapping_mul(2_654_435_761));
            let special = |a: Ipv4Addr| {
                SPECIAL
                    .iter()
                    .any(|(range, length)| u32::from(a) >> (32 - length) == u32::from(*range) >> (32 - length))
            };
            let IpAddr::V4(other) = replace(&key(), address.into(), None) else { panic!("of the same family") };
            assert_eq!(special(address), special(other), "{address} {other}");
            assert!(special(address) || address != other, "{address}");
            assert!(seen.insert(other));
        }
    }

    #[test]
    fn ranges_hold_the_same() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (range, inside, outside) = (address("203.0.113.0"), address("203.0.113.77"), address("203.0.112.77"));
        let (IpAddr::V4(range), IpAddr::V4(inside), IpAddr::V4(outside)) =
            (replace(&key(), range, Some(24)), replace(&key(), inside, None), replace(&key(), outside, None))
        else {
            panic!("of the same family")
        };
        assert_eq!(range.octets()[3], 0);
        assert_eq!(range.octets()[..3], inside.octets()[..3]);
        assert_ne!(range.octets()[..3], outside.octets()[..3]);
        assert_eq!(replace(&key(), address("0.0.0.0"), Some(0)), address("0.0.0.0"));
        assert_eq!(replace(&key(), address("::"), Some(0)), address("::"));
        let vpc = replace(&key(), address("2600:1f14:abc:de00::"), Some(56)).to_string();
        let host = replace(&key(), address("2600:1f14:abc:de03::11"), None).to_string();
        assert_ne!(vpc, "2600:1f14:abc:de00::");
        assert!(vpc.starts_with('2') && vpc.ends_with("00::") && host.ends_with("::11"), "{vpc} {host}");
        assert_eq!(vpc.split("00::").next(), host.rsplit_once("::").map(|(h, _)| &h[..h.len() - 2]));
    }
}
