//! All URLs of the HTTP server.
//!
//! Paths that depend on the configuration are in a table, which a reload
//! replaces; all others are fixed.

use std::sync::Arc;

use actix_web::guard::{Any, Get, Guard, Head, Not, fn_guard};
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, Resource, Route, web};

use super::error::ApiError;
use super::guards::{is_for, is_in_table};
use super::table::{Endpoint, Subject, Table};
use super::{access, cors, media, pages, stat};
use crate::http::api::{livebox, pushes, recordings};
use crate::http::media::{bytes, hls, live, mjpeg, picture, recording};
use crate::http::pages::dashboard::forms;
use crate::http::pages::docroot::{self, Docroot};
use crate::http::pages::{assets, dashboard, recordings as recording_pages};
use crate::http::state::State;
use crate::service::topology::Topology;

/// The methods of a URL that changes nothing.
const READ: &str = "GET, HEAD";

/// The paths of a track stream, relative to its URL.
const STREAM_PATHS: [(&str, Endpoint); 17] = [
    ("", Endpoint::Player),
    ("/", Endpoint::Player),
    (".mp4", Endpoint::Mp4),
    (".h264", Endpoint::H264),
    (".ts", Endpoint::Ts),
    (".aac", Endpoint::Aac),
    (".mjpeg", Endpoint::Mjpeg),
    (".mjpg", Endpoint::Mjpeg),
    (".m3u8", Endpoint::Playlist),
    ("/pic", Endpoint::Picture),
    ("/hls/live.m3u8", Endpoint::Segments),
    ("/hls/", Endpoint::Segment),
    ("/live.json", Endpoint::Live),
    // The URLs of mjpg-streamer, for programs that expect them.
    ("?action=stream", Endpoint::Mjpeg),
    ("/?action=stream", Endpoint::Mjpeg),
    ("?action=snapshot", Endpoint::Picture),
    ("/?action=snapshot", Endpoint::Picture),
];

/// The additional paths of the first stream.
const FIRST_STREAM_PATHS: [(&str, Endpoint); 11] = [
    ("/stream.mp4", Endpoint::Mp4),
    ("/stream.h264", Endpoint::H264),
    ("/stream.ts", Endpoint::Ts),
    ("/stream.aac", Endpoint::Aac),
    ("/stream.mjpeg", Endpoint::Mjpeg),
    ("/stream.mjpg", Endpoint::Mjpeg),
    ("/stream.m3u8", Endpoint::Playlist),
    ("/streaminf.m3u8", Endpoint::Segments),
    ("/stream/pic", Endpoint::Picture),
    ("/?action=stream", Endpoint::Mjpeg),
    ("/?action=snapshot", Endpoint::Picture),
];

/// The paths of a byte stream, relative to its URL.
const BYTE_STREAM_PATHS: [(&str, Endpoint); 2] =
    [("", Endpoint::Bytes), ("/pic", Endpoint::PictureOfBytes)];

/// The paths that depend on the configuration.
pub(super) fn table(topology: &Topology) -> Table {
    let mut table = Table::default();
    let pages = &topology.settings.pages;
    for (page, endpoint) in [
        (&pages.stat, Endpoint::Stat),
        (&pages.stat_json, Endpoint::StatJson),
        (&pages.metrics, Endpoint::Metrics),
        (&pages.config, Endpoint::Config),
    ] {
        if let Some(path) = page {
            table.add(path.clone(), endpoint, &Subject::Box);
        }
    }
    if let Some(first) = topology.registry.first() {
        let subject = Subject::Stream(Arc::clone(first));
        FIRST_STREAM_PATHS
            .iter()
            .for_each(|(path, endpoint)| table.add((*path).to_owned(), *endpoint, &subject));
    }
    for stream in topology.registry.streams() {
        let (url, subject) = (stream.url(), Subject::Stream(Arc::clone(stream)));
        STREAM_PATHS
            .iter()
            .for_each(|(end, endpoint)| table.add(format!("{url}{end}"), *endpoint, &subject));
        let name = stream.hub().name();
        table.add(format!("/stream/{name}/pic"), Endpoint::Picture, &subject);
    }
    for stream in topology.bytes.streams() {
        let (url, name) = (&stream.settings().url, &stream.settings().name);
        let subject = Subject::Bytes(Arc::clone(stream));
        BYTE_STREAM_PATHS
            .iter()
            .for_each(|(end, endpoint)| table.add(format!("{url}{end}"), *endpoint, &subject));
        let also = format!("/stream/{name}");
        BYTE_STREAM_PATHS
            .iter()
            .for_each(|(end, endpoint)| table.add(format!("{also}{end}"), *endpoint, &subject));
    }
    table
}

/// The handlers for the paths of the table.
fn table_routes() -> Resource {
    let at = |endpoint| read().guard(is_for(endpoint));
    resource("/{path}*", READ)
        .guard(is_in_table())
        .route(at(Endpoint::Segment).to(hls::file))
        .route(at(Endpoint::Segments).to(hls::media))
        .route(at(Endpoint::Playlist).to(hls::multivariant))
        .route(at(Endpoint::Mp4).to(media::mp4))
        .route(at(Endpoint::H264).to(media::h264))
        .route(at(Endpoint::Ts).to(media::ts))
        .route(at(Endpoint::Aac).to(media::aac))
        .route(at(Endpoint::Mjpeg).to(mjpeg::mjpeg))
        .route(at(Endpoint::Picture).to(picture::pic))
        .route(at(Endpoint::Bytes).to(bytes::bytes))
        .route(at(Endpoint::PictureOfBytes).to(picture::byte_stream_pic))
        .route(at(Endpoint::Player).to(pages::stream))
        .route(at(Endpoint::Live).to(live::status))
        .route(at(Endpoint::Stat).to(stat::page))
        .route(at(Endpoint::StatJson).to(stat::numbers))
        .route(at(Endpoint::Metrics).to(stat::metrics))
        .route(at(Endpoint::Config).to(stat::config))
}

