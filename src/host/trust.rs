//! Trusted certificates of a push over RTMPS, and the reason why one is refused.
//!
//! `rtmp2sink` uses TLS of GIO and has no property for a private authority; GIO has one
//! list of authorities per process, and a process runs one push. Host name, dates and
//! everything else are checked as usual.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use gio::prelude::*;
use gio::{SocketClient, SocketClientEvent, TlsBackend, TlsCertificateFlags, TlsFileDatabase};

use crate::base::lock::Lock;
use crate::model::failure::{AuthoritiesError, Failure};
use crate::model::fault::Message;
use crate::model::push_url::PushUrl;

/// Debian's list of authorities.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Limit of a list of authorities.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// Time limit in seconds of the connection that finds out why a certificate is refused.
const EXPLAIN_TIMEOUT_S: u32 = 5;

/// Adds the certificates in the PEM file `ca` to those of the system, for the whole
/// process; blocks.
///
/// # Errors
/// The file cannot be read or holds no certificate.
pub(super) fn trust(ca: &Path) -> Result<(), Failure> {
    use AuthoritiesError::{Empty, Unreadable, Unusable};
    let wrong = |error| Failure::Authorities { ca: ca.to_owned(), error };
    let pem = read(ca).map_err(|error| wrong(Unreadable(Message::of(error))))?;
    let marker = b"-----BEGIN CERTIFICATE-----";
    if !pem.windows(marker.len()).any(|window| window == marker) {
        return Err(wrong(Empty));
    }
    let system = fs::read(SYSTEM_AUTHORITIES).unwrap_or_default();
    let unusable = |why: Message| wrong(Unusable(why));
    let list = in_memory(&[system, pem].join(&b'\n'));
    let list = list.map_err(|error| unusable(Message::of(error)))?;
    let path = format!("/proc/self/fd/{}", list.as_raw_fd());
    let database =
        TlsFileDatabase::new(path).map_err(|error| unusable(Message::of(error.message())))?;
    TlsBackend::default().set_default_database(Some(&database));
    // The database may read its file again, so the descriptor stays open.
    let _kept_open = list.into_raw_fd();
    Ok(())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_LIST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LIST_BYTES {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// A file in memory.
fn in_memory(text: &[u8]) -> io::Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let mut file = File::from(memfd_create(c"authorities", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text)?;
    Ok(file.into())
}

/// Connects to the receiver of `url` again to find out what is wrong with its
/// certificate; blocks. Only the TLS handshake is sent.
pub(super) fn explain(url: &PushUrl, has_ca: bool) -> Option<String> {
    let found = Arc::new(Lock::new(None));
    let client = SocketClient::new();
    client.set_timeout(EXPLAIN_TIMEOUT_S);
    client.set_tls(true);
    let result = Arc::clone(&found);
    client.connect_event(move |_, event, _, connection| {
        let tls = connection.and_then(|one| one.downcast_ref::<gio::TlsConnection>());
        if let (SocketClientEvent::TlsHandshaking, Some(tls)) = (event, tls) {
            let result = Arc::clone(&result);
            tls.connect_accept_certificate(move |_, _, flags| {
                *result.lock() = Some(flags);
                false
            });
        }
    });
    let (host, port) = url.place();
    client.connect_to_host(host, port, gio::Cancellable::NONE).ok();
    let flags = found.lock().take()?;
    Some(describe(flags, has_ca))
}

fn describe(flags: TlsCertificateFlags, has_ca: bool) -> String {
    let unknown = if has_ca {
        "it is signed neither by an authority this box knows nor by one of the file in `ca:`"
    } else {
        "it is not signed by an authority this box knows; name its certificate, or its \
         authority's, in `ca:` of the push"
    };
    let reasons = [
        (TlsCertificateFlags::UNKNOWN_CA, unknown),
        (TlsCertificateFlags::BAD_IDENTITY, "it is for another host name"),
        (TlsCertificateFlags::NOT_ACTIVATED, "it is not valid yet, by the clock of this box"),
        (TlsCertificateFlags::EXPIRED, "it has expired, by the clock of this box"),
        (TlsCertificateFlags::REVOKED, "it is revoked"),
        (TlsCertificateFlags::INSECURE, "its algorithms are not secure"),
    ];
    let reasons = reasons.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, words)| *words);
    let reasons: Vec<_> = reasons.collect();
    if reasons.is_empty() {
        "the TLS library gives no reason".to_owned()
    } else {
        reasons.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_described_with_a_hint_for_private_certificates() {
        let both = TlsCertificateFlags::UNKNOWN_CA | TlsCertificateFlags::EXPIRED;
        let text = describe(both, false);
        assert!(text.contains("in `ca:` of the push; it has expired"), "{text}");
        assert!(describe(both, true).contains("neither"));
        let text = describe(TlsCertificateFlags::GENERIC_ERROR, false);
        assert!(text.contains("gives no reason"), "{text}");
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        for path in ["/nowhere/ca.pem", "/etc/passwd"] {
            let failure = trust(Path::new(path)).unwrap_err().to_string();
            assert!(failure.contains("`ca`") && failure.contains(path), "{failure}");
        }
    }
}
