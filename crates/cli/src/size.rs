//! Sizes as people write and read them.
//!
//! `K M G T P E`, alone or as `KiB`…, count in 1024; `KB`… in 1000; no unit means bytes.

use std::fmt;

/// Bytes, parsed from text such as `64M`, `1.5GiB` or `10GB`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Size(pub(crate) u64);

const PREFIXES: &str = "KMGTPE";

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit_bytes = unit_bytes(unit.trim()).ok_or_else(|| {
            format!("unit `{unit}` is not known; use K, M, G, T (1024) or KB, MB, GB, TB (1000)")
        })?;
        let bytes = scaled(number, unit_bytes)?;
        Ok(Size(bytes))
    }
}

/// Bytes of one unit.
fn unit_bytes(unit: &str) -> Option<u64> {
    let mut letters = unit.chars();
    let Some(prefix) = letters.next() else { return Some(1) };
    let rest = letters.as_str();
    if prefix.eq_ignore_ascii_case(&'B') && rest.is_empty() {
        return Some(1);
    }
    let power = PREFIXES.find(prefix.to_ascii_uppercase())? as u32 + 1;
    match rest {
        "" | "iB" | "ib" => 1024u64.checked_pow(power),
        "B" | "b" => 1000u64.checked_pow(power),
        _ => None,
    }
}

/// `number`, which may have a fraction, times `unit_bytes`, rounded down to a byte.
fn scaled(number: &str, unit_bytes: u64) -> Result<u64, String> {
    let malformed = || format!("`{number}` is not a number; write a size such as 64M or 10GiB");
    let too_large = || "larger than any volume (the limit is 4 EiB)".to_owned();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits_only = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits_only(fraction) || fraction.len() > 9 {
        return Err(malformed());
    }
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let whole = whole.checked_mul(unit_bytes).ok_or_else(too_large)?;
    let mut part = 0;
    if !fraction.is_empty() {
        let numerator: u128 = fraction.parse().map_err(|_| malformed())?;
        let denominator = 10u128.pow(fraction.len() as u32);
        // Less than `unit_bytes`, which fits.
        part = u64::try_from(u128::from(unit_bytes) * numerator / denominator).unwrap_or(0);
    }
    whole.checked_add(part).ok_or_else(too_large)
}

impl fmt::Display for Size {
    /// Three significant digits and a binary unit; exact below 1 KiB.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        // 1 EiB is 2^60, so six prefixes are enough for any u64.
        let power = (self.0.ilog2() / 10) as usize;
        let value = self.0 as f64 / 1024f64.powi(power as i32);
        let prefix = PREFIXES.as_bytes()[power - 1] as char;
        if value < 10.0 && value.fract() >= 0.05 {
            write!(f, "{value:.1} {prefix}iB")
        } else {
            write!(f, "{value:.0} {prefix}iB")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> u64 {
        text.parse::<Size>().unwrap().0
    }

    #[test]
    fn binary_and_decimal_units_differ() {
        assert_eq!(bytes("64M"), 64 << 20);
        assert_eq!(bytes("64MiB"), 64 << 20);
        assert_eq!(bytes("64MB"), 64_000_000);
        assert_eq!(bytes("10 GiB"), 10 << 30);
        assert_eq!(bytes("1t"), 1 << 40);
        assert_eq!(bytes("4096"), 4096);
        assert_eq!(bytes("512B"), 512);
        assert_eq!(bytes("1.5G"), 3 << 29);
        assert_eq!(bytes("0.001K"), 1);
    }

    #[test]
    fn malformed_size_says_why() {
        let reason = |text: &str| text.parse::<Size>().unwrap_err();
        assert!(reason("64Q").contains("unit `Q`"), "{}", reason("64Q"));
        assert!(reason("").contains("not a number"));
        assert!(reason("M").contains("not a number"));
        assert!(reason("-1M").contains("unit"), "{}", reason("-1M"));
        assert!(reason("1.2.3M").contains("not a number"));
        assert!(reason("99999999999E").contains("larger"));
        assert!(reason("99999999999999999999999").contains("larger"));
    }

    #[test]
    fn display_is_short() {
        assert_eq!(Size(0).to_string(), "0 B");
        assert_eq!(Size(1023).to_string(), "1023 B");
        assert_eq!(Size(1024).to_string(), "1 KiB");
        assert_eq!(Size(1536).to_string(), "1.5 KiB");
        assert_eq!(Size(64 << 20).to_string(), "64 MiB");
        assert_eq!(Size(u64::MAX).to_string(), "16 EiB");
    }
}
