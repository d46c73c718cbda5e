//! The listener: its socket options, its workers, its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_web::dev::{Extensions, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, middleware, web};
use log::debug;

use super::access::Access;
use super::dashboard::Desk;
use super::routes;
use crate::base::system::{self, CpuMeter};
use crate::config::settings;
use crate::engine::roster::Roster;
use crate::model::status::Snapshot;
use crate::outputs::livebox::Livebox;
use crate::outputs::picture::Pictures;
use crate::outputs::push::Push;

/// A peer that takes nothing for this long is gone, whatever it does not say.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// The kernel may hold this much for a viewer. Without the bound it holds
/// seconds of video, and a slow viewer is noticed far too late (measured: 3.3 MB).
const UNSENT_AT_MOST: u32 = 128 << 10;

/// More workers than this gain nothing: a viewer costs a few writes a second.
const WORKERS_AT_MOST: usize = 4;

/// More connections than this a worker does not take; the others wait.
const CONNECTIONS_PER_WORKER: usize = 4096;

/// Everything that handlers may ask.
#[derive(Debug)]
pub struct State {
    pub roster: Arc<Roster>,
    pub pushes: Vec<Arc<Push>>,
    pub livebox: Livebox,
    pub(super) desk: Desk,
    /// Tells this process's segments from those of an earlier one in caches.
    pub(super) mark: String,
    pub(super) pictures: Pictures,
    cpu: Mutex<CpuMeter>,
}

/// Why the service cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "cannot listen on {address}: {}",
        if source.kind() == io::ErrorKind::AddrInUse {
            "another program uses that port; stop it or choose another with --port".to_owned()
        } else {
            source.to_string()
        }
    )]
    Bind { address: SocketAddr, source: io::Error },
    #[error("the web server does not start")]
    Start(#[source] io::Error),
}

/// A listener that is bound, so that a busy port is known before anything starts.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    docroot: Option<PathBuf>,
}

impl State {
    pub fn new(roster: Arc<Roster>, pushes: Vec<Arc<Push>>, livebox: Livebox) -> Self {
        let cpu = Mutex::new(CpuMeter::new(now(), system::cpu_time()));
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mark = format!("{:x}", started.as_secs());
        Self {
            roster,
            pushes,
            livebox,
            desk: Desk::new(),
            mark,
            pictures: Pictures::default(),
            cpu,
        }
    }

    /// What is going on; all pages render this.
    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            feeds: self.roster.shared().iter().map(|feed| feed.status(now)).collect(),
            streams: self.roster.streams().iter().map(|stream| stream.status(now)).collect(),
            pushes: self.pushes.iter().map(|push| push.status(now)).collect(),
        }
    }

    /// The push of this name.
    pub(super) fn push(&self, name: &str) -> Option<&Arc<Push>> {
        self.pushes.iter().find(|push| push.name().as_str() == name)
    }

    /// Bytes that have left the box since the start.
    pub(super) fn bytes_out(&self, now: Instant) -> u64 {
        let snapshot = self.snapshot(now);
        let viewers: u64 = snapshot.streams.iter().map(|stream| stream.bytes_out).sum();
        let pushes: u64 = snapshot.pushes.iter().map(|push| push.bytes_out).sum();
        viewers + pushes
    }

    /// Percent of one core that this process uses.
    pub(super) fn cpu_percent(&self, now: Instant) -> f64 {
        let mut meter = self.cpu.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        meter.look(now, system::cpu_time())
    }
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    /// It is taken, or the address is not one of this machine.
    pub fn bind(settings: &settings::Server) -> Result<Self, ServeError> {
        let address = SocketAddr::new(settings.bind, settings.port);
        let listener = listen(address).map_err(|source| ServeError::Bind { address, source })?;
        Ok(Self { listener, docroot: settings.docroot.clone() })
    }

    /// Starts to answer. The returned future ends when `handle.stop` is called.
    ///
    /// # Errors
    /// Threads or sockets cannot be had.
    pub fn start(
        self,
        state: Arc<State>,
        access: Access,
    ) -> Result<actix_web::dev::Server, ServeError> {
        let (state, access) = (web::Data::from(state), web::Data::new(access));
        let docroot = self.docroot;
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let server = HttpServer::new(move || {
            let roster = Arc::clone(&state.roster);
            App::new()
                .app_data(state.clone())
                .app_data(access.clone())
                .wrap(middleware::DefaultHeaders::new().add(("X-Content-Type-Options", "nosniff")))
                .configure(|service| routes::all(service, &roster, docroot.as_deref()))
        })
        .workers(workers.min(WORKERS_AT_MOST))
        .max_connections(CONNECTIONS_PER_WORKER)
        .disable_signals()
        .on_connect(|connection, _: &mut Extensions| {
            if let Some(socket) = connection.downcast_ref::<TcpStream>() {
                tune(socket);
            }
        })
        .listen(self.listener)
        .map_err(ServeError::Start)?;
        Ok(server.run())
    }
}

/// Ends all connections at once; live ones never end by themselves.
pub async fn stop(handle: &ServerHandle) {
    handle.stop(false).await;
}

/// The clock that handlers go by: the runtime's.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    // A restart must not wait for the old connections to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn tune(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let tuned = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(GONE_AFTER)))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_AT_MOST));
    if let Err(error) = tuned {
        debug!("a socket keeps its defaults: {error}");
    }
}
