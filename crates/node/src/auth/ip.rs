//! The `ip` scheme: an identity is an address, an ACL names an address or a network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use oxikeeper_proto::Id;

/// The identity of a connection from this address. IPv4 in IPv6 is written as IPv4, and IPv6 as
/// Java writes it, without `::`, for whoAmI shows it.
pub fn identity(remote: IpAddr) -> Id {
    let text = match remote.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join(":"),
    };
    Id::new(super::IP, text)
}

/// Whether an ACL may name this: an address, or an address and the length of a prefix in bits.
pub fn is_valid(named: &str) -> bool {
    parse(named).is_some()
}

/// Whether a connection's address is the one named, or in the network named.
pub fn matches(id: &str, named: &str) -> bool {
    let Some((network, bits)) = parse(named) else {
        return false;
    };
    match (address(id), network) {
        (Some(IpAddr::V4(id)), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            (id.to_bits() ^ network.to_bits()) & mask == 0
        }
        (Some(IpAddr::V6(id)), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            (id.to_bits() ^ network.to_bits()) & mask == 0
        }
        _ => false,
    }
}

/// An address and how many of its leading bits count.
fn parse(named: &str) -> Option<(IpAddr, u32)> {
    let (text, bits) = match named.split_once('/') {
        Some((text, bits)) => (text, Some(bits)),
        None => (named, None),
    };
    let address = address(text)?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => bits_max,
        Some(bits) => u32::try_from(bits.parse::<i32>().ok()?).ok()?,
    };
    (bits <= bits_max).then_some((address, bits))
}

fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        // Groups only: Apache does not know the form that ends in IPv4.
        if text.contains('.') {
            return None;
        }
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    // Each part as Java's parseInt reads it: leading zeros are decimal.
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = u8::try_from(parts.next()?.parse::<i32>().ok()?).ok()?;
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_written_as_java_writes_them() {
        let cases = [
            ("127.0.0.1", "127.0.0.1"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("fe80::1:ab", "fe80:0:0:0:0:0:1:ab"),
        ];
        for (remote, expected) in cases {
            let remote = remote.parse().expect("an address");
            assert_eq!(identity(remote), Id::new("ip", expected));
        }
    }

    #[test]
    fn what_an_acl_may_name() {
        for valid in ["1.2.3.4", "1.2.3.4/0", "1.2.3.4/32", "01.2.3.4", "::1", "::1/128"] {
            assert!(is_valid(valid), "{valid}");
        }
        let invalid = [
            "",
            "a",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/-1",
            "1.2.3.4/x",
            "1.2.3.4/8/9",
            "::1/129",
            "1::2::3",
            "::1.2.3.4",
            "1.2.3.-4",
        ];
        for invalid in invalid {
            assert!(!is_valid(invalid), "{invalid}");
        }
    }

    #[test]
    fn networks_match_by_prefix_in_one_family() {
        let cases = [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "10.1.0.0/16", true),
            ("10.2.2.3", "10.1.0.0/16", false),
            ("10.2.2.3", "0.0.0.0/0", true),
            ("10.2.2.3", "::/0", false),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("fe80:0:0:0:0:0:0:1", "fe80::/10", true),
            ("10.1.2.3", "10.1.2.3/", false),
            ("10.1.2.3", "rubbish", false),
        ];
        for (id, named, expected) in cases {
            assert_eq!(matches(id, named), expected, "{id} in {named}");
        }
    }
}
