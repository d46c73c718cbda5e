//! Streams as Motion JPEG over HTTP: `multipart/x-mixed-replace`, shown by
//! `<img>` and by programs that know nothing else.
//!
//! A viewer is sent the newest picture whenever it has taken the one before.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;

use super::body::{self, Source};
use super::viewer::Continue;
use crate::base::time::now;
use crate::engine::registry::{FIRST_FRAME_TIMEOUT, MAX_FAILED_RUNS, Stream, first_or_end};
use crate::http::error::ApiError;
use crate::http::listen::connection::Connection;
use crate::http::media::notifier::{Notifier, Notifiers, Subscription};
use crate::http::media::{Nothing, endless, is_chromium, joined, listed};
use crate::http::state::State;
use crate::hub::{Reader, Still};
use crate::outputs::mjpeg::{Mjpeg, Pace, variant};
use crate::outputs::picture::PictureError;

/// Stands before each picture (RFC 2046, 5.1.1). The type names it without
/// quotes, because small programs do not know them.
const CONTENT_TYPE: &str = "multipart/x-mixed-replace;boundary=livebox";
const OPENING: &str = "--livebox\r\n";
const CLOSING: &str = "\r\n--livebox\r\n";

/// `GET /<stream>.mjpeg`: every picture as JPEG, from the newest on.
pub(in crate::http) async fn mjpeg(
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    state: web::Data<State>,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    let (variant, pace) = (variant(&query)?, Pace::parse(&query)?);
    if request.method() == Method::HEAD {
        return Ok(body::until_close(&request, headers(), Nothing));
    }
    let (reader, init) = joined(&stream).await?;
    if init.tracks.video.is_none() {
        return Err(PictureError::NoVideo.into());
    }
    let mjpeg = state.service.mjpegs.watch(stream.hub(), variant)?;
    let first =
        first_or_end(mjpeg.first(), FIRST_FRAME_TIMEOUT, mjpeg.wait_failed(MAX_FAILED_RUNS)).await;
    first.ok_or_else(|| none(&mjpeg))?;
    let reader = listed(reader, &request, "mjpeg");
    let notifiers = request.app_data::<Notifiers>().expect("every worker has its notifiers");
    let subscription = Notifier::listen(&notifiers.of(&mjpeg), Connection::of(&request));
    let form = if is_chromium(&request) { Form::HeadFirst } else { Form::Usual };
    let showing = Showing { mjpeg, reader, subscription, pace, form, shown: None };
    Ok(body::until_close(&request, headers(), showing))
}

fn none(mjpeg: &Mjpeg) -> ApiError {
    ApiError::NoPicture { cause: mjpeg.last_failure() }
}

fn headers() -> HttpResponseBuilder {
    let mut response = endless(CONTENT_TYPE);
    response.insert_header((header::PRAGMA, "no-cache")).insert_header((header::EXPIRES, "0"));
    response
}

/// How the parts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Each with its length and its time, and the boundary that ends it at once.
    Usual,
    /// Chromium shows a picture when the headers of the next one have come. So
    /// they are sent with it, and cannot say anything about the next one.
    HeadFirst,
}

impl Form {
    fn opening(self) -> Bytes {
        match self {
            Form::Usual => Bytes::from_static(OPENING.as_bytes()),
            Form::HeadFirst => Bytes::from_static(b"--livebox\r\nContent-Type: image/jpeg\r\n\r\n"),
        }
    }

    fn part(self, still: &Still) -> [Bytes; 3] {
        let jpeg = still.jpeg.clone();
        match self {
            Form::Usual => {
                let (length, taken) = (jpeg.len(), still.taken);
                let (seconds, micros) = (taken.as_secs(), taken.subsec_micros());
                let head = format!(
                    "Content-Type: image/jpeg\r\nContent-Length: {length}\r\n\
                     X-Timestamp: {seconds}.{micros:06}\r\n\r\n"
                );
                [head.into(), jpeg, Bytes::from_static(CLOSING.as_bytes())]
            }
            Form::HeadFirst => {
                let next = b"\r\n--livebox\r\nContent-Type: image/jpeg\r\n\r\n";
                [Bytes::new(), jpeg, Bytes::from_static(next)]
            }
        }
    }
}

/// What one viewer is shown.
struct Showing {
    mjpeg: Arc<Mjpeg>,
    /// Never reads; it says that the stream is needed, and by whom.
    reader: Reader,
    subscription: Subscription,
    pace: Pace,
    form: Form,
    /// The number of the picture that it was sent last.
    shown: Option<u64>,
}

impl Source for Showing {
    fn poll_more(&mut self, out: &mut VecDeque<Bytes>, cx: &mut Context<'_>) -> Poll<Continue> {
        loop {
            if self.reader.stream().is_retired() {
                return Poll::Ready(Continue::End);
            }
            self.subscription.caught_up();
            if let Some(still) = self.mjpeg.stills().newest()
                && self.shown != Some(still.number)
                && self.pace.is_due(now())
            {
                if self.shown.is_none() {
                    out.push_back(self.form.opening());
                }
                self.shown = Some(still.number);
                // Until it is asked for more, its connection is full.
                self.subscription.stands_at(still.number);
                let part = self.form.part(&still).into_iter().filter(|bytes| !bytes.is_empty());
                out.extend(part);
                let length = out.iter().map(Bytes::len).sum();
                self.reader.stream().count_bytes_out(length);
                return Poll::Ready(Continue::On);
            }
            // It waits for pictures, and is not behind whatever it leaves out.
            self.subscription.stands_at(u64::MAX);
            ready!(self.subscription.poll_heard(cx));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_part_tells_its_length_and_time_and_is_closed_at_once() {
        let jpeg = Bytes::from_static(b"JPEG");
        let still = Still { number: 1, jpeg, taken: Duration::from_millis(1_700_000_000_042) };
        let whole = [vec![Form::Usual.opening()], Form::Usual.part(&still).to_vec()].concat();
        assert_eq!(
            whole.concat(),
            b"--livebox\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\
              X-Timestamp: 1700000000.042000\r\n\r\nJPEG\r\n--livebox\r\n"
        );
    }

    #[test]
    fn chromium_has_the_next_head_already() {
        let still =
            Still { number: 1, jpeg: Bytes::from_static(b"JPEG"), taken: Duration::default() };
        let form = Form::HeadFirst;
        let whole = [vec![form.opening()], form.part(&still).to_vec()].concat().concat();
        let head = b"--livebox\r\nContent-Type: image/jpeg\r\n\r\n".as_slice();
        assert_eq!(whole, [head, b"JPEG\r\n", head].concat());
    }
}
