//! Rounded numbers.

use crate::model::status;

/// Seconds until the next attempt, if one is due.
pub(super) fn next_retry(state: &status::State) -> Option<f64> {
    match state {
        status::State::Waiting { retry_in, .. } => Some(hundredths(retry_in.as_secs_f64())),
        status::State::Idle
        | status::State::Starting
        | status::State::Live { .. }
        | status::State::Ended { .. }
        | status::State::Stopping => None,
    }
}

/// Rounds to two decimals.
pub(super) fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
