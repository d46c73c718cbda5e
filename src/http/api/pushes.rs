//! Pushes in the livebox API: `/api/livebox/v1/pushes/…`.

use std::time::Instant;

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::livebox::{answer, changed, next_retry, tenths};
use crate::base::time::now;
use crate::http::access::Caller;
use crate::http::error::ApiError;
use crate::http::state::State;
use crate::model::failure::Failure;
use crate::model::status;
use crate::outputs::preflight::Preflight;
use crate::outputs::push::Push;

/// A push in the API.
#[derive(Serialize)]
struct Shown {
    name: String,
    stream: String,
    /// `idle`, `starting`, `live`, `stopping`, `waiting`.
    state: &'static str,
    wanted: bool,
    /// The URL of the receiver, without key and password.
    url: Option<String>,
    /// `url` or `backup`: the one in use or tried next.
    #[serde(rename = "using")]
    address: &'static str,
    has_backup: bool,
    live_seconds: Option<f64>,
    /// Bytes sent since the start of the service.
    bytes: u64,
    /// Bits per second over the last five seconds.
    bitrate: u64,
    /// Frames dropped because the receiver was too slow.
    dropped: u64,
    restarts: u32,
    /// The first of the current failures; reset after ten seconds live.
    first_error: Option<String>,
    /// The messages from which the errors were recognised.
    first_error_details: Option<String>,
    last_error: Option<String>,
    last_error_details: Option<String>,
    next_retry_seconds: Option<f64>,
    preflight: Fitness,
}

#[derive(Serialize)]
struct Fitness {
    width: Option<u32>,
    height: Option<u32>,
    fps: Option<f64>,
    key_frame_seconds: Option<f64>,
    bitrate: Option<u64>,
    stream_has_audio: bool,
    advice: Vec<String>,
}

/// `GET /api/livebox/v1/pushes`
pub(in crate::http) async fn all(
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    let now = now();
    Ok(answer(&state.topology().pushes.iter().map(|push| shown(push, now)).collect::<Vec<_>>()))
}

/// `PUT /api/livebox/v1/pushes/{name}/start`
pub(in crate::http) async fn start(
    caller: Caller,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    let push = state.service.start_push(&name, now()).await?;
    Ok(changed(&state, &shown(&push, now())))
}

/// `PUT /api/livebox/v1/pushes/{name}/stop`
pub(in crate::http) async fn stop(
    caller: Caller,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    let push = state.service.stop_push(&name, now()).await?;
    Ok(changed(&state, &shown(&push, now())))
}

/// `PUT /api/livebox/v1/pushes/{name}/retry`
pub(in crate::http) async fn retry(
    caller: Caller,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    let push = state.service.retry_push(&name, now()).await?;
    Ok(answer(&shown(&push, now())))
}

fn shown(push: &Push, now: Instant) -> Shown {
    let status = push.status(now);
    let live_seconds = match &status.state {
        status::State::Live { since } => Some(tenths(since.as_secs_f64())),
        status::State::Idle
        | status::State::Starting
        | status::State::Waiting { .. }
        | status::State::Stopping
        | status::State::Ended { .. } => None,
    };
    Shown {
        name: status.name.to_string(),
        stream: status.stream.to_string(),
        state: status.state.word(),
        wanted: push.is_wanted(),
        url: status.url,
        address: if status.on_backup == Some(true) { "backup" } else { "url" },
        has_backup: status.on_backup.is_some(),
        live_seconds,
        bytes: status.bytes_out,
        bitrate: status.bitrate,
        dropped: status.lost,
        restarts: status.past.restarts,
        first_error: status.first_failure.as_ref().map(Failure::say),
        first_error_details: status.first_failure.as_ref().and_then(Failure::details),
        last_error: status.last_failure.as_ref().map(Failure::say),
        last_error_details: status.last_failure.as_ref().and_then(Failure::details),
        next_retry_seconds: next_retry(&status.state),
        preflight: fitness(push.preflight()),
    }
}

fn fitness(found: Preflight) -> Fitness {
    Fitness {
        width: found.width,
        height: found.height,
        fps: found.fps.map(tenths),
        key_frame_seconds: found
            .key_frames
            .map(|span| (span.as_secs_f64() * 1000.0).round() / 1000.0),
        bitrate: found.bitrate,
        stream_has_audio: found.has_audio,
        advice: found.advice,
    }
}