pub(super) fn all(service: &mut web::ServiceConfig, docroot: Option<&Docroot>) {
    let home = resource("/", READ).guard(has_home()).guard(Not(is_in_table()));
    service.service(home.route(read().to(pages::home)));
    for asset in assets::ALL {
        service.service(
            resource(asset.path, READ)
                .route(read().to(move || async move { assets::serve(asset) })),
        );
    }
    control_page(service);
    for base in ["/api/livebox/v1", "/api/v1"] {
        api(service, base);
    }
    recorded(service);
    service.service(table_routes().wrap(from_fn(access::guard)).wrap(from_fn(cors::add_headers)));
    match docroot {
        Some(docroot) => {
            service.app_data(web::Data::new(docroot.clone()));
            service.default_service(web::to(docroot::serve));
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
        .service(resource(&at("reload"), "POST").route(web::post().to(livebox::reload)))
        .service(resource(&at("stop"), "PUT").route(web::put().to(livebox::stop)))
        .service(
            resource(&at("streams/{name}/restart"), "POST").route(web::post().to(livebox::restart)),
        )
        .service(resource(&at("pushes"), READ).route(read().to(pushes::all)))
        .service(resource(&at("pushes/{name}/start"), "PUT").route(web::put().to(pushes::start)))
        .service(resource(&at("pushes/{name}/stop"), "PUT").route(web::put().to(pushes::stop)))
        .service(resource(&at("pushes/{name}/retry"), "PUT").route(web::put().to(pushes::retry)))
        .service(resource(&at("recordings"), READ).route(read().to(recordings::all)))
        .service(
            resource(&at("recordings/{name}"), "DELETE")
                .route(web::delete().to(recordings::delete)),
        )
        .service(
            resource(&at("streams/{name}/record/start"), "PUT")
                .route(web::put().to(recordings::start)),
        )
        .service(
            resource(&at("streams/{name}/record/stop"), "PUT")
                .route(web::put().to(recordings::stop)),
        )
        .service(web::resource([format!("{base}/{{rest}}*"), base.to_owned()]).to(no_such_path));
}

/// The recordings.
fn recorded(service: &mut web::ServiceConfig) {
    for page in ["/recordings", "/recordings/"] {
        service.service(resource(page, READ).route(read().to(recording_pages::page)));
    }
    service.service(resource("/recordings/{name}", READ).route(read().to(recording::file)));
}

/// Forms are posted below the page, which then shows their result.
fn control_page(service: &mut web::ServiceConfig) {
    for page in ["/dashboard", "/dashboard/"] {
        service.service(resource(page, READ).route(read().to(dashboard::page)));
    }
    let form =
        |path: &str, route: Route| resource(&format!("/dashboard/{path}"), "POST").route(route);
    service
        .service(form("start", web::post().to(forms::start)))
        .service(form("stop", web::post().to(forms::stop)))
        .service(form("reload", web::post().to(forms::reload)))
        .service(form("control", web::post().to(forms::edit)))
        .service(form("pushes/{name}/start", web::post().to(forms::start_push)))
        .service(form("pushes/{name}/stop", web::post().to(forms::stop_push)))
        .service(form("pushes/{name}/retry", web::post().to(forms::retry_push)))
        .service(form("streams/{name}/restart", web::post().to(forms::restart)))
        .service(form("recordings/{name}/delete", web::post().to(recording_pages::delete)))
        .service(form("streams/{name}/record/start", web::post().to(recording_pages::start)))
        .service(form("streams/{name}/record/stop", web::post().to(recording_pages::stop)));
    service.service(
        resource("/dashboard/recordings", READ).route(read().to(recording_pages::dashboard_page)),
    );
}

/// A resource that answers other methods with the ones it has.
fn resource(path: &str, allow: &'static str) -> Resource {
    web::resource(path.to_owned()).default_service(web::to(move || async move {
        Err::<HttpResponse, _>(ApiError::WrongMethod { allow })
    }))
}

fn has_home() -> impl Guard {
    fn_guard(|context| {
        context
            .app_data::<web::Data<State>>()
            .is_some_and(|state| state.topology().settings.pages.home)
    })
}

fn read() -> Route {
    web::route().guard(Any(Get()).or(Head()))
}

async fn no_such_path(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::NoSuchPath(request.path().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_text;

    #[test]
    fn no_byte_stream_can_have_a_path_of_the_first_stream() {
        for (path, _) in FIRST_STREAM_PATHS.iter().filter(|(path, _)| !path.contains('?')) {
            let text = format!(
                "feeds: {{camera: {{test: clock}}}}\n\
                 streams: {{camera: {{}}, raw: {{command: cat, url: {path}}}}}\n"
            );
            assert!(parse_text(&text).is_err(), "{path} is accepted");
        }
    }
}
