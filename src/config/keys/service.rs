//! `server`, `access`, `rtsp` and `log`: the service itself.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use log::LevelFilter;

use crate::base::authority::Host;
use crate::base::disk::{Disk, Silent};
use crate::base::secret::Secret;
use crate::config::problem::quote;
use crate::config::section::{Field, Report, flag, word};
use crate::config::settings::{Access, Local, Log, Login, Rtsp, Server, Tls, UnixSocket};

pub(in crate::config) const SERVER: [&str; 9] =
    ["bind", "port", "socket", "hosts", "docroot", "mdns", "priority", "state", "tls"];
const TLS: [&str; 2] = ["certificate", "key"];
pub(in crate::config) const ACCESS: [&str; 2] = ["password", "local"];
pub(in crate::config) const RTSP: [&str; 5] = ["port", "tls_port", "multicast", "user", "password"];
pub(in crate::config) const LOG: [&str; 2] = ["level", "folder"];

/// A disk that takes longer does not answer.
const FOLDER_TIMEOUT: Duration = Duration::from_secs(2);

const PORT: u16 = 8000;
const RTSP_PORT: u16 = 8554;
const RTSPS_PORT: u16 = 8322;

pub(in crate::config) fn server(field: &Field<'_>, report: &mut Report) -> Server {
    report.keys(field, &SERVER);
    let bind = report.read(&field.at("bind"), address);
    let port = report.read(&field.at("port"), port);
    let socket = report.read(&field.at("socket"), unix_socket);
    let hosts = report.read_list(&field.at("hosts"), host);
    let docroot = report.read(&field.at("docroot"), folder);
    let mdns = report.read(&field.at("mdns"), flag);
    let priority = report.read(&field.at("priority"), priority);
    let state = report.read(&field.at("state"), folder);
    Server {
        bind: bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        port: port.unwrap_or(PORT),
        socket: socket.unwrap_or_default(),
        hosts,
        docroot,
        mdns: mdns.unwrap_or(false),
        priority: priority.unwrap_or(0),
        state,
        tls: tls(&field.at("tls"), report),
    }
}

/// Both files or neither. Their contents are checked when they are loaded.
fn tls(field: &Field<'_>, report: &mut Report) -> Option<Tls> {
    report.keys(field, &TLS);
    let certificate = report.read(&field.at("certificate"), file);
    let key = report.read(&field.at("key"), file);
    for (present, absent) in [("certificate", "key"), ("key", "certificate")] {
        if field.at(present).is_given() && !field.at(absent).is_given() {
            let missing = field.at(absent).path;
            report.add(&field.at(present), format!("has no effect without {missing}"));
        }
    }
    Some(Tls { certificate: certificate?, key: key? })
}

fn access(field: &Field<'_>, report: &mut Report) -> Access {
    report.keys_beside_secrets(field, &ACCESS);
    let password = report.read(&field.at("password"), hash);
    let local = report.read(&field.at("local"), word("a way to treat this machine", &LOCAL));
    Access { password, local: local.unwrap_or_default(), ..Access::default() }
}

pub(in crate::config) const LOCAL: [(&str, Local); 2] =
    [("ask", Local::Ask), ("trusted", Local::Trusted)];

/// The passwords of the sections that have one of their own, besides `access`.
pub(in crate::config) fn passwords(root: &Field<'_>, report: &mut Report) -> Access {
    let access = access(&root.at("access"), report);
    let pages = report.read(&root.at("pages").at("password"), hash);
    let streams = root.at("streams");
    let of_stream = |key: &&str| {
        let hash = report.read(&streams.at(key).at("password"), hash)?;
        // Invalid names are reported where the stream is read.
        Some((key.parse().ok()?, hash))
    };
    let streams = streams.keys().iter().filter_map(of_stream).collect();
    Access { pages, streams, ..access }
}

/// `None` if switched off.
pub(in crate::config) fn rtsp(field: &Field<'_>, report: &mut Report) -> Option<Rtsp> {
    report.keys_beside_secrets(field, &RTSP);
    let port = report.read(&field.at("port"), port_or_off);
    let multicast = report.read(&field.at("multicast"), flag).unwrap_or(false);
    let login = login(field, report);
    let tls_port = report.read(&field.at("tls_port"), port_or_off);
    let port = port.unwrap_or(Some(RTSP_PORT))?;
    let tls_port = tls_port.unwrap_or(Some(RTSPS_PORT));
    Some(Rtsp { port, tls_port, multicast, login })
}

