//! Usable and unusable pairs in every format that openssl writes.

use std::process::Command;

use super::*;

/// A folder with certificate and key.
struct Pair(tempfile::TempDir);

impl Pair {
    fn make() -> Self {
        let pair = Self(tempfile::tempdir().unwrap());
        pair.renew(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        pair
    }

    fn certificate(&self) -> PathBuf {
        self.0.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    /// Writes another pair into the same files.
    fn renew(&self, kind: &[&str]) {
        let (certificate, key) = (self.certificate(), self.key());
        let paths = ["-keyout", key.to_str().unwrap(), "-out", certificate.to_str().unwrap()];
        let fixed = ["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=box"];
        openssl(&[&fixed[..], kind, &paths].concat());
    }

    /// Rewrites the key in the format before PKCS#8.
    fn rewrite_key(&self) {
        let (key, new) = (self.key(), self.0.path().join("new.pem"));
        let (from, to) = (key.to_str().unwrap(), new.to_str().unwrap());
        openssl(&["pkey", "-in", from, "-out", to, "-traditional"]);
        fs::rename(new, key).unwrap();
    }

    fn load(&self) -> Result<Tls, TlsError> {
        Tls::load(&self.certificate(), &self.key())
    }
}

fn openssl(arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn current(tls: &Tls) -> Vec<CertificateDer<'static>> {
    tls.current.pair.read().unwrap().cert.clone()
}

#[test]
fn keys_of_all_formats_are_read() {
    let pair = Pair::make();
    let begins = |what: &str| {
        assert!(fs::read_to_string(pair.key()).unwrap().contains(what), "{what}");
        pair.load().unwrap();
    };
    begins("BEGIN PRIVATE KEY");
    pair.rewrite_key();
    begins("BEGIN EC PRIVATE KEY");
    pair.renew(&["-newkey", "rsa:2048"]);
    pair.rewrite_key();
    begins("BEGIN RSA PRIVATE KEY");
    pair.renew(&["-newkey", "ed25519"]);
    begins("BEGIN PRIVATE KEY");
}

#[test]
fn an_error_names_the_unusable_file_and_the_reason_without_the_key() {
    let (pair, other) = (Pair::make(), Pair::make());
    let (certificate, key) = (pair.certificate(), pair.key());
    let secret = fs::read_to_string(&key).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    let empty = pair.0.path().join("empty");
    let torn = pair.0.path().join("torn");
    fs::write(&empty, "").unwrap();
    let long = pair.0.path().join("long");
    fs::write(&long, vec![b'\n'; MAX_FILE_BYTES as usize + 1]).unwrap();
    fs::write(&torn, format!("-----BEGIN PRIVATE KEY-----\n{secret}!\n")).unwrap();
    let nothing = Path::new("/no/such.pem");
    for (certificate, key, part, message) in [
        (nothing, key.as_path(), Part::Certificate, "\"/no/such.pem\": No such file"),
        (certificate.as_path(), nothing, Part::Key, "\"/no/such.pem\": No such file"),
        (pair.0.path(), &key, Part::Certificate, "it is not a file"),
        (&empty, &key, Part::Certificate, "has no certificate in it"),
        (&key, &key, Part::Certificate, "has no certificate in it"),
        (&long, &key, Part::Certificate, "longer than 1 MiB"),
        (&certificate, &certificate, Part::Key, "has no private key in it"),
        (&certificate, &torn, Part::Key, "has no private key in it"),
        (&certificate, &other.key(), Part::Key, "does not belong to the first certificate"),
    ] {
        let error = Tls::load(certificate, key).unwrap_err();
        assert_eq!(error.part(), part, "{error}");
        assert!(error.to_string().contains(message), "{error}");
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}

#[test]
fn an_encrypted_key_is_reported_as_such() {
    let pair = Pair::make();
    let key = pair.key();
    let locked = pair.0.path().join("locked.pem");
    let (from, to) = (key.to_str().unwrap(), locked.to_str().unwrap());
    openssl(&["pkey", "-in", from, "-out", to, "-aes128", "-passout", "pass:otter"]);
    let error = Tls::load(&pair.certificate(), &locked).unwrap_err();
    assert!(error.to_string().contains("not encrypted"), "{error}");
}

#[test]
fn a_renewed_pair_is_loaded_and_reported_once() {
    let pair = Pair::make();
    let tls = pair.load().unwrap();
    let first = current(&tls);
    assert!(tls.reload_if_changed().is_none());

    pair.renew(&["-newkey", "rsa:2048"]);

    assert!(matches!(tls.reload_if_changed(), Some(Change::Renewed)));
    assert!(tls.reload_if_changed().is_none());
    assert_ne!(current(&tls), first);
}

#[test]
fn a_changed_symbolic_link_is_a_renewal() {
    let (old, new) = (Pair::make(), Pair::make());
    let live = tempfile::tempdir().unwrap();
    let point = |pair: &Pair| {
        for name in ["cert.pem", "key.pem"] {
            fs::remove_file(live.path().join(name)).ok();
            std::os::unix::fs::symlink(pair.0.path().join(name), live.path().join(name)).unwrap();
        }
    };
    point(&old);
    let tls = Tls::load(&live.path().join("cert.pem"), &live.path().join("key.pem")).unwrap();

    point(&new);

    assert!(matches!(tls.reload_if_changed(), Some(Change::Renewed)));
    assert_eq!(current(&tls), current(&new.load().unwrap()));
}

#[test]
fn an_unusable_pair_is_reported_once_and_the_old_certificate_stays() {
    let pair = Pair::make();
    let tls = pair.load().unwrap();
    let first = current(&tls);
    let good = fs::read(pair.key()).unwrap();

    fs::write(pair.key(), "half of a k").unwrap();
    let change = tls.reload_if_changed();
    assert!(matches!(&change, Some(Change::Kept(TlsError::NoKey(_)))), "{change:?}");
    assert!(tls.reload_if_changed().is_none());
    assert_eq!(current(&tls), first);

    fs::remove_file(pair.key()).unwrap();
    assert!(matches!(
        tls.reload_if_changed(),
        Some(Change::Kept(TlsError::Unreadable { part: Part::Key, .. }))
    ));
    assert!(tls.reload_if_changed().is_none());

    // The same pair again is no change: it was in use all the time.
    fs::write(pair.key(), good).unwrap();
    assert!(tls.reload_if_changed().is_none());
    assert_eq!(current(&tls), first);
}

#[test]
fn a_key_that_every_user_may_read_is_found() {
    let pair = Pair::make();
    let tls = pair.load().unwrap();
    let set = |mode| fs::set_permissions(pair.key(), fs::Permissions::from_mode(mode)).unwrap();
    set(0o640);
    assert_eq!(tls.exposed_key(), None);
    set(0o644);
    assert_eq!(tls.exposed_key(), Some(pair.key().as_path()));
}

proptest::proptest! {
    #[test]
    fn no_file_causes_a_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        armoured in proptest::prelude::any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pem");
        let text = match armoured {
            true => {
                use base64::Engine as _;
                let body = base64::engine::general_purpose::STANDARD.encode(&bytes);
                let section = |what| format!("-----BEGIN {what}-----\n{body}\n-----END {what}-----\n");
                (section("CERTIFICATE") + &section("PRIVATE KEY")).into_bytes()
            }
            false => bytes,
        };
        fs::write(&path, text).unwrap();
        assert!(Tls::load(&path, &path).is_err());
    }
}
