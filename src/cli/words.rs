//! Sizes, durations and times, as `mo_br` shows them.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

/// Bytes for people, in powers of 1000: `65 MB`, `8.3 MB`, `0 B`. `mo_br` shows them by go-humanize, whose rule this is:
/// one decimal below 10, else none.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut unit, mut of) = (0, 1_u128);
    while u128::from(bytes) >= of * 1000 {
        unit += 1;
        of *= 1000;
    }
    let tenths = (u128::from(bytes) * 10 + of / 2) / of;
    match (unit, tenths) {
        (0, _) => format!("{bytes} B"),
        (_, ..100) => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        // A half goes to the even neighbour, as Go prints it.
        (_, _) => format!("{} {}", (tenths + 4 + (tenths / 10) % 2) / 10, UNITS[unit]),
    }
}

/// A duration as Go prints it: `8.648091083s`, `1m2s`, `2h3m4s`.
#[must_use]
pub fn took(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let unit = match nanos {
        0 => return "0s".into(),
        1..1_000 => return format!("{nanos}ns"),
        1_000..1_000_000 => return format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => return format!("{}ms", decimal(nanos, 1_000_000)),
        1_000_000_000.. => 1_000_000_000,
    };
    let seconds = decimal(nanos % (60 * unit), unit);
    match (duration.as_secs() / 3600, duration.as_secs() / 60 % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// A quotient with as many decimals as it needs; the divisor is a power of ten.
fn decimal(part: u128, of: u128) -> String {
    let rest = format!("{:0width$}", part % of, width = of.ilog10() as usize);
    match rest.trim_end_matches('0') {
        "" => (part / of).to_string(),
        rest => format!("{}.{rest}", part / of),
    }
}

/// A time in a time zone: `2024-05-15 11:56:44 +0800`.
#[must_use]
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %z").to_string()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "0 B")]
    #[case(9, "9 B")]
    #[case(999, "999 B")]
    #[case(1000, "1.0 kB")]
    #[case(9_949, "9.9 kB")]
    #[case(9_950, "10 kB")]
    #[case(586_012, "586 kB")]
    #[case(999_999, "1000 kB")]
    #[case(8_300_000, "8.3 MB")]
    #[case(12_500_000, "12 MB")]
    #[case(13_500_000, "14 MB")]
    #[case(65_123_456, "65 MB")]
    #[case(82_854_982, "83 MB")]
    #[case(u64::MAX, "18 EB")]
    fn sizes_are_those_of_go_humanize(#[case] bytes: u64, #[case] expected: &str) {
        assert_eq!(size(bytes), expected);
    }

    #[rstest]
    #[case(Duration::ZERO, "0s")]
    #[case(Duration::from_nanos(7), "7ns")]
    #[case(Duration::from_nanos(549_000), "549µs")]
    #[case(Duration::from_nanos(1_500_000), "1.5ms")]
    #[case(Duration::from_nanos(8_648_091_083), "8.648091083s")]
    #[case(Duration::from_millis(22_450), "22.45s")]
    #[case(Duration::from_secs(60), "1m0s")]
    #[case(Duration::from_secs(62), "1m2s")]
    #[case(Duration::from_secs(7384), "2h3m4s")]
    #[case(Duration::from_millis(3_600_050), "1h0m0.05s")]
    fn durations_are_those_of_go(#[case] duration: Duration, #[case] expected: &str) {
        assert_eq!(took(duration), expected);
    }

    #[rstest]
    #[case("UTC", "2024-05-15 03:56:44 +0000")]
    #[case("Asia/Shanghai", "2024-05-15 11:56:44 +0800")]
    #[case("America/St_Johns", "2024-05-15 01:26:44 -0230")]
    fn times_are_those_of_the_zone(#[case] zone: &str, #[case] expected: &str) {
        let at: Timestamp = "2024-05-15T03:56:44.91541Z".parse().unwrap();
        assert_eq!(local(at, &TimeZone::get(zone).unwrap()), expected);
    }
}
