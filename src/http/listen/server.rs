//! The HTTP server: its listeners, its workers, its middleware and its stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_service::{
    Service as _, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config,
};
use actix_web::dev::{AppConfig, ServerHandle};
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::{App, middleware, web};
use log::debug;

use super::ambiguity;
use super::connection::Connection;
use super::exchange::{self, Ended, HEAD_TIMEOUT};
use super::head::Refusal;
use super::journal::{self, HasLogged};
use crate::base::disk::Disk;
use crate::base::sockets::{self, SocketFile};
use crate::base::system;
use crate::base::tls::Tls;
use crate::config::settings;
use crate::http::access;
use crate::http::error;
use crate::http::listen::accept::{Accepted, Acceptor};
use crate::http::media::notifier::Notifiers;
use crate::http::origin::Scheme;
use crate::http::pages::docroot::Docroot;
use crate::http::pages::error_page;
use crate::http::routes;
use crate::http::state::State;

/// Bytes that the server gathers before it sends them: none. So a body is polled
/// only after everything before it was sent, which lets it write to the socket
/// itself (`body`), and the buffers of connections stay small.
pub(in crate::http) const WRITE_BUFFER_BYTES: usize = 1;

/// More workers than this gain nothing: a viewer costs a few writes a second.
const MAX_WORKERS: usize = 4;

/// Above the acceptor's limit: the acceptor must see every connection to bound them.
const CONNECTIONS_PER_WORKER: usize = 1 << 16;

/// Time for a connection to close.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the HTTP server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "cannot listen on {address}: {}",
        sockets::listen_error(*address, error, "stop it or choose another with --port")
    )]
    Bind { address: SocketAddr, error: io::Error },
    #[error(
        "server.socket: cannot listen on {path:?}: {}",
        if error.kind() == io::ErrorKind::AddrInUse {
            "another program listens there".to_owned()
        } else {
            error.to_string()
        }
    )]
    Socket { path: PathBuf, error: io::Error },
    #[error("cannot start the web server")]
    Start(#[source] io::Error),
}

/// A bound server that does not answer yet, so that a busy port is known before
/// anything starts.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local: Option<UnixListener>,
    docroot: Option<Docroot>,
    acceptor: Acceptor,
    scheme: Scheme,
}

impl Server {
    /// Binds the configured address; speaks HTTPS if there is a certificate.
    ///
    /// # Errors
    /// The port is in use, the address is not one of this machine, or the
    /// document root cannot be opened.
    pub fn bind(settings: &settings::Server, tls: Option<&Tls>) -> Result<Self, ServeError> {
        let address = SocketAddr::new(settings.bind, settings.port);
        let listener =
            sockets::listen(address).map_err(|error| ServeError::Bind { address, error })?;
        let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
        let docroot = settings.docroot.as_deref().map(Disk::at).transpose();
        let docroot = docroot.map_err(ServeError::Start)?.map(Docroot::new);
        let acceptor = Acceptor::new(tls, system::max_open_files());
        Ok(Self { listener, local: None, docroot, acceptor, scheme })
    }

    /// Listens on a Unix socket as well, whose users need no password; blocks.
    /// Returns the socket's file, which must be removed at the end.
    ///
    /// # Errors
    /// The socket cannot be created, or another program listens there.
    pub fn bind_socket(&mut self, path: &Path) -> Result<SocketFile, ServeError> {
        let at_path = |error| ServeError::Socket { path: path.to_owned(), error };
        let (listener, file) = sockets::listen_unix(path).map_err(at_path)?;
        self.local = Some(listener);
        Ok(file)
    }

