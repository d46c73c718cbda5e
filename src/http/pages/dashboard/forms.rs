//! The forms of the control page: each calls one operation and redirects to the
//! page, which shows the outcome.
//!
//! If entered values are refused, the answer is the page with these values, so
//! that they need not be entered again.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};

use super::{Refusal, View, rendered};
use crate::base::time::now;
use crate::http::access::Caller;
use crate::http::api::livebox::fields;
use crate::http::error::ApiError;
use crate::http::pages::flash::Notice;
use crate::http::state::State;
use crate::service::control::Field;
use crate::service::operations::OperationError;

/// The page of these forms.
const PAGE: &str = "/dashboard";

/// The message after an edit.
const SAVED: &str = "Saved. These values count from the next time you go live";

/// `POST /dashboard/start`
pub(in crate::http) async fn start(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    let typed = form(&caller, &request, payload, &state).await?;
    match state.service.go_live(&typed, now()).await {
        Ok(()) => changed_at(PAGE, &state, Ok(())),
        Err(error) => refused(&state, error.into(), &typed).await,
    }
}

/// `POST /dashboard/stop`
pub(in crate::http) async fn stop(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    changed_at(PAGE, &state, state.service.stop(now()).await)
}

/// `POST /dashboard/control`
pub(in crate::http) async fn edit(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    let typed = form(&caller, &request, payload, &state).await?;
    match state.service.edit_by_form(&typed, now()).await {
        Ok(()) => {
            let notice = state.service.unsaved().map_or(Notice::good(SAVED), Notice::bad);
            Ok(with_notice(PAGE, &state, notice))
        }
        Err(error) => refused(&state, error.into(), &typed).await,
    }
}

/// `POST /dashboard/pushes/{name}/start`
pub(in crate::http) async fn start_push(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    changed_at(PAGE, &state, state.service.start_push(&name, now()).await)
}

/// `POST /dashboard/pushes/{name}/stop`
pub(in crate::http) async fn stop_push(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    changed_at(PAGE, &state, state.service.stop_push(&name, now()).await)
}

/// `POST /dashboard/pushes/{name}/retry`
pub(in crate::http) async fn retry_push(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    back_to(PAGE, &state, state.service.retry_push(&name, now()).await)
}

/// `POST /dashboard/streams/{name}/restart`
pub(in crate::http) async fn restart(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    back_to(PAGE, &state, state.service.restart_stream(&name).await)
}

/// `POST /dashboard/reload`
pub(in crate::http) async fn reload(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Refusal> {
    form(&caller, &request, payload, &state).await?;
    let notice = match state.service.reload().await {
        Ok(changes) => Notice::good(&format!("Configuration reloaded: {}", changes.summary())),
        Err(refused) => {
            let problems = refused.problems().iter().map(|problem| format!("; {problem}"));
            let problems: String = problems.collect();
            Notice::bad(format!("{refused}{problems}"))
        }
    };
    Ok(with_notice(PAGE, &state, notice))
}

/// The fields of a form.
///
/// # Errors
/// The caller is no operator, or the token is wrong.
pub(in crate::http) async fn form(
    caller: &Caller,
    request: &HttpRequest,
    payload: web::Payload,
    state: &State,
) -> Result<Vec<Field>, Refusal> {
    caller.require_operator_by_token().await?;
    let mut fields = fields(request, payload).await?;
    let is_token = |field: &Field| field.key == "token";
    let ours = |field: &Field| field.value.as_deref() == Some(state.flash_messages.token());
    if !fields.iter().find(|field| is_token(field)).is_some_and(ours) {
        return Err(ApiError::ForeignForm.into());
    }
    fields.retain(|field| !is_token(field));
    Ok(fields)
}

/// Redirects to the page at `path` after a change, with a warning if the state
/// file cannot keep it.
///
/// # Errors
/// As [`back_to`].
pub(in crate::http) fn changed_at<T>(
    path: &'static str,
    state: &State,
    done: Result<T, OperationError>,
) -> Result<HttpResponse, Refusal> {
    match (&done, state.service.unsaved()) {
        (Ok(_), Some(warning)) => Ok(with_notice(path, state, Notice::bad(warning))),
        (Ok(_) | Err(_), _) => back_to(path, state, done),
    }
}

/// Redirects to the page at `path`, with the error as a message.
///
/// # Errors
/// There is no push or stream of the name in the URL: no form names one.
pub(in crate::http) fn back_to<T>(
    path: &'static str,
    state: &State,
    done: Result<T, OperationError>,
) -> Result<HttpResponse, Refusal> {
    match done.map_err(ApiError::from) {
        Ok(_) => Ok(see(path.to_owned())),
        Err(
            error @ ApiError::Operation(
                OperationError::NoSuchPush(_) | OperationError::NoSuchStream(_),
            ),
        ) => Err(error.into()),
        Err(error) => Ok(with_notice(path, state, Notice::bad(in_words(&error)))),
    }
}

/// Redirects to the page at `path`, which shows `notice`.
fn with_notice(path: &str, state: &State, notice: Notice) -> HttpResponse {
    see(format!("{path}?notice={}", state.flash_messages.add(notice)))
}

/// The page with the entered values and the error.
async fn refused(state: &State, error: ApiError, typed: &[Field]) -> Result<HttpResponse, Refusal> {
    let notice = Some(Notice::bad(in_words(&error)));
    let mut page = rendered(state, notice, View::Plain, typed).await?;
    *page.status_mut() = error.status_code();
    Ok(page)
}

fn in_words(error: &ApiError) -> String {
    let valid = error.valid().map_or_else(String::new, |valid| format!("; use {valid}"));
    format!("{error}{valid}")
}

fn see(location: String) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, location)).finish()
}
