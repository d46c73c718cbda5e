//! Where a stream stands at this moment, for players that recover by themselves.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::base::time::MediaTime;
use crate::base::time::now;
use crate::engine::registry::Stream;
use crate::http::error::json;
use crate::model::status::State;

/// `GET /<stream>/live.json`
#[derive(Serialize)]
struct Live {
    /// `idle`, `starting`, `live`, `stopping`, `waiting`, `over`.
    state: &'static str,
    /// Why the stream is `waiting` or `over`.
    cause: Option<String>,
    /// What the media timeline of MP4 (`tfdt`) shows now, in seconds: a player
    /// that shows a picture of this time has no delay.
    clock_s: f64,
    /// Since the newest picture or sound came; absent where none is kept.
    newest_age_s: Option<f64>,
}

/// `GET /<stream>/live.json`. A stream that is not live is kept wanted for a
/// while, as a player that asks waits for it.
pub(in crate::http) async fn now_of(stream: web::ReqData<Arc<Stream>>) -> HttpResponse {
    let state = stream.state(now());
    if !matches!(state, State::Live { .. }) {
        stream.hub().lease();
    }
    let cause = match &state {
        State::Waiting { cause, .. } | State::Over { cause } => Some(cause.to_string()),
        State::Idle | State::Starting | State::Live { .. } | State::Stopping => None,
    };
    let newest_age_s = stream.hub().newest_age().map(|age| thousandths(age.as_secs_f64()));
    let clock_s = thousandths(MediaTime::now().0 as f64 / 1e9);
    json(&mut HttpResponse::Ok(), &Live { state: state.word(), cause, clock_s, newest_age_s })
}

fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
