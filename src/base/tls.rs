//! The TLS certificate of this process and its key.
//!
//! Loaded from PEM files, and again whenever they change: certificates are
//! renewed every few weeks and the service runs for months. An unusable pair
//! never replaces a usable one. The key is never printed.

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

/// Maximum size of a PEM file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Permission bit: readable by every user.
const READABLE_BY_OTHERS: u32 = 0o004;

/// A certificate in use. Cheap to clone; all clones use the same pair.
#[derive(Clone)]
pub struct Tls {
    files: Arc<Files>,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

/// A change of the files.
#[derive(Debug)]
pub enum Change {
    /// The new certificate is used from the next connection on.
    Renewed,
    /// The new files are unusable; the old certificate stays in use.
    Kept(TlsError),
}

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Certificate,
    Key,
}

/// Why the files are unusable; [`TlsError::part`] returns which of them.
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
    /// The file to repair.
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
    /// Reads the PEM files: the server's certificate followed by its chain, and
    /// its key (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    /// A file cannot be read or contains no certificate or key, or the key does
    /// not belong to the certificate.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let stamps = files.stamps();
        let pair = files.read(&provider)?;
        let pair = RwLock::new(Arc::new(pair));
        let current = Arc::new(Current { pair, stamps: Lock::new(stamps) });
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has what TLS 1.2 and 1.3 need")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        Ok(Self { files: Arc::new(files), current, config: Arc::new(config) })
    }

    /// The configuration of a TLS server. It always uses the newest certificate
    /// and has no ALPN protocols: a server adds its own to a copy.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Reloads the files if they have changed; returns each change once. Reads
    /// from the disk.
    pub fn reload_if_changed(&self) -> Option<Change> {
        let stamps = self.files.stamps();
        {
            let mut known = self.current.stamps.lock();
            if *known == stamps {
                return None;
            }
            *known = stamps;
        }
        match self.files.read(self.config.crypto_provider()) {
            Ok(pair) => self.current.replace(pair).then_some(Change::Renewed),
            Err(error) => Some(Change::Kept(error)),
        }
    }

    /// The path of the key, if every user of this machine may read it.
    pub fn exposed_key(&self) -> Option<&Path> {
        let mode = fs::metadata(&self.files.key).map_or(0, |meta| meta.permissions().mode());
        (mode & READABLE_BY_OTHERS != 0).then_some(&self.files.key)
    }
}

/// The paths of the pair.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Identifies the state of a file: a rename changes the inode, a write changes
/// both times, and a change of permissions the second one.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    /// The state of both files. To be called before they are read: a change in
    /// between is then found by the next call.
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
        // The library's message is discarded: it could quote a line of the key.
        let key =
            PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::NoKey(self.key.clone()))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| self.error_of(error))
    }

    fn error_of(&self, error: rustls::Error) -> TlsError {
        let (certificate, key) = (self.certificate.clone(), self.key.clone());
        // `rustls::Error` is non-exhaustive; all other errors are about the key.
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
    // Opening a pipe would block until another process writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// The pair in use.
struct Current {
    pair: RwLock<Arc<CertifiedKey>>,
    /// The state of the files when they were last read.
    stamps: Lock<[Option<Stamp>; 2]>,
}

impl Current {
    /// Returns whether the certificate has changed.
    fn replace(&self, pair: CertifiedKey) -> bool {
        let mut current = self.pair.write().unwrap_or_else(PoisonError::into_inner);
        let has_changed = current.cert != pair.cert;
        *current = Arc::new(pair);
        has_changed
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.pair.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests;
