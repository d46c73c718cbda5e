//! Recognises the cause of an error that an element posts: by its class, by the element's
//! own settings and, where GStreamer gives all errors one class, by its text. Hosts run
//! in the locale C, so texts are not translated.

use std::path::Path;
use std::time::Duration;

use gio::glib::translate::IntoGlib as _;
use gio::{IOErrorEnum, TlsError};
use gstreamer as gst;
use gstreamer::glib::{Uri, UriFlags};
use gstreamer::prelude::*;
use tokio::net::{TcpStream, lookup_host};

use crate::model::cause::{Cause, Device, Peer};

/// Time limit of finding out why a camera cannot be reached.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The port of RTSP (RFC 7826, 22.14).
const RTSP_PORT: u16 = 554;

/// The cause of an error, if it is recognised.
pub(super) fn of(error: &gst::message::Error) -> Option<Cause> {
    let element = error.src()?.downcast_ref::<gst::Element>()?;
    let class = error.error().kind::<gst::ResourceError>()?;
    let message = error.error().message().to_owned();
    let debug = error.debug().unwrap_or_default();
    match element.factory()?.name().as_str() {
        "rtspsrc" => of_rtsp_camera(element, class, &debug),
        "rtmp2sink" => of_receiver(element, class, &message, &debug),
        "v4l2src" => of_device(Device::Camera, element, class, &debug),
        "alsasrc" => of_device(Device::SoundCard, element, class, &debug),
        "filesrc" => of_file(element, class, &debug),
        _ => None,
    }
}

fn of_rtsp_camera(element: &gst::Element, class: gst::ResourceError, debug: &str) -> Option<Cause> {
    let url = text(element, "location")?;
    let url = Uri::parse(&url, UriFlags::HAS_PASSWORD).ok()?;
    let host = url.host()?.to_string();
    let has_login = || url.userinfo().is_some() || text(element, "user-id").is_some();
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum")]
    match class {
        gst::ResourceError::NotAuthorized if has_login() => Some(Cause::PasswordRefused),
        gst::ResourceError::NotAuthorized => Some(Cause::PasswordNeeded),
        gst::ResourceError::NotFound => Some(Cause::NoSuchStream { host }),
        gst::ResourceError::OpenReadWrite => Some(Cause::NoAnswer { peer: Peer::Camera, host }),
        gst::ResourceError::Read if debug.contains("Parse error") => {
            Some(Cause::WrongProtocol { peer: Peer::Camera, host })
        }
        gst::ResourceError::Read if debug.contains("end-of-file") => {
            Some(Cause::CameraClosed { host })
        }
        _ => None,
    }
}

/// Refines "no answer" of the camera at `url`, as `rtspsrc` does not tell why it cannot
/// connect: the name may be unknown, or the connection refused.
pub(super) async fn refined(cause: Cause, url: &str) -> Cause {
    let Cause::NoAnswer { peer, host } = cause else { return cause };
    let port = Uri::parse(url, UriFlags::HAS_PASSWORD).ok().map(|url| url.port());
    let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(RTSP_PORT);
    let attempt = async {
        let Ok(addresses) = lookup_host((&*host, port)).await else {
            return Some(Cause::UnknownHost { peer, host: host.clone() });
        };
        for address in addresses {
            match TcpStream::connect(address).await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    return Some(Cause::ConnectionRefused { peer, host: host.clone(), port });
                }
                Ok(_) | Err(_) => {}
            }
        }
        None
    };
    let found = tokio::time::timeout(PROBE_TIMEOUT, attempt).await.ok().flatten();
    found.unwrap_or_else(|| Cause::NoAnswer { peer, host: host.clone() })
}

