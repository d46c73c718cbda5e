//! Motion JPEG over HTTP: `multipart/x-mixed-replace`, for `<img>` and for
//! programs that support no other format.
//!
//! A viewer is sent the newest picture when the one before was sent completely.

use std::collections::VecDeque;
use std::sync::Arc;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;

use super::body::{self, Source};
use super::viewer::Continue;
use crate::base::time::now;
use crate::engine::first_frame::{FIRST_FRAME_TIMEOUT, MAX_FAILED_RUNS, first_or_end};
use crate::engine::registry::Stream;
use crate::http::error::ApiError;
use crate::http::listen::connection::Connection;
use crate::http::media::notifier::{Notifier, Notifiers, Subscription};
use crate::http::media::{Empty, endless, is_chromium, join, with_client};
use crate::http::state::State;
use crate::hub::{Reader, Still};
use crate::outputs::mjpeg::{Mjpeg, Pace, variant};
use crate::outputs::picture::PictureError;

/// The boundary (RFC 2046, 5.1.1) has no quotes, because small programs do not
/// parse them.
const CONTENT_TYPE: &str = "multipart/x-mixed-replace;boundary=livebox";
const OPENING: &str = "--livebox\r\n";
const CLOSING: &str = "\r\n--livebox\r\n";

/// `GET /<stream>.mjpeg`: the pictures as JPEG, from the newest.
pub(in crate::http) async fn mjpeg(
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    state: web::Data<State>,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    let (variant, pace) = (variant(&query)?, Pace::parse(&query)?);
    if request.method() == Method::HEAD {
        return Ok(body::until_close(&request, headers(), Empty));
    }
    let (reader, init) = join(&stream).await?;
    if init.tracks.video.is_none() {
        return Err(PictureError::NoVideo.into());
    }
    let mjpeg = state.service.mjpegs.watch(stream.hub(), variant)?;
    let first =
        first_or_end(mjpeg.first(), FIRST_FRAME_TIMEOUT, mjpeg.wait_failed(MAX_FAILED_RUNS)).await;
    first.ok_or_else(|| no_picture(&mjpeg))?;
    let reader = with_client(reader, &request, "mjpeg");
    let notifiers = request.app_data::<Notifiers>().expect("every worker has its notifiers");
    let subscription =
        Notifier::subscribe(&notifiers.get(&mjpeg), Connection::from_request(&request));
    let form = if is_chromium(&request) { Form::HeadFirst } else { Form::WithLength };
    let source = MjpegSource { mjpeg, reader, subscription, pace, form, last_sent: None };
    Ok(body::until_close(&request, headers(), source))
}

fn no_picture(mjpeg: &Mjpeg) -> ApiError {
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
    /// With length and time; the closing boundary is sent with the picture.
    WithLength,
    /// Chromium shows a picture when the headers of the next part arrive. So they
    /// are sent with it, and cannot hold length or time.
    HeadFirst,
}

impl Form {
    fn opening(self) -> Bytes {
        match self {
            Form::WithLength => Bytes::from_static(OPENING.as_bytes()),
            Form::HeadFirst => Bytes::from_static(b"--livebox\r\nContent-Type: image/jpeg\r\n\r\n"),
        }
    }

    fn part(self, still: &Still) -> [Bytes; 3] {
        let jpeg = still.jpeg.clone();
        match self {
            Form::WithLength => {
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

/// The body of one viewer's response.
struct MjpegSource {
    mjpeg: Arc<Mjpeg>,
    /// Never read; it keeps the stream running and lists the viewer.
    reader: Reader,
    subscription: Subscription,
    pace: Pace,
    form: Form,
    /// The number of the newest picture that was sent.
    last_sent: Option<u64>,
}

impl Source for MjpegSource {
    fn more(&mut self, out: &mut VecDeque<Bytes>) -> Option<Continue> {
        if self.reader.stream().is_retired() {
            return Some(Continue::End);
        }
        self.subscription.caught_up();
        let newest = self.mjpeg.stills().newest();
        let next = newest.filter(|still| self.last_sent != Some(still.number));
        let Some(still) = next.filter(|_| self.pace.is_due(now())) else {
            // It waits for a picture: skipped pictures do not count as lag.
            self.subscription.set_position(u64::MAX);
            return None;
        };
        if self.last_sent.is_none() {
            out.push_back(self.form.opening());
        }
        self.last_sent = Some(still.number);
        // Until it is asked for more, its socket is full.
        self.subscription.set_position(still.number);
        out.extend(self.form.part(&still).into_iter().filter(|bytes| !bytes.is_empty()));
        self.reader.stream().count_bytes_out(out.iter().map(Bytes::len).sum());
        Some(Continue::On)
    }

    fn subscription(&self) -> Option<&Subscription> {
        Some(&self.subscription)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_part_has_length_and_time_and_its_closing_boundary() {
        let jpeg = Bytes::from_static(b"JPEG");
        let still = Still { number: 1, jpeg, taken: Duration::from_millis(1_700_000_000_042) };
        let whole =
            [vec![Form::WithLength.opening()], Form::WithLength.part(&still).to_vec()].concat();
        assert_eq!(
            whole.concat(),
            b"--livebox\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\
              X-Timestamp: 1700000000.042000\r\n\r\nJPEG\r\n--livebox\r\n"
        );
    }

    #[test]
    fn chromium_gets_the_headers_of_the_next_part_with_each_picture() {
        let still =
            Still { number: 1, jpeg: Bytes::from_static(b"JPEG"), taken: Duration::default() };
        let form = Form::HeadFirst;
        let whole = [vec![form.opening()], form.part(&still).to_vec()].concat().concat();
        let head = b"--livebox\r\nContent-Type: image/jpeg\r\n\r\n".as_slice();
        assert_eq!(whole, [head, b"JPEG\r\n", head].concat());
    }
}
