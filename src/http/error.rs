//! The errors of all handlers, and the only place that maps them to statuses.

use std::time::Duration;

use actix_web::error::QueryPayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;

use crate::accounts::Busy;
use crate::base::disk::Silent;
use crate::engine::process::bytes::{ShotError, TooManyViewers};
use crate::model::failure::Failure;
use crate::outputs::mjpeg::TooManyVariants;
use crate::outputs::picture::{BadParameter, PictureError};
use crate::outputs::recordings::{DeleteError, StartStopError};
use crate::service::control::EditError;
use crate::service::first_push::ControlError;
use crate::service::operations::OperationError;
use crate::service::push_gate::PushError;

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Operation(#[from] OperationError),
    #[error("Invalid control information: {0}")]
    Unreadable(String),
    #[error("The request took too long to arrive")]
    TooSlow,
    #[error("Invalid value for '{0}': use 0 or 1")]
    BadQuery(String),
    #[error("Invalid query: {0}")]
    UnreadableQuery(String),
    #[error("Not Found: {0}")]
    NoSuchPath(String),
    #[error("Method Not Allowed: use {allow}")]
    WrongMethod { allow: &'static str },
    #[error("A password is required")]
    PasswordNeeded { realm: String },
    #[error(
        "Only this machine itself may do this, because no password is set; run `livebox password` \
         on it and put the result into the configuration as access.password"
    )]
    NoPasswordSet,
    #[error("Bad Request: the header {0} must occur once, as plain text")]
    Ambiguous(HeaderName),
    #[error("Misdirected Request: this host name is not in server.hosts")]
    OtherHost,
    #[error("Requests from pages of other sites are rejected")]
    OtherOrigin,
    #[error(
        "The form does not belong to the current page; nothing was changed. Open the page again"
    )]
    ForeignForm,
    #[error("Refused: {0}")]
    Busy(#[from] Busy),
    #[error("The stream has no picture yet{}", because(.cause.as_ref()))]
    NoPicture { cause: Option<Failure> },
    #[error("The stream has no audio track")]
    NoSound,
    #[error("The stream has no data yet{}", because(.cause.as_ref()))]
    NoBytes { cause: Option<Failure> },
    #[error(
        "'{key}' is not supported for streams of the type {content_type}, only for video/mp2t, \
         video/mp4, video/webm, video/x-flv and audio/wav"
    )]
    NoMarks { key: String, content_type: String },
    #[error("Too many viewers: {0}")]
    Full(#[from] TooManyViewers),
    #[error("No answer: {0}")]
    Shot(#[from] ShotError),
    #[error("Too many variants of pictures: {0}")]
    TooManyVariants(#[from] TooManyVariants),
    #[error("Invalid value for 'before': use the name of a recording")]
    BadBefore,
    #[error("Unavailable: {0}")]
    Silent(#[from] Silent),
    #[error(transparent)]
    BadParameter(#[from] BadParameter),
    #[error("No picture: {0}")]
    Undecoded(#[from] PictureError),
}

impl ApiError {
    /// The status, and the delay after which a retry makes sense.
    fn contract(&self) -> (StatusCode, Option<Duration>) {
        match self {
            ApiError::Operation(refused) => operation_contract(refused),
            ApiError::Unreadable(_)
            | ApiError::BadQuery(_)
            | ApiError::UnreadableQuery(_)
            | ApiError::Ambiguous(_)
            | ApiError::BadBefore => (StatusCode::BAD_REQUEST, None),
            ApiError::NoSuchPath(_) | ApiError::Undecoded(PictureError::OutOfReach(_)) => {
                (StatusCode::NOT_FOUND, None)
            }
            ApiError::TooSlow => (StatusCode::REQUEST_TIMEOUT, None),
            ApiError::WrongMethod { .. } => (StatusCode::METHOD_NOT_ALLOWED, None),
            ApiError::PasswordNeeded { .. } => (StatusCode::UNAUTHORIZED, None),
            ApiError::OtherHost => (StatusCode::MISDIRECTED_REQUEST, None),
            ApiError::NoPasswordSet | ApiError::OtherOrigin | ApiError::ForeignForm => {
                (StatusCode::FORBIDDEN, None)
            }
            ApiError::Undecoded(PictureError::NoVideo | PictureError::NotUnderstood(_))
            | ApiError::NoSound => (StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
            ApiError::Silent(_) => (StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(5))),
            ApiError::BadParameter(_) | ApiError::NoMarks { .. } => (StatusCode::BAD_REQUEST, None),
            ApiError::Undecoded(PictureError::Busy | PictureError::Failed(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(2)))
            }
            ApiError::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(1))),
            ApiError::Shot(ShotError::Failed { .. } | ShotError::TooLong) => {
                (StatusCode::INTERNAL_SERVER_ERROR, None)
            }
            ApiError::NoPicture { .. }
            | ApiError::Shot(ShotError::Full(_) | ShotError::TooLate)
            | ApiError::NoBytes { .. }
            | ApiError::Full(_)
            | ApiError::TooManyVariants(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(2)))
            }
        }
    }

    /// The message behind the cause of missing media.
    fn details(&self) -> Option<String> {
        if let ApiError::NoPicture { cause: Some(cause) }
        | ApiError::NoBytes { cause: Some(cause) } = self
        {
            return cause.details();
        }
        None
    }

    /// The values that would be accepted instead of a rejected one.
    pub(super) fn valid(&self) -> Option<&'static str> {
        if let ApiError::BadParameter(BadParameter { valid, .. })
        | ApiError::Operation(OperationError::Control(ControlError::Edit(
            EditError::Value { valid, .. },
        ))) = self
        {
            return Some(valid);
        }
        None
    }
}

