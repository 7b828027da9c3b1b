//! Quantities of Kubernetes, such as `500m` and `1.5Gi`.

use super::InvalidSpec;
use crate::api::JobOptions;

/// Refuses amounts that would make Kubernetes refuse the Job.
pub(super) fn check(job: &JobOptions) -> Result<(), InvalidSpec> {
    let resources = job.resources.iter().flat_map(|r| [r.limits.as_ref(), r.requests.as_ref()]).flatten().flatten();
    let mut bad = resources.filter(|(_, amount)| !is_quantity(&amount.0));
    match bad.next() {
        Some((name, amount)) => Err(InvalidSpec::Field {
            field: "spec.job.resources",
            detail: format!("{:?} is no amount of {name}; write it like 500m or 512Mi", amount.0),
        }),
        None => Ok(()),
    }
}

/// Whether the API server reads this as an amount that is not negative: digits with at most one point, and at most one
/// unit or exponent. (A custom resource takes any text here; a Pod does not.)
fn is_quantity(text: &str) -> bool {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let digits = number.bytes().any(|b| b.is_ascii_digit()) && number.bytes().filter(|b| *b == b'.').count() <= 1;
    digits && (is_unit(unit) || is_exponent(unit))
}

fn is_unit(unit: &str) -> bool {
    ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].contains(&unit)
}

fn is_exponent(unit: &str) -> bool {
    let power = unit.strip_prefix(['e', 'E']).map(|power| power.strip_prefix(['+', '-']).unwrap_or(power));
    power.is_some_and(|power| !power.is_empty() && power.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1", true)]
    #[case("500m", true)]
    #[case("1.5Gi", true)]
    #[case(".5", true)]
    #[case("2.", true)]
    #[case("+1e3", true)]
    #[case("1E", true)]
    #[case("1E-2", true)]
    #[case("1Ei", true)]
    #[case("", false)]
    #[case(".", false)]
    #[case("Gi", false)]
    #[case("-1Gi", false)]
    #[case("10 Gi", false)]
    #[case("10GB", false)]
    #[case("10gi", false)]
    #[case("1.2.3", false)]
    #[case("1e", false)]
    #[case("1e2k", false)]
    fn as_the_api_server_reads_them(#[case] text: &str, #[case] good: bool) {
        assert_eq!(is_quantity(text), good);
    }
}
