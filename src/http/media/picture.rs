//! Pictures over HTTP: one file an answer, made when it is asked for.

use std::convert::Infallible;
use std::sync::Arc;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use futures_util::stream::empty;

use crate::engine::process::bytes;
use crate::engine::registry::Stream;
use crate::http::error::ApiError;
use crate::http::media::joined;
use crate::http::state::State;
use crate::outputs::picture::{BadParameter, PictureError, PictureRequest, ago};

/// `GET /<stream>/pic`: the newest frame as JPEG or PNG, or an older one with
/// `?ago=`. That starts nothing: what is not in memory is not there.
pub(in crate::http) async fn pic(
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    state: web::Data<State>,
    stream: web::ReqData<Arc<Stream>>,
) -> Result<HttpResponse, ApiError> {
    let (wish, ago) = (wish(&request, &query)?, ago(&query)?);
    let mut response = head(wish);
    if request.method() == Method::HEAD {
        return Ok(response.streaming(empty::<Result<web::Bytes, Infallible>>()));
    }
    let bytes = if ago.is_zero() {
        let (reader, init) = joined(&stream).await?;
        state.service.pictures.newest(reader, init, wish).await?
    } else {
        let past = stream.hub().past(ago).map_err(|out| PictureError::OutOfReach(out.reach))?;
        state.service.pictures.from_past(stream.hub().name().clone(), past, wish).await?
    };
    stream.hub().count_bytes_out(bytes.len());
    Ok(response.body(bytes))
}

/// `GET /<byte stream>/pic`: the newest picture in its container.
pub(in crate::http) async fn of_bytes(
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    state: web::Data<State>,
    stream: web::ReqData<Arc<bytes::Stream>>,
) -> Result<HttpResponse, ApiError> {
    let wish = wish(&request, &query)?;
    if !ago(&query)?.is_zero() {
        let valid = "0: of bytes that are passed on there is no past";
        return Err(BadParameter { field: "ago", valid }.into());
    }
    let mut response = head(wish);
    if request.method() == Method::HEAD {
        return Ok(response.streaming(empty::<Result<web::Bytes, Infallible>>()));
    }
    let picture = state.service.pictures.from_bytes(&stream, wish).await?;
    stream.count_bytes_out(picture.len());
    Ok(response.body(picture))
}

fn wish(request: &HttpRequest, query: &[(String, String)]) -> Result<PictureRequest, BadParameter> {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    PictureRequest::parse(query, accept)
}

fn head(wish: PictureRequest) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type(wish.content_type())
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::VARY, "Accept"));
    response
}
