//! Bounds of the expansion of templates: those of a file.

use crate::config::yaml::{MAX_FILE_BYTES, MAX_NODES};

/// The rest of both bounds.
#[derive(Debug)]
pub(super) struct Budget {
    nodes: usize,
    text: usize,
}

/// The expansion exceeds a bound.
#[derive(Debug, PartialEq)]
pub(super) struct BudgetExceeded;

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: MAX_NODES, text: MAX_FILE_BYTES }
    }
}

impl Budget {
    /// Accounts for one more key or value.
    pub(super) fn take_node(&mut self) -> Result<(), BudgetExceeded> {
        self.nodes = self.nodes.checked_sub(1).ok_or(BudgetExceeded)?;
        Ok(())
    }

    /// Accounts for more bytes of text.
    pub(super) fn take_text(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        self.text = self.text.checked_sub(bytes).ok_or(BudgetExceeded)?;
        Ok(())
    }
}

impl BudgetExceeded {
    pub(super) fn message() -> String {
        format!(
            "the templates would make more than {MAX_NODES} keys and values, or more than {} KiB \
             of text",
            MAX_FILE_BYTES / 1024
        )
    }
}
