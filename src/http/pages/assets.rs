//! Static files built into the program.

use actix_web::HttpResponse;
use actix_web::http::header;

/// A file and its path.
#[derive(Debug)]
pub(in crate::http) struct Asset {
    pub path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

pub(in crate::http) const ALL: &[Asset] = &[
    Asset {
        path: "/assets/livebox.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../../../web/livebox.css"),
    },
    Asset {
        path: "/assets/stat.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../../web/stat.js"),
    },
    Asset {
        path: "/assets/time.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../../web/time.js"),
    },
    Asset {
        path: "/assets/player.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../../web/player.js"),
    },
    Asset {
        path: "/assets/stat.schema.json",
        content_type: "application/schema+json",
        bytes: include_bytes!("../../../web/stat.schema.json"),
    },
];

/// Cached for an hour: soon replaced after an upgrade, requested once for many tiles.
pub(in crate::http) fn serve(asset: &'static Asset) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(asset.content_type)
        .insert_header((header::CACHE_CONTROL, "public, max-age=3600"))
        .body(asset.bytes)
}
