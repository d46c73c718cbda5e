//! The livebox API: `/api/livebox/v1/…`, also at `/api/v1/…`.

use actix_http::error::PayloadError;
use actix_multipart::{Multipart, MultipartError};
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use futures_util::TryStreamExt;
use serde::Serialize;

use crate::base::time::now;
use crate::base::{system, time};
use crate::http::access::Caller;
use crate::http::error::{ApiError, json};
use crate::http::listen::exchange::is_timeout;
use crate::http::state::State;
use crate::model::status;
use crate::service::control::{EditError, Field};

/// Limits of a body and of its fields.
const MAX_BODY_BYTES: usize = 64 << 10;
const MAX_FIELDS: usize = 32;

#[derive(Serialize)]
struct Status {
    product: &'static str,
    version: &'static str,
    name: String,
    id: String,
    status: &'static str,
    cpu: f64,
    disk: f64,
    net: u64,
    timestamp: String,
    /// Units rolled back to earlier settings since the last reload.
    rolled_back: Vec<String>,
    /// Problems of folders, one line each.
    problems: Vec<String>,
}

/// `GET /api/livebox/v1/status`
pub(in crate::http) async fn status(state: web::Data<State>) -> HttpResponse {
    answer(&status_of(&state))
}

/// `GET /api/livebox/v1/control`
pub(in crate::http) async fn control(
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    Ok(answer(&state.service.control()?))
}

/// `POST /api/livebox/v1/control`
pub(in crate::http) async fn edit(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    let fields = fields(&request, payload).await?;
    Ok(changed(&state, &state.service.edit(&fields, now()).await?))
}

/// `PUT /api/livebox/v1/start`
pub(in crate::http) async fn start(
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    state.service.start(now()).await?;
    Ok(changed(&state, &status_of(&state)))
}

/// `PUT /api/livebox/v1/stop`
pub(in crate::http) async fn stop(
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    state.service.stop(now()).await?;
    Ok(changed(&state, &status_of(&state)))
}

/// `POST /api/livebox/v1/reload`
pub(in crate::http) async fn reload(
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    Ok(answer(&state.service.reload().await?))
}

/// `POST /api/livebox/v1/streams/{name}/restart`
pub(in crate::http) async fn restart(
    caller: Caller,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    caller.require_operator().await?;
    state.service.restart_stream(&name).await?;
    Ok(answer(&status_of(&state)))
}

pub(in crate::http) fn answer(body: &impl Serialize) -> HttpResponse {
    json(&mut HttpResponse::Ok(), body)
}

/// The answer to a change, with a `warning` if the state file cannot keep it.
pub(in crate::http) fn changed(state: &State, body: &impl Serialize) -> HttpResponse {
    let Some(warning) = state.service.unsaved() else { return answer(body) };
    let body = serde_json::to_value(body).expect("our own structs have string keys only");
    let serde_json::Value::Object(mut fields) = body else { return answer(&body) };
    fields.insert("warning".to_owned(), warning.into());
    answer(&fields)
}

fn status_of(state: &State) -> Status {
    let (now, service) = (now(), &state.service);
    Status {
        product: "com.youtube.livebox",
        version: env!("CARGO_PKG_VERSION"),
        name: system::hostname(),
        id: service.figures.mac_address().to_owned(),
        status: service.activity(now).word(),
        cpu: service.figures.cpu_percent(now),
        disk: service.figures.disk_percent(),
        net: service.bytes_out(),
        timestamp: time::iso_stamp(),
        rolled_back: state.topology().rolled_back.iter().map(|one| one.what.clone()).collect(),
        problems: service.problems().iter().map(ToString::to_string).collect(),
    }
}

/// Reads the fields of an edit from JSON, a form, or a multipart form.
pub(in crate::http) async fn fields(
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<Vec<Field>, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "multipart/form-data" => multipart_fields(request, payload).await,
        "application/x-www-form-urlencoded" => {
            let body = whole(payload).await?;
            let pairs = web::Query::<Vec<(String, String)>>::from_query(as_text(&body)?)
                .map_err(|error| ApiError::Unreadable(error.to_string()))?;
            Ok(pairs
                .into_inner()
                .into_iter()
                .map(|(key, value)| Field { key, value: Some(value) })
                .collect())
        }
        _ => json_fields(&whole(payload).await?),
    }
}

async fn whole(payload: web::Payload) -> Result<web::Bytes, ApiError> {
    payload
        .to_bytes_limited(MAX_BODY_BYTES)
        .await
        .map_err(|_| ApiError::Unreadable("the body is too long".to_owned()))?
        .map_err(unread)
}

/// The error of a body that cannot be read.
fn unread(error: actix_web::Error) -> ApiError {
    match error.as_error::<PayloadError>() {
        Some(error) if is_timeout(error) => ApiError::TooSlow,
        Some(_) | None => ApiError::Unreadable(error.to_string()),
    }
}

fn as_text(body: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|error| ApiError::Unreadable(error.to_string()))
}

fn json_fields(body: &[u8]) -> Result<Vec<Field>, ApiError> {
    use serde_json::Value;
    let parsed: Value =
        serde_json::from_slice(body).map_err(|error| ApiError::Unreadable(error.to_string()))?;
    let Value::Object(object) = parsed else {
        return Err(ApiError::Unreadable("it is not an object".to_owned()));
    };
    let fields = object.into_iter().map(|(key, value)| match value {
        Value::Null => Ok(Field { key, value: None }),
        Value::String(text) => Ok(Field { key, value: Some(text) }),
        Value::Number(number) => Ok(Field { key, value: Some(number.to_string()) }),
        Value::Bool(flag) => Ok(Field { key, value: Some(flag.to_string()) }),
        Value::Array(_) | Value::Object(_) => {
            let valid = "a text, a number or null";
            Err(ApiError::Operation(EditError::Value { field: key, valid }.into()))
        }
    });
    fields.collect()
}

async fn multipart_fields(
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<Vec<Field>, ApiError> {
    let unreadable = |error: MultipartError| {
        if let MultipartError::Payload(cause) = &error
            && is_timeout(cause)
        {
            return ApiError::TooSlow;
        }
        ApiError::Unreadable(error.to_string())
    };
    let mut parts = Multipart::from_request(request, &mut payload.into_inner())
        .await
        .map_err(|error| ApiError::Unreadable(error.to_string()))?;
    let (mut fields, mut left) = (Vec::new(), MAX_BODY_BYTES);
    while let Some(mut part) = parts.try_next().await.map_err(unreadable)? {
        let key = part.name().unwrap_or_default().to_owned();
        let mut value = Vec::new();
        while let Some(piece) = part.try_next().await.map_err(unreadable)? {
            left = left
                .checked_sub(piece.len())
                .ok_or_else(|| ApiError::Unreadable("the body is too long".to_owned()))?;
            value.extend_from_slice(&piece);
        }
        fields.push(Field { key, value: Some(as_text(&value)?.to_owned()) });
        if fields.len() > MAX_FIELDS {
            return Err(ApiError::Unreadable("too many fields".to_owned()));
        }
    }
    Ok(fields)
}

/// Seconds until the next attempt, if one is due.
pub(super) fn next_retry(state: &status::State) -> Option<f64> {
    state.retry_in().map(|delay| tenths(delay.as_secs_f64()))
}

/// Rounds to one decimal.
pub(super) fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
