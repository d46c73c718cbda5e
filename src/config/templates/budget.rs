//! How much templates may make out of a file: no more than a file may hold.

use crate::config::yaml::{LONGEST, MOST_NODES};

/// What is left of both bounds.
#[derive(Debug)]
pub(super) struct Budget {
    nodes: usize,
    text: usize,
}

/// There is no more budget.
#[derive(Debug, PartialEq)]
pub(super) struct Full;

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: MOST_NODES, text: LONGEST }
    }
}

impl Budget {
    /// For one more key or value.
    pub(super) fn take_node(&mut self) -> Result<(), Full> {
        self.nodes = self.nodes.checked_sub(1).ok_or(Full)?;
        Ok(())
    }

    /// For so many more bytes of text.
    pub(super) fn take_text(&mut self, bytes: usize) -> Result<(), Full> {
        self.text = self.text.checked_sub(bytes).ok_or(Full)?;
        Ok(())
    }
}

impl Full {
    pub(super) fn told() -> String {
        format!(
            "the templates would make more than {MOST_NODES} keys and values, or more than {} KiB \
             of text",
            LONGEST / 1024
        )
    }
}
