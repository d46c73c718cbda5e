//! Announces the service on the local network (mDNS, RFC 6762; DNS-SD, RFC 6763).
//!
//! It does not search for other services.

use std::fmt;
use std::net::IpAddr;

use log::{info, warn};
use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};

use crate::config::settings::Server;

/// The service type of the livebox API.
const API_SERVICE_TYPE: &str = "_livebox._tcp.local.";

/// Announces the service until it is dropped; then it sends goodbye packets.
pub struct Announcement(ServiceDaemon);

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Announcement")
    }
}

/// Announces the service under `host`. Failures are logged; then it returns `None`.
pub fn announce(host: &str, server: &Server) -> Option<Announcement> {
    if server.bind.is_loopback() {
        warn!("the service is not announced: it listens on loopback only");
        return None;
    }
    match try_announce(host, server) {
        Ok(announcement) => {
            info!("announced on the local network as {host:?}");
            Some(announcement)
        }
        Err(error) => {
            warn!("cannot announce the service: {error}");
            None
        }
    }
}

fn try_announce(host: &str, server: &Server) -> mdns_sd::Result<Announcement> {
    let Server { bind, port, .. } = *server;
    let daemon = ServiceDaemon::new()?;
    if !bind.is_unspecified() {
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(IfKind::Addr(bind))?;
    }
    for service_type in [web_service_type(server.scheme()), API_SERVICE_TYPE.to_owned()] {
        daemon.register(service(&service_type, host, bind, port)?)?;
    }
    Ok(Announcement(daemon))
}

/// The service type of web servers.
fn web_service_type(scheme: &str) -> String {
    format!("_{scheme}._tcp.local.")
}

/// The announced host name differs from the plain one, which belongs to Avahi if
/// that runs.
fn service(
    service_type: &str,
    host: &str,
    bind: IpAddr,
    port: u16,
) -> mdns_sd::Result<ServiceInfo> {
    let own_name = format!("{host}-livebox.local.");
    let properties = [("path", "/api/livebox/v1"), ("version", env!("CARGO_PKG_VERSION"))];
    if bind.is_unspecified() {
        let info = ServiceInfo::new(service_type, host, &own_name, "", port, &properties[..])?;
        return Ok(info.enable_addr_auto());
    }
    ServiceInfo::new(service_type, host, &own_name, bind, port, &properties[..])
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // It sends its goodbye packets on its own thread; errors have no effect.
        self.0.shutdown().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_has_name_port_and_path_of_the_api() {
        let bind = "192.0.2.1".parse().unwrap();
        let info = service(API_SERVICE_TYPE, "camera", bind, 8123).unwrap();
        assert_eq!(info.get_fullname(), "camera._livebox._tcp.local.");
        assert_eq!(info.get_port(), 8123);
        assert_eq!(info.get_property_val_str("path"), Some("/api/livebox/v1"));
        let info = service(&web_service_type("https"), "camera", bind, 8123).unwrap();
        assert_eq!(info.get_fullname(), "camera._https._tcp.local.");
    }

    #[test]
    fn a_service_on_loopback_is_not_announced() {
        let settings = crate::config::parse_text(
            "server: {bind: localhost}\nfeeds: {a: {test: clock}}\nstreams: {a: {}}\n",
        );
        assert!(announce("camera", &settings.unwrap().server).is_none());
    }
}
