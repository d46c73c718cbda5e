//! The control page: `/dashboard`, a plain form that needs no JavaScript.
//!
//! It does what the livebox API does, for the same callers. Every form carries
//! a token of this page, because a browser sends a password along with what
//! another site made it post, and old ones do not say which site that was. For
//! the same reason the page may stand in no frame.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use askama::Template;
use serde::Deserialize;

use super::access::Caller;
use super::error::ApiError;
use super::livebox::{fields, livebox, named_stream};
use super::pages;
use super::pushes::named;
use super::server::{State, now};
use crate::base::system;
use crate::base::units::Bitrate;
use crate::model::status;
use crate::outputs::control::{Field, Shown};
use crate::outputs::lineup::Lineup;
use crate::outputs::livebox::{Activity, Livebox};

/// No frames: a page around this one could have its visitors click on it.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// The same for a page that plays something.
pub(super) const POLICY_WITH_MEDIA: &str = "default-src 'none'; style-src 'self'; media-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Answers that wait to be shown; of more than these nobody looks at the oldest.
const NOTICES: usize = 16;

/// While something is going on, the page looks again by itself; while values
/// can be edited it does not, as it would lose them.
const LOOK_AGAIN_S: u32 = 5;
const LOOK_SOON_S: u32 = 1;

/// What the page remembers between a form and the page after it.
pub(super) struct Desk {
    token: String,
    notices: Mutex<Notices>,
}

#[derive(Default)]
struct Notices {
    next: u64,
    waiting: VecDeque<(u64, String)>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

impl Desk {
    pub(super) fn new() -> Self {
        let token = system::random_token().expect("every Linux has a source of randomness");
        Self { token, notices: Mutex::default() }
    }

    /// What every form carries. Only operators see it.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    fn leave(&self, text: String) -> u64 {
        let mut notices = self.lock();
        let number = notices.next;
        notices.next += 1;
        notices.waiting.push_back((number, text));
        if notices.waiting.len() > NOTICES {
            notices.waiting.pop_front();
        }
        number
    }

