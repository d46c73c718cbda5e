//! Pictures over HTTP: one file per response, rendered on request.

use std::convert::Infallible;
use std::sync::Arc;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use futures_util::stream::empty;

use crate::engine::process::bytes;
use crate::engine::registry::Stream;
use crate::http::error::ApiError;
use crate::http::media::join;
use crate::http::state::State;
use crate::outputs::picture::{BadParameter, PictureError, PictureRequest, ago};

/// `GET /<stream>/pic`: the newest frame as JPEG or PNG, or an older one with
/// `?ago=`, which must still be in memory and starts nothing.
pub(in crate::http) async fn pic(
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    state: web::Data<State>,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    let (requested, ago) = (picture_request(&request, &query)?, ago(&query)?);
    let mut response = head(requested);
    if request.method() == Method::HEAD {
        return Ok(response.streaming(empty::<Result<web::Bytes, Infallible>>()));
    }
    let bytes = if ago.is_zero() {
        let (reader, init) = join(&stream).await?;
        state.service.pictures.newest(reader, init, requested).await?
    } else {
        let past = stream.hub().past(ago).map_err(|out| PictureError::OutOfReach(out.reach))?;
        state.service.pictures.from_past(stream.hub().name().clone(), past, requested).await?
    };
    stream.hub().count_bytes_out(bytes.len());
    Ok(response.body(bytes))
}

/// `GET /<byte stream>/pic`: the newest picture in its container.
pub(in crate::http) async fn byte_stream_pic(
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    state: web::Data<State>,
    stream: web::ReqData<Arc<bytes::Stream>>,
) -> Result<HttpResponse, ApiError> {
    let requested = picture_request(&request, &query)?;
    if !ago(&query)?.is_zero() {
        let valid = "0: a byte stream keeps no older pictures";
        return Err(BadParameter { field: "ago", valid }.into());
    }
    let mut response = head(requested);
    if request.method() == Method::HEAD {
        return Ok(response.streaming(empty::<Result<web::Bytes, Infallible>>()));
    }
    let picture = state.service.pictures.from_bytes(&stream, requested).await?;
    stream.count_bytes_out(picture.len());
    Ok(response.body(picture))
}

fn picture_request(
    request: &HttpRequest,
    query: &[(String, String)],
) -> Result<PictureRequest, BadParameter> {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    PictureRequest::parse(query, accept)
}

fn head(requested: PictureRequest) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type(requested.content_type())
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::VARY, "Accept"));
    response
}
