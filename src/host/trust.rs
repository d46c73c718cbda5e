//! Whose certificates a push over RTMPS takes, and why one is refused, in words.
//!
//! `rtmp2sink` has TLS done by GIO and has no property for an authority of one's
//! own; GIO has one list of authorities for the whole process, which is that of
//! one push. The name of the host, the dates and the rest are checked as ever.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gio::prelude::*;
use gio::{SocketClient, SocketClientEvent, TlsBackend, TlsCertificateFlags, TlsFileDatabase};

use crate::model::push_url::PushUrl;
use crate::model::status::Failure;

/// Debian's authorities.
const OF_SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// No list of authorities is longer.
const LONGEST: u64 = 1 << 20;

/// Seconds for the connection that finds out why a certificate is refused.
const LOOK_S: u32 = 5;

/// Trusts the certificates in the PEM file `ca` besides those of the system, in
/// the whole process and for good; blocks.
///
/// # Errors
/// The file cannot be read or holds no certificate.
pub(super) fn trust(ca: &Path) -> Result<(), Failure> {
    let wrong = |why: String| Failure::Build(format!("`ca`: {ca:?} {why}"));
    let pem = read(ca).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let marker = b"-----BEGIN CERTIFICATE-----";
    if !pem.windows(marker.len()).any(|window| window == marker) {
        return Err(wrong("has no certificate in it; a PEM file is needed".to_owned()));
    }
    let of_system = fs::read(OF_SYSTEM).unwrap_or_default();
    let unusable = |why: String| wrong(format!("cannot be used: {why}"));
    let list =
        in_memory(&[of_system, pem].join(&b'\n')).map_err(|why| unusable(why.to_string()))?;
    let path = format!("/proc/self/fd/{}", list.as_raw_fd());
    let database = TlsFileDatabase::new(path).map_err(|why| unusable(why.message().to_owned()))?;
    TlsBackend::default().set_default_database(Some(&database));
    // The database may read its file again.
    let _kept_open = list.into_raw_fd();
    Ok(())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// A file without a place on any disk.
fn in_memory(text: &[u8]) -> io::Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let mut file = File::from(memfd_create(c"authorities", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text)?;
    Ok(file.into())
}

/// Whether GIO has said no more than that it refuses a certificate.
pub(super) fn is_refusal(failure: &Failure) -> bool {
    matches!(failure, Failure::Element { message, .. } if message.contains("TLS certificate"))
}

/// Connects to the receiver of `url` once more, to learn what is wrong with its
/// certificate; blocks. Nothing but a handshake is sent.
pub(super) fn explain(url: &PushUrl, has_ca: bool) -> Option<Failure> {
    let found = Arc::new(Mutex::new(None));
    let client = SocketClient::new();
    client.set_timeout(LOOK_S);
    client.set_tls(true);
    let note = Arc::clone(&found);
    client.connect_event(move |_, event, _, connection| {
        let tls = connection.and_then(|one| one.downcast_ref::<gio::TlsConnection>());
        if let (SocketClientEvent::TlsHandshaking, Some(tls)) = (event, tls) {
            let note = Arc::clone(&note);
            tls.connect_accept_certificate(move |_, _, flags| {
                *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(flags);
                false
            });
        }
    });
    let (host, port) = url.place();
    client.connect_to_host(host, port, gio::Cancellable::NONE).ok();
    let flags = found.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    let message = format!("the receiver's certificate is refused: {}", in_words(flags, has_ca));
    Some(Failure::Element { element: "rtmp2sink".to_owned(), message })
}

fn in_words(flags: TlsCertificateFlags, has_ca: bool) -> String {
    let unknown = if has_ca {
        "it is signed neither by an authority this box knows nor by one of the file in `ca:`"
    } else {
        "it is not signed by an authority this box knows; name its certificate, or its \
         authority's, in `ca:` of the push"
    };
    let reasons = [
        (TlsCertificateFlags::UNKNOWN_CA, unknown),
        (TlsCertificateFlags::BAD_IDENTITY, "it is made out to another host"),
        (TlsCertificateFlags::NOT_ACTIVATED, "it is not valid yet, by the clock of this box"),
        (TlsCertificateFlags::EXPIRED, "it has expired, by the clock of this box"),
        (TlsCertificateFlags::REVOKED, "it is revoked"),
        (TlsCertificateFlags::INSECURE, "its algorithms are not secure"),
    ];
    let told = reasons.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, words)| *words);
    let told: Vec<_> = told.collect();
    if told.is_empty() { "the TLS library does not say why".to_owned() } else { told.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_and_what_to_do_about_a_certificate_of_ones_own() {
        let both = TlsCertificateFlags::UNKNOWN_CA | TlsCertificateFlags::EXPIRED;
        let text = in_words(both, false);
        assert!(text.contains("in `ca:` of the push; it has expired"), "{text}");
        assert!(in_words(both, true).contains("neither"));
        let text = in_words(TlsCertificateFlags::GENERIC_ERROR, false);
        assert!(text.contains("does not say"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        for path in ["/nowhere/ca.pem", "/etc/passwd"] {
            let failure = trust(Path::new(path)).unwrap_err().to_string();
            assert!(failure.contains("`ca`") && failure.contains(path), "{failure}");
        }
    }
}
