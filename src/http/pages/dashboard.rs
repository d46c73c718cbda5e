//! The control page: `/dashboard`, a plain form that needs no JavaScript.
//!
//! [`forms`] handles its forms; this file renders the page. Both call the same
//! operations as the livebox API, for the same callers. Every form carries a token
//! against cross-site request forgery: browsers send a stored password with the
//! posts of other sites, and old ones send no origin. Frames are forbidden for the
//! same reason.

pub(in crate::http) mod forms;

use std::fmt;
use std::time::Instant;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError, web};
use askama::Template;
use serde::Deserialize;

use crate::base::system;
use crate::base::time::now;
use crate::base::units::rate_in_words;
use crate::http::access::Caller;
use crate::http::error::ApiError;
use crate::http::pages::flash::Notice;
use crate::http::pages::{self, Links};
use crate::http::state::State;
use crate::model::ids::PushName;
use crate::model::status::{self, Snapshot};
use crate::outputs::push::Push;
use crate::service::control::{ControlView, Field};
use crate::service::push_gate::Activity;

/// No frames: a page around this one could make its visitors click on it.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// The same for a page with media and a script that refreshes it.
pub(in crate::http) const POLICY_WITH_MEDIA: &str = "default-src 'none'; style-src 'self'; media-src 'self'; \
                      script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Refresh intervals while streaming, and while starting or stopping. A page whose
/// values can be edited does not refresh, as that would lose them.
const REFRESH_S: u32 = 5;
const REFRESH_SOON_S: u32 = 1;

/// An error as a page, with the status and headers of the API error.
#[derive(Debug)]
pub(in crate::http) struct Refusal(ApiError);

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
        let page = Refused {
            host: &host,
            version: env!("CARGO_PKG_VERSION"),
            reason: &reason,
            is_without_password: matches!(self.0, ApiError::NoPasswordSet),
        };
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
    /// Whether the reason is that no password is set: then the page explains how to
    /// set one.
    is_without_password: bool,
}

#[derive(Template)]
#[template(path = "dashboard.html")]
struct Dashboard<'a> {
    host: &'a str,
    version: &'a str,
    links: Links<'a>,
    token: &'a str,
    notice: Option<Notice>,
    /// The push whose end must be confirmed.
    ends: Option<&'a Row>,
    activity: Activity,
    refresh_s: Option<u32>,
    own: Option<&'a Row>,
    values: Values,
    rows: &'a [Row],
    streams: Vec<status::Stream>,
    problems: Vec<status::Problem>,
    /// Whether the messages behind causes are shown.
    shows_details: bool,
}

/// The values of the form: the current ones, or those entered.
struct Values {
    url: String,
    name: String,
    resolution: String,
    bitrate: String,
    fps: String,
    quality: String,
    audio: String,
}

impl Values {
    fn new(shown: ControlView, typed: &[Field]) -> Self {
        let text = |number: Option<u8>| number.map(|number| number.to_string());
        let mut values = Self {
            url: shown.url.unwrap_or_default(),
            name: shown.name.unwrap_or_default(),
            resolution: shown.resolution,
            bitrate: shown.bitrate.to_string(),
            fps: shown.fps.to_string(),
            quality: text(shown.quality).unwrap_or_default(),
            audio: shown.audio.to_owned(),
        };
        for Field { key, value } in typed {
            let place = match key.as_str() {
                "url" => &mut values.url,
                "name" => &mut values.name,
                "resolution" => &mut values.resolution,
                "bitrate" => &mut values.bitrate,
                "fps" => &mut values.fps,
                "quality" => &mut values.quality,
                "audio" => &mut values.audio,
                _ => continue,
            };
            *place = value.clone().unwrap_or_default();
        }
        values
    }
}

/// A push on the page.
struct Row {
    push: status::Push,
    wanted: bool,
    /// Whether it waits for its next attempt.
    waits: bool,
    /// Whether the form of the page controls it.
    is_own: bool,
    bitrate: String,
    advice: Vec<String>,
}

#[derive(Deserialize)]
pub(in crate::http) struct Asked {
    notice: Option<u64>,
    /// The push to end, if any.
    end: Option<String>,
    /// Whether to show the messages behind causes.
    details: Option<String>,
}

/// What the page shows besides the state.
enum View {
    Plain,
    /// A confirmation to end this push.
    ConfirmEnd(String),
    /// The messages behind causes.
    Details,
}

/// `GET /dashboard`
pub(in crate::http) async fn page(
    caller: Caller,
    asked: web::Query<Asked>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    caller.require_operator().await?;
    let asked = asked.into_inner();
    let notice = asked.notice.and_then(|number| state.flash_messages.notice(number));
    let view = match (asked.end, asked.details) {
        (Some(push), _) => View::ConfirmEnd(push),
        (None, Some(_)) => View::Details,
        (None, None) => View::Plain,
    };
    rendered(&state, notice, view, &[]).await
}

/// Renders the page, with `typed` in place of the current values.
async fn rendered(
    state: &State,
    notice: Option<Notice>,
    view: View,
    typed: &[Field],
) -> Result<HttpResponse, Refusal> {
    let shown = state.service.control().map_err(ApiError::from)?;
    let (now, host, topology) = (now(), system::hostname(), state.topology());
    let Snapshot { streams, problems, .. } = state.service.snapshot(now);
    let own = topology.first_push.as_ref().map(|first| first.name());
    let rows: Vec<_> = topology.pushes.iter().map(|push| row(push, own, now)).collect();
    let activity = state.service.activity(now);
    let ends = match &view {
        View::ConfirmEnd(name) => {
            rows.iter().find(|row| row.wanted && row.push.name.as_str() == name)
        }
        View::Details | View::Plain => None,
    };
    let shows_details = matches!(view, View::Details);
    let page = Dashboard {
        host: &host,
        version: env!("CARGO_PKG_VERSION"),
        links: Links::new(state, &topology),
        token: state.flash_messages.token(),
        notice,
        ends,
        activity,
        // Neither must disappear while it is read.
        refresh_s: refresh_interval_s(activity).filter(|_| ends.is_none() && !shows_details),
        own: rows.iter().find(|row| row.is_own),
        values: Values::new(shown, typed),
        rows: &rows,
        streams,
        problems,
        shows_details,
    };
    Ok(pages::not_stored(pages::html(StatusCode::OK, &page, POLICY)))
}

fn refresh_interval_s(activity: Activity) -> Option<u32> {
    match activity {
        Activity::Idle => None,
        Activity::Streaming => Some(REFRESH_S),
        Activity::Preparing | Activity::Stopping => Some(REFRESH_SOON_S),
    }
}

fn row(push: &Push, own: Option<&PushName>, now: Instant) -> Row {
    let status = push.status(now);
    Row {
        wanted: push.is_wanted(),
        waits: matches!(status.state, status::State::Waiting { .. }),
        is_own: Some(&status.name) == own,
        bitrate: rate_in_words(status.bitrate),
        advice: push.preflight().advice,
        push: status,
    }
}
