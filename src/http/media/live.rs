//! The state of a stream at this moment, for players that reconnect themselves.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::base::time::MediaTime;
use crate::base::time::now;
use crate::engine::registry::Stream;
use crate::http::error::json;
use crate::model::failure::Failure;
use crate::model::status::State;

/// `GET /<stream>/live.json`
#[derive(Serialize)]
struct Live {
    /// `idle`, `starting`, `live`, `stopping`, `waiting`, `ended`.
    state: &'static str,
    /// Why the stream is `waiting` or `ended`.
    cause: Option<String>,
    /// The current time on the media timeline of MP4 (`tfdt`), in seconds: a
    /// player that shows a picture of this time has no delay.
    clock_s: f64,
    /// Time since the newest frame arrived; `null` if none is kept.
    newest_age_s: Option<f64>,
}

/// `GET /<stream>/live.json`. Takes a lease of a stream that is not live: the
/// player waits for it.
pub(in crate::http) async fn status(stream: web::ReqData<Arc<Stream>>) -> HttpResponse {
    let state = stream.state(now());
    if !matches!(state, State::Live { .. }) {
        stream.hub().lease();
    }
    let cause = state.cause().map(Failure::say);
    let newest_age_s = stream.hub().newest_age().map(|age| rounded_to_ms(age.as_secs_f64()));
    let clock_s = rounded_to_ms(MediaTime::now().0 as f64 / 1e9);
    json(&mut HttpResponse::Ok(), &Live { state: state.word(), cause, clock_s, newest_age_s })
}

fn rounded_to_ms(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
