//! What a run of the load generator found.

use serde_json::{Value, json};

use super::super::human;
use super::super::out::Out;
use super::super::table::Facts;
use super::tally::{Faults, Latencies};

/// What was looked at to find faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The number in each payload.
    Each,
    /// How many messages were delivered: the payloads had no room for a number.
    Count,
    /// The relay's books: nothing was delivered.
    Accounts,
    /// Nothing: something was made, and no message was moved.
    Made,
}

impl Checked {
    /// What is proved when no fault was found.
    fn proof(self) -> Option<&'static str> {
        match self {
            Self::Each => Some("nothing lost, doubled or out of order"),
            Self::Count => Some("as many delivered as put; order needs a --size of 16 B"),
            Self::Accounts => Some("all puts are in the relay's books"),
            Self::Made => None,
        }
    }
}

/// The numbers of a run. A number that a mode does not measure is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// Messages put and acked in a second; in `idle` mode: subscriptions and groups made in a second.
    pub puts_per_second: f64,
    /// Messages delivered in a second, over all subscriptions.
    pub deliveries_per_second: f64,
    /// Payload bytes put, or delivered where the mode delivers, in a second.
    pub bytes_per_second: f64,
    /// Microseconds that half of all took at most: from put to ack in `put` mode,
    /// from put to delivery in `fanout` and `latency` mode, of a request in `idle` mode.
    pub p50_us: u64,
    /// The same for 99 of 100.
    pub p99_us: u64,
    /// The same for 999 of 1,000.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
    /// What was wrong.
    pub faults: Faults,
    /// Seconds of processor time that the relay used.
    pub relay_cpu_seconds: f64,
    /// Bytes that the relay had resident at the end; in `idle` mode: by how much they grew.
    pub relay_resident_bytes: u64,
}

impl Report {
    /// Takes over the quantiles.
    pub fn set_latencies(&mut self, latencies: &Latencies) {
        self.p50_us = latencies.quantile_us(0.5);
        self.p99_us = latencies.quantile_us(0.99);
        self.p999_us = latencies.quantile_us(0.999);
        self.max_us = latencies.max_us();
    }

    /// For programs: exactly these keys, in every mode.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "puts_per_second": rounded(self.puts_per_second),
            "deliveries_per_second": rounded(self.deliveries_per_second),
            "bytes_per_second": rounded(self.bytes_per_second),
            "p50_us": self.p50_us,
            "p99_us": self.p99_us,
            "p999_us": self.p999_us,
            "max_us": self.max_us,
            "lost": self.faults.lost,
            "duplicated": self.faults.duplicated,
            "misordered": self.faults.misordered,
            "relay_cpu_seconds": (self.relay_cpu_seconds * 1e6).round() / 1e6,
            "relay_resident_bytes": self.relay_resident_bytes,
        })
    }

    /// For people: only what the mode measures.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, checked: Checked, out: &mut Out) -> std::io::Result<()> {
        let mut facts = Facts::default();
        let idle = checked == Checked::Made;
        let rate = |rate: f64| format!("{}/s", human::rate(rate));
        if self.puts_per_second > 0.0 {
            facts.add(if idle { "made" } else { "puts" }, rate(self.puts_per_second));
        }
        if self.deliveries_per_second > 0.0 {
            facts.add("deliveries", rate(self.deliveries_per_second));
        }
        if self.bytes_per_second > 0.0 {
            facts.add("payload", format!("{}/s", human::bytes(self.bytes_per_second.round() as u64)));
        }
        if self.max_us > 0 {
            facts.add("p50", human::micros(self.p50_us));
            facts.add("p99", human::micros(self.p99_us));
            facts.add("p99.9", human::micros(self.p999_us));
            facts.add("longest", human::micros(self.max_us));
        }
        let Faults { lost, duplicated, misordered } = self.faults;
        let text = match checked.proof() {
            Some(proof) if self.faults == Faults::default() => Some(out.good(proof)),
            Some(_) => {
                Some(out.bad(&format!("{lost} lost, {duplicated} doubled, {misordered} out of order")))
            }
            None => None,
        };
        facts.add_some("verified", text);
        facts.add("relay processor", format!("{:.2} s", self.relay_cpu_seconds));
        let name = if idle { "relay memory, growth" } else { "relay memory" };
        facts.add(name, human::bytes(self.relay_resident_bytes));
        facts.write(out)
    }
}

/// Whole numbers are enough for rates; JSON has no infinity.
fn rounded(rate: f64) -> f64 {
    if rate.is_finite() { rate.round() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_exactly_the_documented_keys() {
        let value = Report::default().to_json();
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = vec![
            "puts_per_second",
            "deliveries_per_second",
            "bytes_per_second",
            "p50_us",
            "p99_us",
            "p999_us",
            "max_us",
            "lost",
            "duplicated",
            "misordered",
            "relay_cpu_seconds",
            "relay_resident_bytes",
        ];
        expected.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, expected);
    }

    #[test]
    fn nothing_is_said_to_be_verified_that_was_not() {
        let said =
            |checked| super::super::super::tests::captured(|out| Report::default().write(checked, out));
        assert!(said(Checked::Each).contains("out of order"));
        for checked in [Checked::Count, Checked::Accounts, Checked::Made] {
            assert!(!said(checked).contains("out of order"), "{checked:?}");
        }
        assert!(!said(Checked::Made).contains("verified"));
    }

    #[test]
    fn a_rate_without_a_duration_is_no_infinity() {
        let report = Report { puts_per_second: f64::INFINITY, ..Report::default() };
        assert_eq!(report.to_json()["puts_per_second"], 0.0);
    }
}
