//! Many measurements of one thing: middle, tail, worst.

use std::time::Duration;

/// Sorted milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        Self::of_ms(durations.into_iter().map(|one| one.as_secs_f64() * 1000.0))
    }

    pub(crate) fn of_ms(all: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = all.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self(sorted)
    }

    /// What the share `part` of all does not exceed; not a number where there is none.
    pub(crate) fn at(&self, part: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else { return f64::NAN };
        self.0[(last as f64 * part).round() as usize]
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub(crate) fn max(&self) -> f64 {
        self.at(1.0)
    }

    /// Itself, unless there is nothing in it.
    pub(crate) fn some(&self) -> Option<&Self> {
        (!self.0.is_empty()).then_some(self)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
