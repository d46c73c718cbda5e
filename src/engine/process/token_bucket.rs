//! A token bucket: a rate limit that allows bursts. Pure.

use std::time::Instant;

/// Fills with time, and is emptied by what is taken.
#[derive(Debug)]
pub(super) struct TokenBucket {
    left: f64,
    most: f64,
    a_second: f64,
    at: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket of `most` tokens that gains `a_second` each second.
    pub(super) fn new(most: f64, a_second: f64) -> Self {
        Self { left: most, most, a_second, at: None }
    }

    /// Takes `cost` tokens; returns whether there were as many.
    pub(super) fn take(&mut self, cost: f64, now: Instant) -> bool {
        let passed = self.at.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.left = (self.left + passed * self.a_second).min(self.most);
        let is_enough = self.left >= cost;
        if is_enough {
            self.left -= cost;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::time::now;

    #[test]
    fn a_burst_empties_it_and_time_fills_it_up_to_its_size() {
        let (mut bucket, begin) = (TokenBucket::new(3.0, 0.5), now());
        assert!([true, true, true, false].iter().all(|is_let| bucket.take(1.0, begin) == *is_let));
        assert!(bucket.take(1.0, begin + Duration::from_secs(2)));
        assert!(!bucket.take(1.0, begin + Duration::from_secs(2)));
        assert!(!bucket.take(4.0, begin + Duration::from_secs(3600)));
    }
}
