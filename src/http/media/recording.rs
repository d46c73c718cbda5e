//! Recordings as files.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::http::access;
use crate::http::api::recordings::named;
use crate::http::error::ApiError;
use crate::http::files::{self, FileMeta};
use crate::http::state::State;

/// `GET /recordings/{name}`: whole or in ranges; while it grows, up to its present end.
pub(in crate::http) async fn file(
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let name = named(&name, &request)?;
    access::require_viewer(&request, name.stream()).await?;
    let missing = || ApiError::NoSuchPath(request.path().to_owned());
    let (file, metadata) = state.service.recordings()?.file(&name).await?.ok_or_else(missing)?;
    let found = (file, FileMeta::from_metadata(&metadata));
    Ok(files::answer(&request, found, name.content_type(), "private, no-cache"))
}