    pub(super) fn notice(&self, number: u64) -> Option<String> {
        let notices = self.lock();
        let found = notices.waiting.iter().find(|(known, _)| *known == number);
        found.map(|(_, text)| text.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Notices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refusal as a page, with the status and the headers of the API's.
#[derive(Debug)]
pub(super) struct Refusal(ApiError);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let host = system::hostname();
        let reason = self.0.to_string();
        let page = Refused { host: &host, version: env!("CARGO_PKG_VERSION"), reason: &reason };
        let mut response = pages::html(self.status_code(), &page, POLICY);
        let plain = self.0.error_response();
        for name in [header::WWW_AUTHENTICATE, header::RETRY_AFTER] {
            if let Some(value) = plain.headers().get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

#[derive(Template)]
#[template(path = "refused.html")]
struct Refused<'a> {
    host: &'a str,
    version: &'a str,
    reason: &'a str,
}

#[derive(Template)]
#[template(path = "dashboard.html")]
struct Dashboard<'a> {
    host: &'a str,
    version: &'a str,
    token: &'a str,
    notice: Option<String>,
    activity: Activity,
    look_again_s: Option<u32>,
    own: Option<&'a Row>,
    control: Shown,
    rows: &'a [Row],
    streams: Vec<status::Stream>,
    problems: Vec<status::Problem>,
}

/// A push on the page.
struct Row {
    push: status::Push,
    wanted: bool,
    bitrate: String,
    advice: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    told: Option<u64>,
}

/// `GET /dashboard`
pub(super) async fn page(
    caller: Caller,
    asked: Option<web::Query<Asked>>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    caller.require_operator().await?;
    let notice = asked.and_then(|asked| state.desk.notice(asked.told?));
    let lineup = state.lineup();
    Ok(rendered(&state, &lineup, livebox(&lineup)?, notice).await)
}

/// `POST /dashboard/start`
pub(super) async fn start(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    Ok(back(&state, livebox(&state.lineup())?.start(now()).await.map_err(ApiError::from)))
}

/// `POST /dashboard/stop`
pub(super) async fn stop(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    Ok(back(&state, livebox(&state.lineup())?.stop(now()).await.map_err(ApiError::from)))
}

/// `POST /dashboard/control`
pub(super) async fn edit(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    let mut fields = form(&caller, &request, payload, &state).await?;
    let lineup = state.lineup();
    let livebox = livebox(&lineup)?;
    let present = livebox.control().await.control.bitrate;
    // The form sends every value. A bit rate that was not touched must not
    // keep a new resolution from bringing its own.
    fields.retain(|field| field.key != "bitrate" || rate_of(field) != Some(present));
    let edited = livebox.edit(&fields, now()).await;
    Ok(back(&state, edited.map(|_| ()).map_err(ApiError::from)))
}

/// `POST /dashboard/pushes/{name}/start`
pub(super) async fn start_push(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    let lineup = state.lineup();
    let push = named(&lineup, &name, &request)?;
    Ok(back(&state, livebox(&lineup)?.start_push(push, now()).await.map_err(ApiError::from)))
}

/// `POST /dashboard/pushes/{name}/stop`
pub(super) async fn stop_push(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    let lineup = state.lineup();
    let push = named(&lineup, &name, &request)?;
    Ok(back(&state, livebox(&lineup)?.stop_push(push, now()).await.map_err(ApiError::from)))
}

/// `POST /dashboard/streams/{name}/restart`
pub(super) async fn restart(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    named_stream(&state.lineup(), &name, &request)?.restart().await;
    Ok(back_to("/dashboard", &state, Ok(())))
}

/// `POST /dashboard/reload`
pub(super) async fn reload(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    let told = match state.reloads.ask().await {
        Ok(changes) => format!("The configuration was read again: {}", changes.in_words()),
        Err(refused) => {
            let problems = refused.problems.iter().map(|problem| format!("; {problem}"));
            let problems: String = problems.collect();
            format!("{}{problems}", ApiError::from(refused))
        }
    };
    Ok(told_on_the_page(&state, told))
}

/// The fields of a form of this page.
///
/// # Errors
/// The caller may not, or the form is another page's.
pub(super) async fn form(
    caller: &Caller,
    request: &HttpRequest,
    payload: web::Payload,
    state: &State,
) -> Result<Vec<Field>, Refusal> {
    caller.require_operator_by_token().await?;
    let mut fields = fields(request, payload).await?;
    let is_token = |field: &Field| field.key == "token";
    let ours = |field: &Field| field.value.as_deref() == Some(state.desk.token.as_str());
    if !fields.iter().find(|field| is_token(field)).is_some_and(ours) {
        return Err(ApiError::ForeignForm.into());
    }
    fields.retain(|field| !is_token(field));
    Ok(fields)
}

fn back(state: &State, done: Result<(), ApiError>) -> HttpResponse {
    changed_at("/dashboard", state, done)
}

/// Back to the page at `place` after a change, which says so where that will be
/// forgotten.
pub(super) fn changed_at(
    place: &'static str,
    state: &State,
    done: Result<(), ApiError>,
) -> HttpResponse {
    match (&done, state.forgets()) {
        (Ok(()), Some(warning)) => see(format!("{place}?told={}", state.desk.leave(warning))),
        (Ok(()) | Err(_), _) => back_to(place, state, done),
    }
}

/// Back to the page at `place`, with what went wrong.
pub(super) fn back_to(
    place: &'static str,
    state: &State,
    done: Result<(), ApiError>,
) -> HttpResponse {
    match done {
        Ok(()) => see(place.to_owned()),
        Err(error) => {
            let valid = error.valid().map_or_else(String::new, |valid| format!("; use {valid}"));
            see(format!("{place}?told={}", state.desk.leave(format!("{error}{valid}"))))
        }
    }
}

fn told_on_the_page(state: &State, text: String) -> HttpResponse {
    see(format!("/dashboard?told={}", state.desk.leave(text)))
}

fn see(place: String) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, place)).finish()
}

fn rate_of(field: &Field) -> Option<Bitrate> {
    field.value.as_deref()?.parse().ok()
}

async fn rendered(
    state: &State,
    lineup: &Lineup,
    livebox: &Livebox,
    notice: Option<String>,
) -> HttpResponse {
    let held = livebox.control().await;
    let (now, host) = (now(), system::hostname());
    let rows: Vec<_> = lineup
        .pushes
        .iter()
        .map(|push| {
            let status = push.status(now);
            let bitrate = format!("{} kbit/s", status.bitrate / 1000);
            let advice = push.preflight().advice;
            Row { push: status, wanted: push.is_wanted(), bitrate, advice }
        })
        .collect();
    let activity = livebox.activity(now);
    let page = Dashboard {
        host: &host,
        version: env!("CARGO_PKG_VERSION"),
        token: &state.desk.token,
        notice,
        activity,
        look_again_s: match activity {
            Activity::Idle => None,
            Activity::Streaming => Some(LOOK_AGAIN_S),
            Activity::Preparing | Activity::Stopping => Some(LOOK_SOON_S),
        },
        own: rows.iter().find(|row| row.push.name == *livebox.push_name()),
        control: held.shown(),
        rows: &rows,
        streams: state.snapshot(now).streams,
        problems: state.problems(),
    };
    let mut response = pages::html(StatusCode::OK, &page, POLICY);
    let never = header::HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_by_its_number_until_many_newer_ones_came() {
        let desk = Desk::new();
        let first = desk.leave("no".to_owned());
        assert_eq!(desk.notice(first).as_deref(), Some("no"));
        for _ in 0..NOTICES {
            desk.leave("more".to_owned());
        }
        assert_eq!(desk.notice(first), None);
    }

    #[test]
    fn each_start_has_a_token_of_its_own() {
        let (one, other) = (Desk::new(), Desk::new());
        assert_eq!(one.token.len(), 32);
        assert_ne!(one.token, other.token);
    }
}