fn of_receiver(
    element: &gst::Element,
    class: gst::ResourceError,
    message: &str,
    debug: &str,
) -> Option<Cause> {
    let (peer, host) = (Peer::Receiver, text(element, "host")?);
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum")]
    match class {
        gst::ResourceError::NotAuthorized => return Some(Cause::KeyRefused),
        gst::ResourceError::OpenRead => {
            let port = element.property_value("port").get::<i32>().ok()?;
            let port = u16::try_from(port).ok()?;
            return Some(Cause::ConnectionRefused { peer, host, port });
        }
        _ => {}
    }
    let (domain, code) = domain_and_code(debug)?;
    match domain {
        "g-resolver-error-quark" => Some(Cause::UnknownHost { peer, host }),
        "g-tls-error-quark" if code == TlsError::BadCertificate.into_glib() => {
            let why = "the TLS library gives no reason".to_owned();
            Some(Cause::CertificateRefused { why })
        }
        "g-io-error-quark" => of_io_error(code, message, host),
        _ => None,
    }
}

/// The cause of an error of GIO on the connection to the receiver.
fn of_io_error(code: i32, message: &str, host: String) -> Option<Cause> {
    let peer = Peer::Receiver;
    let is = |error: IOErrorEnum| code == error.into_glib();
    // Servers answer a wrong key by closing the connection at the command `publish`, and
    // a wrong application at `connect`.
    if is(IOErrorEnum::Failed) && message.contains("'publish' cmd") {
        Some(Cause::KeyRefused)
    } else if is(IOErrorEnum::Failed) && message.contains("'connect' cmd") {
        Some(Cause::PathRefused { host })
    } else if is(IOErrorEnum::Exists) {
        Some(Cause::KeyInUse)
    } else if is(IOErrorEnum::TimedOut)
        || is(IOErrorEnum::HostUnreachable)
        || is(IOErrorEnum::NetworkUnreachable)
    {
        Some(Cause::NoAnswer { peer, host })
    } else if is(IOErrorEnum::PartialInput) || is(IOErrorEnum::InvalidData) {
        Some(Cause::WrongProtocol { peer, host })
    } else if is(IOErrorEnum::BrokenPipe) {
        Some(Cause::ReceiverClosed)
    } else {
        None
    }
}

/// A setting of the element.
fn text(element: &gst::Element, name: &str) -> Option<String> {
    element.property_value(name).get().ok()?
}

/// The error of GIO behind one of `rtmp2sink`, which gives it as `domain D, code N`.
fn domain_and_code(debug: &str) -> Option<(&str, i32)> {
    let (domain, code) =
        debug.lines().last()?.trim().strip_prefix("domain ")?.split_once(", code ")?;
    Some((domain, code.parse().ok()?))
}

fn of_device(
    kind: Device,
    element: &gst::Element,
    class: gst::ResourceError,
    debug: &str,
) -> Option<Cause> {
    let device = text(element, "device")?;
    let reason = |text: &str| debug.contains(text);
    if class == gst::ResourceError::Busy || reason("Device or resource busy") {
        Some(Cause::DeviceBusy { kind, device })
    } else if reason("Permission denied") {
        Some(Cause::DeviceForbidden { kind, device })
    } else if is_gone(kind, &device, class) || reason("No such device") || reason("No such file") {
        Some(Cause::NoDevice { kind, device })
    } else {
        None
    }
}

/// Whether a device that was in use is not there: a camera has a path, and a sound card
/// reports a failing read only when it is unplugged.
fn is_gone(kind: Device, device: &str, class: gst::ResourceError) -> bool {
    match kind {
        Device::Camera => !Path::new(device).exists(),
        Device::SoundCard => class == gst::ResourceError::Read,
    }
}

fn of_file(element: &gst::Element, class: gst::ResourceError, debug: &str) -> Option<Cause> {
    let path = text(element, "location")?.into();
    if class == gst::ResourceError::NotFound {
        Some(Cause::NoFile { path })
    } else if class == gst::ResourceError::OpenRead && debug.contains("Permission denied") {
        Some(Cause::FileForbidden { path })
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
