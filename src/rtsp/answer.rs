//! The parts of an RTSP response.

use rtsp_types::StatusCode;
use rtsp_types::headers::HeaderName;

/// A response before the headers that all of them have.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn plain(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn ok() -> Self {
        Self::plain(StatusCode::Ok)
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
