//! Every URL of livebox, on one page.

use std::path::Path;
use std::sync::Arc;

use actix_web::guard::{Any, Get, Head};
use actix_web::{HttpRequest, HttpResponse, Resource, Route, web};

use super::access::guarded;
use super::bell::Bell;
use super::error::ApiError;
use super::server::State;
use super::{assets, bytes, dashboard, hls, livebox, media, pages, picture, pushes, stat};
use crate::accounts::Place;
use crate::config::settings::Pages;
use crate::engine::roster::Stream;

/// What may be asked at a URL that only shows something.
const READ: &str = "GET, HEAD";

pub(super) fn all(service: &mut web::ServiceConfig, state: &State, docroot: Option<&Path>) {
    let (roster, pages) = (&state.roster, &state.pages);
    service.service(resource("/", READ).route(read().to(pages::home)));
    for asset in assets::ALL {
        service.service(
            resource(asset.path, READ)
                .route(read().to(move || async move { assets::serve(asset) })),
        );
    }
    control_page(service);
    state_pages(service, pages);
    for base in ["/api/livebox/v1", "/api/v1"] {
        api(service, base);
    }
    // The first stream is also the one that is meant where none is named.
    if let Some(first) = roster.first() {
        medium(service, "/stream", first);
        let first = web::Data::new(Arc::clone(first));
        let media = resource("/streaminf.m3u8", READ).route(read().to(hls::media));
        of_stream(service, &first, media.app_data(web::Data::clone(&first)));
    }
    for stream in roster.streams() {
        let url = stream.plan().stream.url;
        medium(service, &url, stream);
        segments(service, &url, stream);
        for page in [url.clone(), format!("{url}/")] {
            let page = resource(&page, READ).route(read().to(pages::stream));
            of_stream(service, stream, page.app_data(web::Data::new(Arc::clone(stream))));
        }
    }
    for stream in state.bytes.streams() {
        let (url, name) = (&stream.settings().url, &stream.settings().name);
        for path in [url.clone(), format!("/stream/{name}")] {
            let resource = resource(&path, READ).route(read().to(bytes::bytes));
            let resource = resource.app_data(web::Data::new(Arc::clone(stream)));
            service.service(guarded(resource, Place::Stream(name.clone())));
        }
    }
    match docroot {
        Some(folder) => {
            let files = actix_files::Files::new("/", folder)
                .index_file("index.html")
                .default_handler(web::to(pages::not_found));
            service.service(files);
        }
        None => {
            service.default_service(web::to(pages::not_found));
        }
    }
}

fn api(service: &mut web::ServiceConfig, base: &str) {
    let at = |path: &str| format!("{base}/{path}");
    service
        .service(resource(&at("status"), READ).route(read().to(livebox::status)))
        .service(
            resource(&at("control"), "GET, HEAD, POST")
                .route(read().to(livebox::control))
                .route(web::post().to(livebox::edit)),
        )
        .service(resource(&at("start"), "PUT").route(web::put().to(livebox::start)))
        .service(resource(&at("stop"), "PUT").route(web::put().to(livebox::stop)))
        .service(
            resource(&at("streams/{name}/restart"), "POST").route(web::post().to(livebox::restart)),
        )
        .service(resource(&at("pushes"), READ).route(read().to(pushes::all)))
        .service(resource(&at("pushes/{name}/start"), "PUT").route(web::put().to(pushes::start)))
        .service(resource(&at("pushes/{name}/stop"), "PUT").route(web::put().to(pushes::stop)))
        .service(web::resource([format!("{base}/{{rest}}*"), base.to_owned()]).to(no_such_path));
}

/// What the box tells about itself, where it shall.
fn state_pages(service: &mut web::ServiceConfig, pages: &Pages) {
    let mut add = |page: &Option<String>, route: Route| {
        if let Some(path) = page {
            service.service(guarded(resource(path, READ).route(route), Place::Pages));
        }
    };
    add(&pages.stat, read().to(stat::page));
    add(&pages.stat_json, read().to(stat::numbers));
    add(&pages.metrics, read().to(stat::metrics));
    add(&pages.config, read().to(stat::config));
}

/// Forms are posted below the page, which shows what came of it.
fn control_page(service: &mut web::ServiceConfig) {
    for page in ["/dashboard", "/dashboard/"] {
        service.service(resource(page, READ).route(read().to(dashboard::page)));
    }
    let form =
        |path: &str, route: Route| resource(&format!("/dashboard/{path}"), "POST").route(route);
    service
        .service(form("start", web::post().to(dashboard::start)))
        .service(form("stop", web::post().to(dashboard::stop)))
        .service(form("control", web::post().to(dashboard::edit)))
        .service(form("pushes/{name}/start", web::post().to(dashboard::start_push)))
        .service(form("pushes/{name}/stop", web::post().to(dashboard::stop_push)))
        .service(form("streams/{name}/restart", web::post().to(dashboard::restart)));
}

/// The containers of one stream.
fn medium(service: &mut web::ServiceConfig, url: &str, stream: &Arc<Stream>) {
    let data = || web::Data::new(Arc::clone(stream));
    let bell = Bell::new(stream.hub());
    for (ending, route) in [
        ("mp4", read().to(media::mp4)),
        ("h264", read().to(media::h264)),
        ("ts", read().to(media::ts)),
        ("aac", read().to(media::aac)),
    ] {
        let endless = resource(&format!("{url}.{ending}"), READ).route(route);
        of_stream(service, stream, endless.app_data(data()).app_data(bell.clone()));
    }
    for (path, route) in [
        (format!("{url}.m3u8"), read().to(hls::multivariant)),
        (format!("{url}/pic"), read().to(picture::pic)),
    ] {
        of_stream(service, stream, resource(&path, READ).route(route).app_data(data()));
    }
}

/// The media playlist of one stream and what it names.
fn segments(service: &mut web::ServiceConfig, url: &str, stream: &Arc<Stream>) {
    let data = || web::Data::new(Arc::clone(stream));
    for (path, route) in [
        (format!("{url}/hls/live.m3u8"), read().to(hls::media)),
        (format!("{url}/hls/{{name}}"), read().to(hls::piece)),
    ] {
        of_stream(service, stream, resource(&path, READ).route(route).app_data(data()));
    }
}

/// Adds what shows something of `stream`, for those who may see it.
fn of_stream(service: &mut web::ServiceConfig, stream: &Stream, resource: Resource) {
    service.service(guarded(resource, Place::Stream(stream.hub().name().clone())));
}

/// A resource that answers other methods with the ones it has.
fn resource(path: &str, allow: &'static str) -> Resource {
    web::resource(path.to_owned()).default_service(web::to(move || async move {
        Err::<HttpResponse, _>(ApiError::WrongMethod { allow })
    }))
}

fn read() -> Route {
    web::route().guard(Any(Get()).or(Head()))
}

async fn no_such_path(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::NoSuchPath(request.path().to_owned()))
}
