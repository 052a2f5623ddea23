//! Addresses, ranges of them, and sets of ports: the arithmetic below routes and filters.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ipnet::IpNet as Cidr;

/// Which Internet Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// Reads a CIDR (or a bare address) and clears its host bits, as EC2 does when it stores one.
pub fn cidr(text: &str) -> Option<Cidr> {
    match text.parse::<Cidr>() {
        Ok(net) => Some(net.trunc()),
        Err(_) => text.parse::<IpAddr>().ok().map(Cidr::from),
    }
}

/// The address as a number, so that both families sort and compare alike.
pub fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

/// The address of this number in the family.
pub fn address(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(bits as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

/// First and last address of a range.
pub fn span(net: &Cidr) -> (u128, u128) {
    (bits(net.network()), bits(net.broadcast()))
}

/// Whether the range holds the address (as [`Cidr::contains`], in one comparison).
pub fn holds(net: &Cidr, at: IpAddr) -> bool {
    match (net, at) {
        (Cidr::V4(net), IpAddr::V4(at)) => {
            let differing = u32::from(net.addr()) ^ u32::from(at);
            differing.checked_shr(32 - u32::from(net.prefix_len())).unwrap_or(0) == 0
        }
        (Cidr::V6(net), IpAddr::V6(at)) => {
            let differing = u128::from(net.addr()) ^ u128::from(at);
            differing.checked_shr(128 - u32::from(net.prefix_len())).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// RFC 1918.
pub fn is_rfc1918(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(a) if a.is_private())
}

/// RFC 6598, `100.64.0.0/10`.
pub fn is_rfc6598(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(a) if a.octets()[0] == 100 && a.octets()[1] & 0xc0 == 64)
}

/// Whether an internet gateway carries the address: not RFC 1918, RFC 6598, link-local or unique local.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            !is_rfc1918(address)
                && !is_rfc6598(address)
                && !a.is_link_local()
                && !a.is_loopback()
                && !a.is_unspecified()
                && !a.is_multicast()
                && !a.is_broadcast()
        }
        IpAddr::V6(a) => a.segments()[0] & 0xe000 == 0x2000,
    }
}

/// Link-local services of every instance that no security group or network ACL filters: DNS, IMDS, Time Sync,
/// ECS task metadata (<https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html>).
pub fn is_instance_service(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.segments()[0] == 0xfd00 && a.segments()[1] == 0x0ec2,
    }
}

/// The addresses of a subnet's range that AWS keeps: the first four and the last
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html>).
pub fn is_reserved(subnet: &Cidr, address: IpAddr) -> bool {
    let (first, last) = span(subnet);
    let at = bits(address);
    subnet.contains(&address) && (at - first < 4 || at == last)
}

/// The IPv4 address inside an address of the NAT64 prefix `64:ff9b::/96`.
pub fn nat64(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(a) = address else { return None };
    let s = a.segments();
    (s[..6] == [0x64, 0xff9b, 0, 0, 0, 0]).then(|| Ipv4Addr::from((u32::from(s[6]) << 16) | u32::from(s[7])))
}

/// Sorted ranges of numbers that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    pub fn new(mut ranges: Vec<(u128, u128)>) -> Ranges {
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        merged.shrink_to_fit();
        Ranges(merged)
    }
    pub fn contains(&self, number: u128) -> bool {
        let after = self.0.partition_point(|r| r.0 <= number);
        after > 0 && self.0[after - 1].1 >= number
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The ranges, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u128)> + '_ {
        self.0.iter().copied()
    }
}

/// A set of ports: sorted ranges, both ends included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports(Vec<(u16, u16)>);

impl Ports {
    pub fn range(first: u16, last: u16) -> Ports {
        if first > last { Ports::default() } else { Ports(vec![(first, last)]) }
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|&(first, last)| u32::from(last - first) + 1).sum()
    }
    /// Takes `first..=last` out and returns what of it was there.
    pub fn take(&mut self, first: u16, last: u16) -> Ports {
        let (mut taken, mut left) = (Vec::new(), Vec::with_capacity(self.0.len() + 1));
        for &(a, b) in &self.0 {
            if b < first || last < a {
                left.push((a, b));
                continue;
            }
            taken.push((a.max(first), b.min(last)));
            if a < first {
                left.push((a, first - 1));
            }
            if last < b {
                left.push((last + 1, b));
            }
        }
        self.0 = left;
        Ports(taken)
    }
    pub fn add(&mut self, other: &Ports) {
        let mut all = std::mem::take(&mut self.0);
        all.extend_from_slice(&other.0);
        all.sort_unstable();
        for (a, b) in all {
            match self.0.last_mut() {
                Some(before) if u32::from(a) <= u32::from(before.1) + 1 => before.1 = before.1.max(b),
                _ => self.0.push((a, b)),
            }
        }
    }
    pub fn iter(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.0.iter().copied()
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (a, b)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if a == b { write!(f, "{a}")? } else { write!(f, "{a}-{b}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_apart_and_together() {
        let mut ports = Ports::range(1024, 65535);
        assert_eq!(ports.take(2000, 2999).to_string(), "2000-2999");
        assert_eq!(ports.to_string(), "1024-1999, 3000-65535");
        ports.add(&Ports::range(2000, 2999));
        assert_eq!(ports, Ports::range(1024, 65535));
        assert_eq!(ports.take(0, 65535), Ports::range(1024, 65535));
        assert!(ports.is_empty());
    }

    #[test]
    fn classes_of_addresses() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        assert!(is_rfc6598(ip("100.127.255.255")) && !is_rfc6598(ip("100.128.0.0")) && !is_public(ip("100.64.0.1")));
        assert!(is_public(ip("8.8.8.8")) && !is_public(ip("fd00::1")) && is_public(ip("2600:1f14::1")));
        assert_eq!(nat64(ip("64:ff9b::8.8.8.8")), Some(Ipv4Addr::new(8, 8, 8, 8)));
        let net = cidr("10.0.0.0/28").unwrap();
        assert!(
            is_reserved(&net, ip("10.0.0.3"))
                && is_reserved(&net, ip("10.0.0.15"))
                && !is_reserved(&net, ip("10.0.0.4"))
        );
        assert_eq!(cidr("10.0.0.5/24"), cidr("10.0.0.0/24"));
        assert_eq!(cidr("10.0.0/24"), None);
    }

    #[test]
    fn ranges_merge() {
        let r = Ranges::new(vec![(5, 9), (1, 2), (3, 4), (20, 30)]);
        assert_eq!(r.iter().collect::<Vec<_>>(), [(1, 9), (20, 30)]);
        assert!(r.contains(9) && !r.contains(10) && r.contains(20) && !r.contains(0));
    }
}