/// Both or neither.
fn login(field: &Field<'_>, report: &mut Report) -> Option<Login> {
    let user = report.read(&field.at("user"), user);
    let password = report.read(&field.at("password"), password);
    for (given, missing) in [("user", "password"), ("password", "user")] {
        if field.at(given).is_given() && !field.at(missing).is_given() {
            report.add(&field.at(given), format!("viewers need a `{missing}` as well"));
        }
    }
    Some(Login { user: user?, password: password? })
}

fn user(text: &str) -> Result<String, String> {
    let is_fit = |c: char| c.is_ascii_graphic() && !r#":",\"#.contains(c);
    let fits = (1..=64).contains(&text.len()) && text.chars().all(is_fit);
    fits.then(|| text.to_owned()).ok_or_else(|| {
        "the name has 1 to 64 ASCII characters, and no colon, comma, quote or space".to_owned()
    })
}

/// Problems do not show the password.
fn password(text: &str) -> Result<Secret, String> {
    let fits = (1..=128).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| Secret::new(text)).ok_or_else(|| "the password has 1 to 128 bytes".to_owned())
}

pub(in crate::config) fn log(field: &Field<'_>, report: &mut Report) -> Log {
    report.keys(field, &LOG);
    let level = report.read(&field.at("level"), word("a log level", &LEVELS));
    let folder = report.read(&field.at("folder"), folder);
    Log { level: level.unwrap_or(LevelFilter::Info), folder }
}

pub(in crate::config) const LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

fn address(text: &str) -> Result<IpAddr, String> {
    match text {
        "*" => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => text.trim_matches(['[', ']']).parse().map_err(|_| {
            let shown = quote(text);
            format!(
                "{shown} is not an IP address (examples: 0.0.0.0, 127.0.0.1, \"::\", localhost)"
            )
        }),
    }
}

fn port(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|port| *port > 0);
    number.ok_or_else(|| format!("{} is not a port from 1 to 65535", quote(text)))
}

/// The maximum length of a socket's path, in bytes (unix(7)).
const MAX_SOCKET_BYTES: usize = 107;

fn unix_socket(text: &str) -> Result<UnixSocket, String> {
    if flag(text) == Ok(false) {
        return Ok(UnixSocket::Off);
    }
    let fits = text.starts_with('/') && !text.ends_with('/') && text.len() <= MAX_SOCKET_BYTES;
    fits.then(|| UnixSocket::At(PathBuf::from(text))).ok_or_else(|| {
        let shown = quote(text);
        format!("{shown} is neither off nor a whole path of {MAX_SOCKET_BYTES} bytes at most")
    })
}

/// Parses a host name, without a port.
fn host(text: &str) -> Result<String, String> {
    match Host::parse(text) {
        Some(Host::Name(name)) => Ok(name.to_owned()),
        Some(Host::Address(_)) => {
            Err(format!("{} is an address; all of those are answered anyway", quote(text)))
        }
        None => Err(format!("{} is not the name of a host, as in box.example", quote(text))),
    }
}

fn priority(text: &str) -> Result<i32, String> {
    let number = text.parse().ok().filter(|nice| (-20..=19).contains(nice));
    number.ok_or_else(|| format!("{} is not a priority from -20 (first) to 19 (last)", quote(text)))
}

fn port_or_off(text: &str) -> Result<Option<u16>, String> {
    if flag(text) == Ok(false) {
        return Ok(None);
    }
    let wanted = |_| format!("{} is neither a port from 1 to 65535 nor off", quote(text));
    port(text).map(Some).map_err(wanted)
}

pub(super) fn folder(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let own = path.clone();
    let is_folder =
        Disk::at(&path).map(|disk| disk.run_blocking(FOLDER_TIMEOUT, move || own.is_dir()));
    match is_folder {
        Ok(Ok(false)) => Err(format!("{} is not an existing folder", quote(text))),
        // A disk that does not answer may do so later; the service starts without it.
        Ok(Ok(true) | Err(Silent)) | Err(_) => Ok(path),
    }
}

pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    // A key that is pasted in place of its file must not be shown.
    let is_pem = text.contains("-----");
    match text.is_empty() || is_pem {
        true => Err("must be the path of a PEM file".to_owned()),
        false => Ok(PathBuf::from(text)),
    }
}

/// Maximum cost of a password check: memory in KiB (64 MiB, the recommendation of
/// RFC 9106 for small machines; a small board has 512), passes, threads.
const MAX_COST: (u32, u32, u32) = (64 << 10, 10, 8);

/// Problems do not show the hash: it may be a plain password by mistake.
fn hash(text: &str) -> Result<Secret, String> {
    let parsed = PasswordHash::new(text).ok().filter(|_| text.starts_with("$argon2"));
    let params = parsed.and_then(|parsed| argon2::Params::try_from(&parsed).ok());
    let params = params.ok_or_else(|| {
        "the password is not an argon2 hash; `livebox password` makes one from a password"
            .to_owned()
    })?;
    let (memory, passes, threads) = MAX_COST;
    let cost = (params.m_cost(), params.t_cost(), params.p_cost());
    if cost.0 > memory || cost.1 > passes || cost.2 > threads {
        return Err(format!(
            "each check of the password would take m={},t={},p={}; at most m={memory},t={passes},\
             p={threads} is allowed, and `livebox password` makes a hash that costs less",
            cost.0, cost.1, cost.2
        ));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_header_are_refused() {
        assert_eq!(user("anna.7"), Ok("anna.7".to_owned()));
        for bad in ["", "a:b", "a,b", "a\"b", "a b", "a\\b", "\u{e4}", &"x".repeat(65)] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_in_place_of_its_file_is_refused_and_not_shown() {
        assert_eq!(file("/a/b.pem"), Ok(PathBuf::from("/a/b.pem")));
        for bad in ["", "-----BEGIN PRIVATE KEY----- MIIE"] {
            assert_eq!(file(bad), Err("must be the path of a PEM file".to_owned()));
        }
    }

    #[test]
    fn a_hash_that_costs_too_much_is_refused_and_not_shown() {
        let with = |cost: &str| {
            hash(&format!("$argon2id$v=19${cost}$c29tZXNhbHRzb21l$YXNoYXNoYXNoYXNoYXNoYXNo"))
        };
        for fine in ["m=19456,t=2,p=1", "m=65536,t=3,p=4", "m=4096,t=3,p=1"] {
            assert!(with(fine).is_ok(), "{fine}");
        }
        for bad in ["m=65537,t=1,p=1", "m=4194304,t=1,p=1", "m=8192,t=11,p=1", "m=8192,t=1,p=9"] {
            let problem = with(bad).unwrap_err();
            assert!(problem.contains(bad) && !problem.contains("c29tZXNh"), "{problem}");
        }
        for none in ["m=x,t=1,p=1", "m=4294967295999,t=1,p=1", "m=0,t=1,p=1"] {
            assert!(with(none).unwrap_err().contains("not an argon2 hash"), "{none}");
        }
    }

    #[test]
    fn a_unix_socket_is_a_whole_path_or_off() {
        assert_eq!(unix_socket("off"), Ok(UnixSocket::Off));
        assert_eq!(unix_socket("/run/a.sock"), Ok(UnixSocket::At(PathBuf::from("/run/a.sock"))));
        for bad in ["", "a.sock", "/run/", &format!("/{}", "a".repeat(107))] {
            assert!(unix_socket(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_of_the_server_is_a_host_name_alone() {
        assert_eq!(host("box.example"), Ok("box.example".to_owned()));
        for bad in ["", "box:8000", "http://box", "192.0.2.1", "*.example", "a b"] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rtsp_has_a_port_or_is_off() {
        assert_eq!(port_or_off("8554"), Ok(Some(8554)));
        assert_eq!(port_or_off("off"), Ok(None));
        assert_eq!(port_or_off("false"), Ok(None));
        for bad in ["65536", "-1", "on", "true", "rtsp", ""] {
            assert!(port_or_off(bad).is_err(), "{bad:?}");
        }
    }
}
