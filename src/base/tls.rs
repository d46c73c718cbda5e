//! The certificate with which this process proves who it is, and its key.
//!
//! Read from PEM files, and again whenever these change: certificates are
//! renewed every few weeks and the service runs for months. A pair that is no
//! use never replaces one that is. The key is never shown.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::lock::Lock;

/// No chain of certificates is longer.
const LONGEST: u64 = 1 << 20;

/// Others may read the file.
const BY_EVERYBODY: u32 = 0o004;

/// A certificate in use. Cheap to clone; all clones show the same one.
#[derive(Clone)]
pub struct Tls {
    files: Arc<Files>,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
}

/// What a look at the files has found.
#[derive(Debug)]
pub enum News {
    /// Another certificate is shown from the next connection on.
    Renewed,
    /// The files have changed and are no use; the certificate stays.
    Kept(TlsError),
}

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Certificate,
    Key,
}

/// Why the files are no use; [`TlsError::part`] says which of them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path:?}: {source}")]
    Unreadable { part: Part, path: PathBuf, source: io::Error },
    #[error("{0:?} has no certificate in it; a PEM file with the server's own one first is needed")]
    NoCertificate(PathBuf),
    #[error("{0:?} has no private key in it; a PEM file is needed whose key is not encrypted")]
    NoKey(PathBuf),
    #[error("the key {key:?} does not belong to the first certificate of {certificate:?}")]
    Misfit { certificate: PathBuf, key: PathBuf },
    #[error("{path:?} cannot be used: {source}")]
    Unfit { part: Part, path: PathBuf, source: rustls::Error },
}

impl TlsError {
    /// The file to mend.
    pub fn part(&self) -> Part {
        match self {
            TlsError::Unreadable { part, .. } | TlsError::Unfit { part, .. } => *part,
            TlsError::NoCertificate(_) => Part::Certificate,
            TlsError::NoKey(_) | TlsError::Misfit { .. } => Part::Key,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Certificate => "certificate",
            Part::Key => "key",
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.files.certificate).finish()
    }
}

impl Tls {
    /// Reads the PEM files: the server's certificate with those that lead to a
    /// known authority after it, and its key (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    /// A file cannot be read or has no such thing in it, or the two do not fit.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let seen = files.stamps();
        let pair = files.read(&provider)?;
        let shown = Arc::new(Shown { pair: RwLock::new(Arc::new(pair)), seen: Lock::new(seen) });
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has what TLS 1.2 and 1.3 need")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        Ok(Self { files: Arc::new(files), shown, config: Arc::new(config) })
    }

    /// What a TLS server takes. It shows the newest certificate by itself and
    /// names no protocol (ALPN): whoever speaks one adds it to a copy.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Looks whether the files have changed, and takes what is in them. Each
    /// change is told once. Reads from the disk.
    pub fn look(&self) -> Option<News> {
        let stamps = self.files.stamps();
        {
            let mut seen = self.shown.seen.lock();
            if *seen == stamps {
                return None;
            }
            *seen = stamps;
        }
        match self.files.read(self.config.crypto_provider()) {
            Ok(pair) => self.shown.replace(pair).then_some(News::Renewed),
            Err(error) => Some(News::Kept(error)),
        }
    }

    /// The key's file, if everybody on this machine may read it.
    pub fn exposed_key(&self) -> Option<&Path> {
        let mode = fs::metadata(&self.files.key).map_or(0, |meta| meta.permissions().mode());
        (mode & BY_EVERYBODY != 0).then_some(&self.files.key)
    }
}

/// Where the pair is.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What tells one state of a file from another: a rename changes the inode, a
/// write the times, and a change of rights the second of them.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    /// The state of both files, taken before they are read: what changes in
    /// between is seen at the next look.
    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.certificate, &self.key].map(|path| {
            let meta = fs::metadata(path).ok()?;
            Some(Stamp {
                file: (meta.dev(), meta.ino()),
                length: meta.len(),
                written: (meta.mtime(), meta.mtime_nsec()),
                changed: (meta.ctime(), meta.ctime_nsec()),
            })
        })
    }

    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let text = read(Part::Certificate, &self.certificate)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::NoCertificate(self.certificate.clone()))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(self.certificate.clone()));
        }
        let text = read(Part::Key, &self.key)?;
        // Its own message could quote a line of the file.
        let key =
            PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::NoKey(self.key.clone()))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| self.told(error))
    }

    fn told(&self, error: rustls::Error) -> TlsError {
        let (certificate, key) = (self.certificate.clone(), self.key.clone());
        // The library's list of errors may grow; all others are about the key.
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            TlsError::Misfit { certificate, key }
        } else if matches!(error, rustls::Error::InvalidCertificate(_)) {
            TlsError::Unfit { part: Part::Certificate, path: certificate, source: error }
        } else {
            TlsError::Unfit { part: Part::Key, path: key, source: error }
        }
    }
}

fn read(part: Part, path: &Path) -> Result<Vec<u8>, TlsError> {
    read_whole(path).map_err(|source| TlsError::Unreadable { part, path: path.to_owned(), source })
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for somebody to write into it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// The pair that clients are shown.
struct Shown {
    pair: RwLock<Arc<CertifiedKey>>,
    /// The state of the files at the last look.
    seen: Lock<[Option<Stamp>; 2]>,
}

impl Shown {
    /// Returns whether it is another one.
    fn replace(&self, pair: CertifiedKey) -> bool {
        let mut shown = self.pair.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = shown.cert != pair.cert;
        *shown = Arc::new(pair);
        is_other
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.pair.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests;
