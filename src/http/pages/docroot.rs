//! Files of the configured folder, at all paths that have no other endpoint.
//!
//! Links out of the folder are not followed, folders are not listed, and hidden
//! files are not served except below `/.well-known/` (RFC 8615), where ACME clients
//! put their challenges.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use actix_files::{PathBufWrap, file_extension_to_mime};
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::base::disk::{CALL_TIMEOUT, Disk, DiskFile};
use crate::http::error::ApiError;
use crate::http::files::{self, FileMeta};
use crate::http::pages;

/// The file that is served for a folder.
const INDEX: &str = "index.html";

/// The only hidden folder that is served.
const WELL_KNOWN: &str = ".well-known";

/// The folder. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::http) struct Docroot(Disk);

/// A file, with the type of its name.
struct Found {
    file: DiskFile,
    meta: FileMeta,
    content_type: String,
}

impl Docroot {
    pub(in crate::http) fn new(folder: Disk) -> Self {
        Self(folder)
    }

    /// Opens `path` within the folder; blocks.
    fn find(&self, path: &Path) -> Option<Found> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, self.0.folder(), flags, Mode::empty()).ok()?;
        let (mut file, mut metadata) = open(&folder, path).ok()?;
        let mut name = path.to_owned();
        if metadata.is_dir() {
            name.push(INDEX);
            (file, metadata) = open(&folder, &name).ok()?;
        }
        if !metadata.is_file() {
            return None;
        }
        let content_type = content_type_of(&name);
        let (file, meta) =
            (DiskFile::new(file, self.0.clone()), FileMeta::from_metadata(&metadata));
        Some(Found { file, meta, content_type })
    }
}

/// Handles every path without another endpoint, if there is a docroot.
pub(in crate::http) async fn serve(
    request: HttpRequest,
    docroot: web::Data<Docroot>,
) -> HttpResponse {
    if request.path().starts_with("/api/") {
        return pages::not_found(request).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return ApiError::WrongMethod { allow: "GET, HEAD" }.error_response();
    }
    let Some(path) = path_of(request.path()) else { return pages::not_found(request).await };
    let own = docroot.as_ref().clone();
    match docroot.0.run(CALL_TIMEOUT, move || own.find(&path)).await {
        Ok(Some(Found { file, meta, content_type })) => {
            files::answer(&request, (file, meta), &content_type, "no-cache")
        }
        Ok(None) => pages::not_found(request).await,
        Err(silent) => ApiError::Silent(silent).error_response(),
    }
}

/// Opens a file below `folder`, without waiting for pipes.
fn open(folder: &OwnedFd, path: &Path) -> io::Result<(File, std::fs::Metadata)> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(folder, path, flags, Mode::empty(), within)?);
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// The path within the folder for a URL; `None` for hidden files.
fn path_of(url: &str) -> Option<PathBuf> {
    let path = PathBuf::from(PathBufWrap::parse_path(url, true).ok()?.as_ref());
    let is_hidden = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
    let shown = path.strip_prefix(WELL_KNOWN).unwrap_or(&path);
    (!shown.components().any(is_hidden)).then_some(path)
}

fn content_type_of(path: &Path) -> String {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let kind = file_extension_to_mime(ending).to_string();
    if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docroot() -> (tempfile::TempDir, Docroot) {
        let folder = tempfile::tempdir().unwrap();
        let docroot = folder.path().join("www");
        std::fs::create_dir_all(docroot.join("deep/.well-known")).unwrap();
        for (file, text) in
            [("www/a.txt", "a"), ("www/deep/index.html", "deep"), ("secret", "secret")]
        {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        let disk = Disk::at(&docroot).unwrap();
        (folder, Docroot::new(disk))
    }

    #[test]
    fn files_and_the_index_of_folders_are_found_and_nothing_outside() {
        let (folder, docroot) = docroot();
        let link = |to: &Path, name: &str| {
            std::os::unix::fs::symlink(to, folder.path().join("www").join(name)).unwrap();
        };
        link(&folder.path().join("secret"), "out");
        link(Path::new("../secret"), "up");
        link(Path::new("a.txt"), "within");
        nix::unistd::mkfifo(&folder.path().join("www/pipe"), nix::sys::stat::Mode::S_IRWXU)
            .unwrap();
        let kind = |path| docroot.find(Path::new(path)).map(|found| found.content_type);
        assert_eq!(kind("a.txt").as_deref(), Some("text/plain; charset=utf-8"));
        assert_eq!(kind("within").as_deref(), Some("application/octet-stream"));
        assert_eq!(kind("deep").as_deref(), Some("text/html; charset=utf-8"));
        for nothing in ["", "b", "out", "up", "pipe", "a.txt/b", "../secret", "/etc/passwd"] {
            assert_eq!(kind(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn hidden_files_are_not_found_but_for_the_well_known_ones() {
        assert_eq!(path_of("/a/b.html"), Some(PathBuf::from("a/b.html")));
        let proof = "/.well-known/acme-challenge/x_-Y";
        assert_eq!(path_of(proof), Some(PathBuf::from(&proof[1..])));
        for hidden in [
            "/.git/config",
            "/a/.b",
            "/a/.well-known/b",
            "/.well-known/.git",
            "/%2e%2e/a",
            "/a%2fb",
        ] {
            assert!(path_of(hidden).is_none_or(|path| path == Path::new("a")), "{hidden}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_url_leads_out_of_the_folder(url in "(/|\\.|%2e|%2f|%00|[a-z]){0,20}") {
            if let Some(path) = path_of(&url) {
                let mut parts = path.components();
                proptest::prop_assert!(parts.all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
