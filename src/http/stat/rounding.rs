//! Rounded numbers.

use crate::model::status;

/// Seconds until the next attempt, if one is due.
pub(super) fn next_retry(state: &status::State) -> Option<f64> {
    state.retry_in().map(|delay| hundredths(delay.as_secs_f64()))
}

/// Rounds to two decimals.
pub(super) fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
