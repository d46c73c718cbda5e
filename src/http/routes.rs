//! Every URL of livebox, on one page.
//!
//! The paths that the configuration gives stand in a table, which a reload
//! replaces; all others are fixed.

use std::sync::Arc;

use actix_web::guard::{Any, Get, Guard, Head, Not, fn_guard};
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, Resource, Route, web};

use super::error::ApiError;
use super::table::{Table, What, Whom, asks_for, is_placed};
use super::{access, cors, media, pages, stat};
use crate::http::api::{livebox, pushes, recordings};
use crate::http::media::{bytes, hls, live, mjpeg, picture};
use crate::http::pages::docroot::{self, Docroot};
use crate::http::pages::{assets, dashboard};
use crate::http::state::State;
use crate::service::topology::Topology;

/// What may be asked at a URL that only shows something.
const READ: &str = "GET, HEAD";

/// Where a stream of tracks is found, behind its URL.
const OF_STREAM: [(&str, What); 17] = [
    ("", What::Player),
    ("/", What::Player),
    (".mp4", What::Mp4),
    (".h264", What::H264),
    (".ts", What::Ts),
    (".aac", What::Aac),
    (".mjpeg", What::Mjpeg),
    (".mjpg", What::Mjpeg),
    (".m3u8", What::Playlist),
    ("/pic", What::Picture),
    ("/hls/live.m3u8", What::Segments),
    ("/hls/", What::Segment),
    ("/live.json", What::Live),
    // As mjpg-streamer has them, for programs that were made for it.
    ("?action=stream", What::Mjpeg),
    ("/?action=stream", What::Mjpeg),
    ("?action=snapshot", What::Picture),
    ("/?action=snapshot", What::Picture),
];

/// The first stream is also the one that is meant where none is named.
const OF_FIRST: [(&str, What); 11] = [
    ("/stream.mp4", What::Mp4),
    ("/stream.h264", What::H264),
    ("/stream.ts", What::Ts),
    ("/stream.aac", What::Aac),
    ("/stream.mjpeg", What::Mjpeg),
    ("/stream.mjpg", What::Mjpeg),
    ("/stream.m3u8", What::Playlist),
    ("/streaminf.m3u8", What::Segments),
    ("/stream/pic", What::Picture),
    ("/?action=stream", What::Mjpeg),
    ("/?action=snapshot", What::Picture),
];

/// Where a stream of bytes is found, behind its URL.
const OF_BYTES: [(&str, What); 2] = [("", What::Bytes), ("/pic", What::PictureOfBytes)];

/// The paths that the configuration gives.
pub(super) fn table(topology: &Topology) -> Table {
    let mut table = Table::default();
    let pages = &topology.settings.pages;
    for (page, what) in [
        (&pages.stat, What::Stat),
        (&pages.stat_json, What::StatJson),
        (&pages.metrics, What::Metrics),
        (&pages.config, What::Config),
    ] {
        if let Some(path) = page {
            table.add(path.clone(), what, &Whom::Box);
        }
    }
    if let Some(first) = topology.registry.first() {
        let whom = Whom::Stream(Arc::clone(first));
        OF_FIRST.iter().for_each(|(path, what)| table.add((*path).to_owned(), *what, &whom));
    }
    for stream in topology.registry.streams() {
        let (url, whom) = (stream.url(), Whom::Stream(Arc::clone(stream)));
        OF_STREAM.iter().for_each(|(end, what)| table.add(format!("{url}{end}"), *what, &whom));
        let name = stream.hub().name();
        table.add(format!("/stream/{name}/pic"), What::Picture, &whom);
    }
    for stream in topology.bytes.streams() {
        let (url, name) = (&stream.settings().url, &stream.settings().name);
        let whom = Whom::Bytes(Arc::clone(stream));
        OF_BYTES.iter().for_each(|(end, what)| table.add(format!("{url}{end}"), *what, &whom));
        let also = format!("/stream/{name}");
        OF_BYTES.iter().for_each(|(end, what)| table.add(format!("{also}{end}"), *what, &whom));
    }
    table
}

/// What answers at the paths of the table.
fn placed() -> Resource {
    let at = |what| read().guard(asks_for(what));
    resource("/{path}*", READ)
        .guard(is_placed())
        .route(at(What::Segment).to(hls::file))
        .route(at(What::Segments).to(hls::media))
        .route(at(What::Playlist).to(hls::multivariant))
        .route(at(What::Mp4).to(media::mp4))
        .route(at(What::H264).to(media::h264))
        .route(at(What::Ts).to(media::ts))
        .route(at(What::Aac).to(media::aac))
        .route(at(What::Mjpeg).to(mjpeg::mjpeg))
        .route(at(What::Picture).to(picture::pic))
        .route(at(What::Bytes).to(bytes::bytes))
        .route(at(What::PictureOfBytes).to(picture::byte_stream_pic))
        .route(at(What::Player).to(pages::stream))
        .route(at(What::Live).to(live::status))
        .route(at(What::Stat).to(stat::page))
        .route(at(What::StatJson).to(stat::numbers))
        .route(at(What::Metrics).to(stat::metrics))
        .route(at(What::Config).to(stat::config))
}

pub(super) fn all(service: &mut web::ServiceConfig, docroot: Option<&Docroot>) {
    let home = resource("/", READ).guard(has_home()).guard(Not(is_placed()));
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
    service.service(placed().wrap(from_fn(access::guard)).wrap(from_fn(cors::share)));
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

/// What was recorded.
fn recorded(service: &mut web::ServiceConfig) {
    for page in ["/recordings", "/recordings/"] {
        service.service(resource(page, READ).route(read().to(recordings::page)));
    }
    service.service(resource("/recordings/{name}", READ).route(read().to(recordings::file)));
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
        .service(form("reload", web::post().to(dashboard::reload)))
        .service(form("control", web::post().to(dashboard::edit)))
        .service(form("pushes/{name}/start", web::post().to(dashboard::start_push)))
        .service(form("pushes/{name}/stop", web::post().to(dashboard::stop_push)))
        .service(form("pushes/{name}/retry", web::post().to(dashboard::retry_push)))
        .service(form("streams/{name}/restart", web::post().to(dashboard::restart)))
        .service(form("recordings/{name}/delete", web::post().to(recordings::delete_form)))
        .service(form("streams/{name}/record/start", web::post().to(recordings::start_form)))
        .service(form("streams/{name}/record/stop", web::post().to(recordings::stop_form)));
    service.service(resource("/dashboard/recordings", READ).route(read().to(recordings::desk)));
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
        for (path, _) in OF_FIRST.iter().filter(|(path, _)| !path.contains('?')) {
            let text = format!(
                "feeds: {{camera: {{test: clock}}}}\n\
                 streams: {{camera: {{}}, raw: {{command: cat, url: {path}}}}}\n"
            );
            assert!(parse_text(&text).is_err(), "{path} is accepted");
        }
    }
}
