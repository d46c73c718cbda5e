//! The sandbox of hosts that parse untrusted media, applied once their libraries are
//! loaded: access to plugins, devices and the files of the job; no other file,
//! connection or process. By Landlock, as far as the
//! kernel has it (files since 5.13, TCP since 6.7, signals since 6.12), and by
//! refusing system calls ([`super::syscalls`]).

use std::env;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, NetPort, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use super::needs::{Network, Reach};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::syscalls;

/// The newest Landlock version that is used; an older kernel enforces the rights it knows.
const RIGHTS: ABI = ABI::V6;

/// Libraries, plugins and their data. Not all of `/etc`: the configuration is there.
const LIBRARIES: [&str; 8] = [
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/self",
    "/sys/devices/system/cpu",
];

/// Where else GStreamer's plugins may be.
const PLUGIN_VARIABLES: [&str; 4] = [
    "GST_PLUGIN_PATH",
    "GST_PLUGIN_PATH_1_0",
    "GST_PLUGIN_SYSTEM_PATH",
    "GST_PLUGIN_SYSTEM_PATH_1_0",
];

/// Hardware encoders and decoders are devices.
const DEVICES: &str = "/dev";

/// Where plugins enumerate devices, when their first element is made.
const DEVICE_LISTS: [&str; 4] = ["/proc/devices", "/proc/driver", "/run/udev", "/sys"];

/// Devices that libraries of all kinds open.
const PLAIN_DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];

/// Files for name resolution and certificates. A file that is replaced later is not seen
/// by this process, but by the next one.
const NETWORK: [&str; 9] = [
    "/etc/gai.conf",
    "/etc/gnutls",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/run/systemd/resolve",
];

/// The port of DNS: long responses come over TCP.
const DNS: u16 = 53;

/// Confines this process to `reach`. If the kernel or container does not support that,
/// resource limits and dropped privileges remain. Threads that were started before can
/// read all files.
pub(super) fn confine(reach: &Reach) {
    restrict(reach).ok();
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    syscalls::refuse(reach.network).ok();
}

fn restrict(reach: &Reach) -> Result<RestrictionStatus, RulesetError> {
    let plugins = PLUGIN_VARIABLES.into_iter().filter_map(env::var_os);
    let plugins: Vec<PathBuf> =
        plugins.flat_map(|list| env::split_paths(&list).collect::<Vec<_>>()).collect();
    let (network, ports): (&[&str], _) = match reach.network {
        Network::None => (&[], Vec::new()),
        Network::Client => (&NETWORK, [&reach.ports[..], &[DNS]].concat()),
    };
    let ports = ports.into_iter().map(|port| NetPort::new(port, AccessNet::ConnectTcp));
    let (devices, which): (&[&str], &[&str]) =
        if reach.devices { (&[DEVICES], &DEVICE_LISTS) } else { (&PLAIN_DEVICES, &[]) };
    let read = AccessFs::from_read(RIGHTS);
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev;
    Ruleset::default()
        .handle_access(AccessFs::from_all(RIGHTS))?
        .handle_access(AccessNet::from_all(RIGHTS))?
        .scope(Scope::from_all(RIGHTS))?
        .create()?
        .add_rules(path_beneath_rules(LIBRARIES, read))?
        .add_rules(path_beneath_rules(network, read))?
        .add_rules(ports.map(Ok::<_, RulesetError>))?
        .add_rules(path_beneath_rules(plugins, read))?
        .add_rules(path_beneath_rules(&reach.readable, read))?
        .add_rules(path_beneath_rules(devices, device))?
        .add_rules(path_beneath_rules(which, read))?
        .add_rules(path_beneath_rules(&reach.folders, AccessFs::from_all(RIGHTS)))?
        .restrict_self()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{ErrorKind, Result};
    use std::net::{TcpListener, TcpStream};

    use landlock::RulesetStatus;

    use super::*;

    fn is_denied<T>(tried: Result<T>) -> bool {
        tried.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    #[test]
    fn a_confined_thread_reaches_its_own_folder_and_nothing_else() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("secret"), "key").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let confined = std::thread::spawn(move || {
            let readable = other.path().join("certificate");
            fs::write(&readable, "public").unwrap();
            let reach = Reach {
                network: Network::None,
                ports: Vec::new(),
                devices: true,
                folders: vec![own.path().to_owned()],
                readable: vec![readable.clone()],
            };
            let status = restrict(&reach).unwrap();
            assert_eq!(fs::read(&readable).unwrap(), b"public");
            assert!(is_denied(fs::write(&readable, "")));
            assert!(is_denied(fs::read(other.path().join("secret"))));
            assert!(is_denied(fs::write(other.path().join("new"), "")));
            assert!(is_denied(fs::read("/etc/passwd")));
            fs::write(own.path().join("film.mp4"), "film").unwrap();
            assert_eq!(fs::read(own.path().join("film.mp4")).unwrap(), b"film");
            fs::read_dir("/usr/lib").unwrap();
            fs::read_dir("/sys/class").unwrap();
            if status.ruleset == RulesetStatus::FullyEnforced {
                assert!(is_denied(TcpStream::connect(address)));
            }
        });
        confined.join().unwrap();
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_client_of_the_network_connects_to_its_ports_and_does_not_listen() {
        let [its, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [its, other] = [&its, &other].map(|one| one.local_addr().unwrap());
        let confined = std::thread::spawn(move || {
            let (ports, folders, readable) = (vec![its.port()], Vec::new(), Vec::new());
            let network = Network::Client;
            let reach = Reach { network, ports, devices: false, folders, readable };
            let status = restrict(&reach).unwrap();
            assert!(is_denied(fs::read_dir("/dev")));
            fs::read("/dev/null").unwrap();
            fs::read("/etc/hosts").unwrap();
            if status.ruleset == RulesetStatus::FullyEnforced {
                TcpStream::connect(its).unwrap();
                assert!(is_denied(TcpStream::connect(other)));
                assert!(is_denied(TcpListener::bind("127.0.0.1:0")));
            }
        });
        confined.join().unwrap();
    }
}