    /// Starts the workers. The returned future ends when `handle.stop` is called.
    ///
    /// # Errors
    /// The listeners cannot be registered.
    pub fn start(self, state: Arc<State>) -> Result<actix_web::dev::Server, ServeError> {
        let Self { listener, local, docroot, acceptor, scheme } = self;
        let state = web::Data::from(state);
        let operators = state.clone();
        let acceptor = acceptor
            .with_privilege(move |peer, head| access::is_privileged(&operators, peer, head));
        let app = Application { state, docroot, acceptor };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let local_app = app.clone();
        let server = actix_server::Server::build()
            .workers(workers.min(MAX_WORKERS))
            .max_concurrent_connections(CONNECTIONS_PER_WORKER)
            .disable_signals();
        let serve = move || {
            let acceptor = app.acceptor.clone();
            fn_service(move |socket| admit(acceptor.clone(), socket)).and_then(app.http(scheme))
        };
        let mut server = server.listen("http", listener, serve).map_err(ServeError::Start)?;
        if let Some(local) = local {
            let serve = move || {
                let acceptor = local_app.acceptor.clone();
                let admit = fn_service(move |socket| admit_local(acceptor.clone(), socket));
                admit.and_then(local_app.http(Scheme::Http))
            };
            let listening = server.listen_uds("http on a Unix socket", local, serve);
            server = listening.map_err(ServeError::Start)?;
        }
        Ok(server.run())
    }
}

/// The parts of the application that every worker needs.
#[derive(Clone)]
struct Application {
    state: web::Data<State>,
    docroot: Option<Docroot>,
    acceptor: Acceptor,
}

impl Application {
    /// Builds the HTTP service of a worker. `HttpServer` would, but takes no acceptor.
    fn http(
        &self,
        scheme: Scheme,
    ) -> impl ServiceFactory<Admitted, Config = (), Response = (), Error = (), InitError = ()> + use<>
    {
        let Self { state, docroot, acceptor } = self.clone();
        let app = App::new()
            .app_data(state)
            .app_data(scheme)
            .app_data(Notifiers::default())
            .app_data(web::QueryConfig::default().error_handler(error::unreadable_query))
            .wrap(middleware::from_fn(ambiguity::reject))
            .wrap(middleware::from_fn(error_page::show))
            .wrap(middleware::from_fn(exchange::limit))
            .wrap(middleware::from_fn(journal::log_request))
            .wrap(middleware::DefaultHeaders::new().add(("X-Content-Type-Options", "nosniff")))
            .configure(|service| routes::all(service, docroot.as_ref()));
        let http = HttpService::build()
            .client_request_timeout(HEAD_TIMEOUT)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .h1_write_buffer_size(WRITE_BUFFER_BYTES)
            // So a closed connection is noticed also while there is nothing to send.
            .h1_allow_half_closed(false)
            .on_connect_ext(|accepted: &Accepted, extensions| {
                extensions.insert(HasLogged::default());
                accepted.insert_into(extensions);
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let http = apply_fn_factory(http, move |(mut accepted, peer): Admitted, http| {
            let (exchange, connection, transport) =
                (accepted.exchange(), accepted.connection(), accepted.transport());
            let (eviction, acceptor) = (accepted.take_eviction(), acceptor.clone());
            let served = http.call((accepted, peer));
            async move {
                let ended = exchange::serve(&exchange, eviction, served).await;
                match ended {
                    Ended::Served(served) => log_malformed(served, &acceptor, peer),
                    Ended::TimedOut => transport.send_last(&Refusal::TooSlow.answer()).await,
                    Ended::Evicted => evict(connection.as_deref()),
                }
                acceptor.connection_ended();
                Ok::<_, DispatchError>(())
            }
        });
        http.map_err(|_| ()).map_init_err(|_| ())
    }
}

/// An accepted connection and its peer.
type Admitted = (Accepted, Option<SocketAddr>);

async fn admit(acceptor: Acceptor, socket: TcpStream) -> Result<Admitted, ()> {
    let peer = socket.peer_addr().ok();
    acceptor.admit(socket).await.map(|accepted| (accepted, peer)).ok_or(())
}

async fn admit_local(acceptor: Acceptor, socket: UnixStream) -> Result<Admitted, ()> {
    acceptor.admit_local(socket).await.map(|accepted| (accepted, None)).ok_or(())
}

fn log_malformed(served: Result<(), DispatchError>, acceptor: &Acceptor, peer: Option<SocketAddr>) {
    if let Err(DispatchError::Parse(error)) = served {
        debug!("a malformed request: {error}");
        acceptor.log_malformed(peer.map(|peer| peer.ip()));
    }
}

fn evict(connection: Option<&Connection>) {
    debug!("connection evicted: its client reads nothing");
    if let Some(connection) = connection {
        connection.reset();
    }
}

/// Closes all connections at once: those of viewers never end by themselves.
pub async fn stop(handle: &ServerHandle) {
    handle.stop(false).await;
}