/// The status of a rejected operation, and the delay after which a retry makes sense.
fn operation_contract(refused: &OperationError) -> (StatusCode, Option<Duration>) {
    match refused {
        OperationError::NoSuchPush(_)
        | OperationError::NoSuchStream(_)
        | OperationError::NothingEncoded
        | OperationError::Recording(StartStopError::NoSuch)
        | OperationError::Deletion(DeleteError::NoSuch) => (StatusCode::NOT_FOUND, None),
        OperationError::NoRecordings => (StatusCode::SERVICE_UNAVAILABLE, None),
        OperationError::Control(ControlError::Streaming)
        | OperationError::Deletion(DeleteError::Recording | DeleteError::Finishing) => {
            (StatusCode::CONFLICT, None)
        }
        OperationError::Control(ControlError::Push(PushError::Replaced)) => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(1)))
        }
        OperationError::Control(_)
        | OperationError::Recording(StartStopError::Started | StartStopError::Stopped)
        | OperationError::Reload(_) => (StatusCode::BAD_REQUEST, None),
        OperationError::Deletion(DeleteError::Disk) => (StatusCode::INTERNAL_SERVER_ERROR, None),
        OperationError::Deletion(DeleteError::Silent) => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(5)))
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    code: u16,
    reason: String,
    /// The message of GStreamer, a driver or the system behind the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    /// The values that would be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    valid: Option<&'static str>,
    /// The problems of the configuration.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [String],
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.contract().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, retry_after) = self.contract();
        let mut response = HttpResponse::build(status);
        if let Some(delay) = retry_after {
            response.insert_header(("Retry-After", delay.as_secs()));
        }
        if let ApiError::TooSlow = self {
            response.force_close();
        }
        if let ApiError::WrongMethod { allow } = self {
            response.insert_header(("Allow", *allow));
        }
        if let ApiError::PasswordNeeded { realm } = self {
            let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
            response.insert_header(("WWW-Authenticate", challenge));
        }
        if let ApiError::Shot(ShotError::Failed { stderr, .. }) = self
            && !stderr.trim().is_empty()
        {
            return output_page(&mut response, stderr);
        }
        let problems =
            if let ApiError::Operation(refused) = self { refused.problems() } else { &[] };
        let (code, reason) = (status.as_u16(), self.to_string());
        let body = Body { code, reason, details: self.details(), valid: self.valid(), problems };
        json(&mut response, &body)
    }
}

/// The error of a query whose values have the wrong types.
pub(super) fn unreadable_query(error: QueryPayloadError, _: &HttpRequest) -> actix_web::Error {
    let why = match &error {
        QueryPayloadError::Deserialize(why) => why.to_string(),
        other => other.to_string(),
    };
    ApiError::UnreadableQuery(why).into()
}

/// The standard error of a command, as a page without scripts.
fn output_page(response: &mut HttpResponseBuilder, stderr: &str) -> HttpResponse {
    let escaped = stderr.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    response
        .content_type("text/html; charset=utf-8")
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("Content-Security-Policy", "default-src 'none'"))
        .body(format!("<pre>{escaped}</pre>\n"))
}

/// A JSON response that ends with a newline and must not be cached.
pub(super) fn json(response: &mut HttpResponseBuilder, body: &impl Serialize) -> HttpResponse {
    let mut text = serde_json::to_string(body).expect("our own structs have string keys only");
    text.push('\n');
    response
        .content_type("application/json")
        .insert_header(("Cache-Control", "no-store"))
        .body(text)
}

fn because(cause: Option<&Failure>) -> String {
    cause.map_or_else(String::new, |cause| format!(". {}", cause.say()))
}
