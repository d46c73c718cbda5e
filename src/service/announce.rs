//! Telling the local network that this box is here (mDNS, RFC 6762; DNS-SD,
//! RFC 6763).
//!
//! It announces the service and nothing else; it does not look for others.

use std::fmt;
use std::net::IpAddr;

use log::{info, warn};
use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};

use crate::config::settings::Server;

/// What programs that speak the API look for.
const OWN_KIND: &str = "_livebox._tcp.local.";

/// While it lives, the service is announced; dropping it says goodbye.
pub struct Announcement(ServiceDaemon);

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Announcement")
    }
}

/// Announces the service under the name of this box. Where that cannot be, it
/// says so in the log and goes without.
pub fn announce(host: &str, server: &Server) -> Option<Announcement> {
    if server.bind.is_loopback() {
        warn!("the service is not announced: it listens for this machine only");
        return None;
    }
    match try_announce(host, server) {
        Ok(announcement) => {
            info!("announced on the local network as {host:?}");
            Some(announcement)
        }
        Err(error) => {
            warn!("the service cannot be announced: {error}");
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
    for kind in [browsers_kind(server.scheme()), OWN_KIND.to_owned()] {
        daemon.register(service(&kind, host, bind, port)?)?;
    }
    Ok(Announcement(daemon))
}

/// What browsers look for.
fn browsers_kind(scheme: &str) -> String {
    format!("_{scheme}._tcp.local.")
}

/// The host has a name of its own here: the box's plain one belongs to Avahi,
/// where that runs.
fn service(kind: &str, host: &str, bind: IpAddr, port: u16) -> mdns_sd::Result<ServiceInfo> {
    let own_name = format!("{host}-livebox.local.");
    let properties = [("path", "/api/livebox/v1"), ("version", env!("CARGO_PKG_VERSION"))];
    if bind.is_unspecified() {
        let info = ServiceInfo::new(kind, host, &own_name, "", port, &properties[..])?;
        return Ok(info.enable_addr_auto());
    }
    ServiceInfo::new(kind, host, &own_name, bind, port, &properties[..])
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // It says goodbye on its own thread; a network that is gone needs none.
        self.0.shutdown().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_is_the_name_the_port_and_the_path_of_the_api() {
        let bind = "192.0.2.1".parse().unwrap();
        let info = service(OWN_KIND, "acceptor", bind, 8123).unwrap();
        assert_eq!(info.get_fullname(), "acceptor._livebox._tcp.local.");
        assert_eq!(info.get_port(), 8123);
        assert_eq!(info.get_property_val_str("path"), Some("/api/livebox/v1"));
        let info = service(&browsers_kind("https"), "acceptor", bind, 8123).unwrap();
        assert_eq!(info.get_fullname(), "acceptor._https._tcp.local.");
    }

    #[test]
    fn a_service_for_this_machine_alone_is_not_announced() {
        let settings = crate::config::parse_text(
            "server: {bind: localhost}\nfeeds: {a: {test: clock}}\nstreams: {a: {}}\n",
        );
        assert!(announce("acceptor", &settings.unwrap().server).is_none());
    }
}
