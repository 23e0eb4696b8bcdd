//! Which clients a service takes: ranges of addresses, as `loadBalancerSourceRanges` has them.
//!
//! Each family is on its own: ranges of IPv4 say nothing of IPv6. A range with prefix 0 allows its whole family.

use alloc::{format, string::String, vec::Vec};
use core::{fmt, net::IpAddr, str::FromStr};

/// The clients that a service takes; both families where nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRanges {
    v4: Family,
    v6: Family,
}

/// What was said of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Family {
    /// Nothing: everybody.
    #[default]
    Everybody,
    /// These, each an address in 128 bits with the bits that count.
    Only(Vec<(u128, u128)>),
}

/// A range: an address and how many of its first bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRange {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRange(String);

impl fmt::Display for InvalidRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for InvalidRange {}

impl FromStr for SourceRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let wrong =
            || InvalidRange(format!("`{}` is not a range: expected, for example, `10.0.0.0/8`", text.trim()));
        let (address, prefix) = text.trim().split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > bits(address) {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// An address in the upper bits of 128.
const fn spread(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => (v4.to_bits() as u128) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl SourceRanges {
    /// The clients of these ranges, and all of a family that none of them speaks of.
    pub fn of(ranges: impl IntoIterator<Item = SourceRange>) -> Self {
        let mut all = Self::default();
        for SourceRange { address, prefix } in ranges {
            let family = if address.is_ipv4() { &mut all.v4 } else { &mut all.v6 };
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            let range = (spread(address) & mask, mask);
            match family {
                Family::Everybody => *family = Family::Only([range].into()),
                Family::Only(ranges) => ranges.push(range),
            }
        }
        all
    }

    /// Nobody: ranges were given, and none of them means anything.
    pub fn nobody() -> Self {
        Self { v4: Family::Only(Vec::new()), v6: Family::Only(Vec::new()) }
    }

    /// Whether a client is taken. An IPv4-mapped address is its IPv4 address.
    pub fn allows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let family = if client.is_ipv4() { &self.v4 } else { &self.v6 };
        match family {
            Family::Everybody => true,
            Family::Only(ranges) => {
                let client = spread(client);
                ranges.iter().any(|(address, mask)| client & mask == *address)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    fn ranges(texts: &[&str]) -> SourceRanges {
        SourceRanges::of(texts.iter().map(|text| text.parse::<SourceRange>().expect("a range")))
    }

    fn allows(ranges: &SourceRanges, client: &str) -> bool {
        ranges.allows(client.parse().expect("an address"))
    }

    /// A22.
    #[test]
    fn each_family_is_on_its_own() {
        let v4 = ranges(&[" 10.1.0.0/16 ", "192.0.2.7/32"]);
        for (client, expected) in [
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.1.0.1", true),
            ("::ffff:10.2.0.1", false),
            ("2001:db8::1", true),
        ] {
            assert_eq!(allows(&v4, client), expected, "{client}");
        }
        let v6 = ranges(&["2001:db8::/33"]);
        assert!(
            allows(&v6, "2001:db8:7fff::1") && !allows(&v6, "2001:db8:8000::1") && allows(&v6, "1.2.3.4")
        );
    }

    /// A22.
    #[test]
    fn a_zero_prefix_allows_its_whole_family() {
        let all = ranges(&["10.0.0.0/8", "0.0.0.0/0"]);
        assert!(allows(&all, "203.0.113.1") && allows(&all, "2001:db8::1"));
        let both = ranges(&["0.0.0.0/0", "fd00::/8"]);
        assert!(!allows(&both, "2001:db8::1"));
    }

    #[test]
    fn host_bits_of_a_range_do_not_count() {
        assert!(allows(&ranges(&["10.1.2.3/8"]), "10.200.0.1"));
    }

    #[test]
    fn nothing_said_is_everybody_and_nothing_understood_is_nobody() {
        assert!(allows(&SourceRanges::default(), "1.2.3.4"));
        assert!(!allows(&SourceRanges::nobody(), "1.2.3.4") && !allows(&SourceRanges::nobody(), "::1"));
    }

    /// A22.
    #[test]
    fn what_is_no_range_is_said() {
        for text in
            ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/-1", "10.0.0.0/8/8"]
        {
            let error = text.parse::<SourceRange>().expect_err(text).to_string();
            assert!(error.starts_with(&format!("`{text}` is not a range")), "{error}");
        }
    }
}
