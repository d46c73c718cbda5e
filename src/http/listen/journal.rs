//! The access log: each connection's first request and each request that may
//! change something at level info, the others at debug. A player that fetches a
//! segment a second is one line, not thousands on an SD card.

use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::HttpRequest;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use log::{Level, log};

use super::connection::OverUnixSocket;

/// Whether a request of the connection was logged already.
#[derive(Debug, Default)]
pub(in crate::http) struct HasLogged(AtomicBool);

/// Middleware: logs address, method, path and status of a request. Never the
/// query: it may hold secrets.
pub(in crate::http) async fn log_request(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let has_logged = request.conn_data::<HasLogged>();
    let is_first = has_logged.is_none_or(|has| !has.0.swap(true, Ordering::Relaxed));
    let level = if is_first || !request.method().is_safe() { Level::Info } else { Level::Debug };
    let peer = shown(request.request());
    let response = next.call(request).await?;
    let request = response.request();
    let (method, path, status) = (request.method(), request.path(), response.status().as_u16());
    log!(level, "{} {method} {} {status}", peer, printable(path));
    Ok(response)
}

/// The client's address, or its user if it connected to the Unix socket.
fn shown(request: &HttpRequest) -> String {
    match (request.peer_addr(), request.conn_data::<OverUnixSocket>()) {
        (Some(peer), _) => peer.ip().to_canonical().to_string(),
        (None, Some(OverUnixSocket { user: Some(user) })) => format!("user {user}"),
        (None, Some(OverUnixSocket { user: None }) | None) => "unknown client".to_owned(),
    }
}

/// `path` for one line of the log: control characters are replaced, and it is cut at 200.
fn printable(path: &str) -> String {
    const MAX_CHARS: usize = 200;
    path.chars().take(MAX_CHARS).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_break_the_line() {
        assert_eq!(printable("/a\r\nb"), "/a??b");
        assert_eq!(printable(&"x".repeat(5000)).len(), 200);
    }
}
