//! How much is moved at the same time.

use super::SMALL_MAX;
use crate::store::bucket;

/// How much at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Objects.
    pub at_once: usize,
    /// Bytes in memory, over all objects.
    pub budget: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { at_once: 16, budget: 48 << 20 }
    }
}

impl Limits {
    /// Takes bytes that the caller holds meanwhile off the budget, so that both together stay what they were. Enough for
    /// one large object is left.
    #[must_use]
    pub fn beside(self, held: u64) -> Self {
        let least = bucket::memory_of(SMALL_MAX).min(self.budget);
        Self { budget: self.budget.saturating_sub(held).max(least), ..self }
    }
}
