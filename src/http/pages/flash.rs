//! Flash messages: the outcome of a form, shown on the page after it. Also the
//! token of the forms.

use std::collections::VecDeque;
use std::fmt;

use crate::base::lock::Lock;
use crate::base::system;

/// Messages that are kept; the oldest is dropped first.
const NOTICES: usize = 16;

/// Messages between a form and the page after it, and the token of the forms.
pub(in crate::http) struct FlashMessages {
    token: String,
    notices: Lock<Notices>,
}

#[derive(Default)]
struct Notices {
    next: u64,
    waiting: VecDeque<(u64, Notice)>,
}

/// The outcome of a form.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::http) struct Notice {
    pub(in crate::http) text: String,
    pub(in crate::http) is_good: bool,
}

impl Notice {
    pub(in crate::http) fn good(text: &str) -> Self {
        Self { text: text.to_owned(), is_good: true }
    }

    pub(in crate::http) fn bad(text: String) -> Self {
        Self { text, is_good: false }
    }
}

impl fmt::Debug for FlashMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlashMessages")
    }
}

impl FlashMessages {
    pub(in crate::http) fn new() -> Self {
        let token = system::random_token().expect("every Linux has a source of randomness");
        Self { token, notices: Lock::default() }
    }

    /// The token that every form carries; shown to operators only.
    pub(in crate::http) fn token(&self) -> &str {
        &self.token
    }

    /// Keeps a message; returns the number to show it by.
    pub(in crate::http) fn add(&self, notice: Notice) -> u64 {
        let mut notices = self.notices.lock();
        let number = notices.next;
        notices.next += 1;
        notices.waiting.push_back((number, notice));
        if notices.waiting.len() > NOTICES {
            notices.waiting.pop_front();
        }
        number
    }

    pub(in crate::http) fn notice(&self, number: u64) -> Option<Notice> {
        let notices = self.notices.lock();
        let found = notices.waiting.iter().find(|(known, _)| *known == number);
        found.map(|(_, notice)| notice.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_by_its_number_until_many_newer_ones_exist() {
        let messages = FlashMessages::new();
        let notice = Notice::bad("no".to_owned());
        let first = messages.add(notice.clone());
        assert_eq!(messages.notice(first), Some(notice.clone()));
        for _ in 0..NOTICES {
            messages.add(notice.clone());
        }
        assert_eq!(messages.notice(first), None);
    }

    #[test]
    fn each_start_has_another_token() {
        let (one, other) = (FlashMessages::new(), FlashMessages::new());
        assert_eq!(one.token.len(), 32);
        assert_ne!(one.token, other.token);
    }
}
