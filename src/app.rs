//! Wiring: the order of start and stop. The only module that knows all others.

mod limits;
mod reload;

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use log::{info, warn};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::reload::Reloader;
pub use self::reload::Source;
use crate::base::disk::{Disk, Folders};
use crate::base::shutdown::{self, Shutdown, Trigger};
use crate::base::sockets::SocketFile;
use crate::base::system;
use crate::base::tls::{Change, Tls};
use crate::config::Loaded;
use crate::config::settings::{self, Local, Settings, UnixSocket};
use crate::engine::process::bytes;
use crate::engine::process::{
    PipelineFactory, ProcessPipelines, open_host_program, read_plugins, set_limits,
};
use crate::engine::registry::{self, Registry};
use crate::engine::supervise::watchdog;
use crate::http;
use crate::hub::Read;
use crate::model::ids::StreamName;
use crate::outputs::push::{self, Push};
use crate::outputs::recordings::Recordings;
use crate::outputs::recordings::recorder::Recorder;
use crate::rtsp::RtspListener;
use crate::service::Service;
use crate::service::announce;
use crate::service::reloads::Reloads;
use crate::service::topology::Topology;
use crate::store::state_file::StateFile;

/// The process exits after this time even if something hangs: systemd and users
/// rely on it.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(1800);

/// Time for a folder to answer at the start; a slower one is used once it answers.
const FOLDER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the certificate's files are checked, with two system calls.
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The sockets that are bound before anything starts.
struct Listeners {
    server: http::Server,
    socket: Option<SocketFile>,
    rtsp_listener: Option<RtspListener>,
    tls: Option<Tls>,
}

/// Runs the service with the configuration `loaded` from `source`, until a signal
/// ends it.
///
/// # Errors
/// A socket cannot be bound, a folder cannot be used, or a server does not start.
pub fn serve(loaded: Loaded, source: Source) -> anyhow::Result<()> {
    let settings = &loaded.settings;
    limits::raise_open_files()?;
    open_host_program()?;
    let tls = tls(settings)?;
    let mut folders = Folders::default();
    if let Some(folder) = &settings.log.folder {
        let (disk, own) = (Disk::at(folder)?, folder.clone());
        let tried = disk.run_blocking(FOLDER_TIMEOUT, move || system::check_writable(&own));
        // One that does not answer may answer later.
        tried.unwrap_or(Ok(())).map_err(|error| {
            anyhow::anyhow!("log.folder: cannot write into {folder:?}: {error}")
        })?;
        folders.add("log.folder", disk);
    }
    if let Some(folder) = &settings.server.docroot {
        folders.add("server.docroot", Disk::at(folder)?);
    }
    let mut server = http::Server::bind(&settings.server, tls.as_ref())?;
    let socket = socket_path(&settings.server).map(|path| server.bind_socket(&path)).transpose()?;
    let rtsp_listener = settings.rtsp.as_ref();
    let rtsp_listener = rtsp_listener
        .map(|rtsp| RtspListener::bind(settings.server.bind, rtsp, tls.as_ref()))
        .transpose()?;
    let listeners = Listeners { server, socket, rtsp_listener, tls };
    run_on_runtime(run(loaded, source, listeners, folders))
}

/// Loads the configured certificate, if any.
///
/// # Errors
/// Its files are invalid; names the key of the configuration.
pub fn tls(settings: &Settings) -> anyhow::Result<Option<Tls>> {
    let Some(files) = &settings.server.tls else { return Ok(None) };
    match Tls::load(&files.certificate, &files.key) {
        Ok(tls) => Ok(Some(tls)),
        Err(error) => Err(anyhow::anyhow!("server.tls.{}: {error}", error.part())),
    }
}

/// A warning if every user of this machine may read the private key.
pub fn exposure(tls: &Tls) -> Option<String> {
    let key = tls.exposed_key()?;
    Some(format!(
        "server.tls.key: everybody on this machine may read {key:?}; `chmod o-r` revokes that"
    ))
}

/// Sends the first stream to the first push, if any, and records it to `output`,
/// if any, without servers, until a signal ends it.
///
/// # Errors
/// The camera does not start, the receiver rejects the first attempt, or the disk
/// is full. Later failures of camera and receiver are retried for ever.
pub fn stream(settings: &Settings, output: Option<&Path>) -> anyhow::Result<()> {
    open_host_program()?;
    let recorder = output.map(|path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let disk = Disk::at(folder.unwrap_or(Path::new(".")))?;
        Ok::<_, anyhow::Error>(Recorder::create(path, disk, 0o666)?)
    });
    let recorder = recorder.transpose()?;
    run_on_runtime(send(settings, recorder))
}

fn run_on_runtime(all: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(all);
    // Threads that hang in a driver must not keep the process alive.
    runtime.shutdown_background();
    done
}

async fn send(settings: &Settings, recorder: Option<Recorder>) -> anyhow::Result<()> {
    let (trigger, mut shutdown) = shutdown::channel();
    listen_for_signals(trigger)?;
    prepare_hosts(settings, &mut shutdown).await;
    let pipelines = pipelines(settings);
    let (bytes, mut tasks) = bytes::Registry::new(settings, Arc::clone(&pipelines));
    let (registry, registry_tasks) = Registry::new(settings, &bytes, Arc::clone(&pipelines));
    tasks.extend(registry_tasks);
    let stream = registry.first().context("there is nothing to send")?;
    let mut push = None;
    if let Some(wanted) = settings.pushes.first() {
        let (sending, task) = Push::spawn(wanted, stream, &*pipelines, 0.0);
        tasks.push(task);
        let to = push::destination(wanted, stream).context("there is nowhere to send to")?;
        sending.start(to).await;
        push = Some(sending);
    }
    let recording = async {
        match recorder {
            Some(recorder) => Ok(recorder.record(stream.hub().join(), shutdown.clone()).await?),
            None => {
                shutdown.requested().await;
                Ok(())
            }
        }
    };
    let sent = tokio::select! {
        error = first_failure(stream, push.as_deref()) => Err(error),
        ended = recording => ended,
    };
    info!("ending");
    drop((push, registry, bytes));
    wait_with_timeout(join_all_tasks(tasks)).await;
    sent
}

/// Prepares the pipeline hosts. Reading the plugins takes a while after an installation.
async fn prepare_hosts(settings: &Settings, shutdown: &mut Shutdown) {
    set_limits(settings.limits);
    tokio::select! {
        () = read_plugins() => {}
        () = shutdown.requested() => {}
    }
}

/// The pipelines of the service; must be called on a runtime.
fn pipelines(settings: &Settings) -> Arc<dyn PipelineFactory> {
    let pipelines = ProcessPipelines::default();
    // Encoders are tried early, so that the first viewer does not wait for that.
    if !settings.streams.is_empty() {
        pipelines.try_encoders();
    }
    Arc::new(pipelines)
}

/// The failure of the first attempt; pending for ever after it has succeeded.
async fn first_failure(stream: &registry::Stream, push: Option<&Push>) -> anyhow::Error {
    let begun = async {
        match push {
            Some(push) => push.first_attempt().await,
            None => {
                let mut reader = stream.hub().join();
                while !matches!(reader.next().await, Read::Chunk(_)) {}
                Ok(())
            }
        }
    };
    tokio::select! {
        begun = begun => match begun {
            Ok(()) => std::future::pending().await,
            Err(failure) => anyhow::anyhow!("cannot send: {failure}"),
        },
        () = stream.wait_failed(2) => match stream.last_failure() {
            Some(failure) => anyhow::anyhow!("no picture: {failure}"),
            None => anyhow::anyhow!("no picture"),
        },
    }
}

/// Waits for `ending`, at most [`SHUTDOWN_TIMEOUT`].
async fn wait_with_timeout(ending: impl Future<Output = ()>) {
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, ending).await.is_err() {
        warn!("shutdown timed out; exiting anyway");
    }
}

/// Waits for the tasks to stop their pipelines.
async fn join_all_tasks(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.ok();
    }
}

async fn run(
    loaded: Loaded,
    source: Source,
    listeners: Listeners,
    mut folders: Folders,
) -> anyhow::Result<()> {
    let Listeners { server, socket, rtsp_listener, tls } = listeners;
    let Loaded { settings, origin, .. } = loaded;
    let (trigger, mut shutdown) = shutdown::channel();
    listen_for_signals(trigger)?;
    let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    info!("configuration: {origin}");
    let shown = (source.show)(&settings);
    prepare_hosts(&settings, &mut shutdown).await;
    let state_file = StateFile::open(&state_folder(&settings)).await?;
    folders.add("server.state", state_file.disk().clone());
    let (topology, mut tasks) =
        Topology::new(settings.clone(), shown, state_file, pipelines(&settings)).await;
    let topology = watch::Sender::new(Arc::new(topology));
    if let Some(tls) = tls {
        tasks.push(tokio::spawn(renew(tls, shutdown.clone())));
    }
    if let Some(rtsp_listener) = rtsp_listener {
        let opened = rtsp_listener.open(topology.subscribe(), shutdown.clone());
        tasks.push(opened.context("RTSP does not start")?);
    }
    let watched = topology.subscribe();
    let present = Arc::clone(&topology.borrow());
    let recordings = recordings(&present, &mut folders, shutdown.clone()).await?;
    let (reloads, requests) = Reloads::channel();
    let state_file = present.state_file();
    let service = Service::new(topology.subscribe(), reloads, recordings.clone(), folders);
    let service = Arc::new(service);
    let state = Arc::new(http::state(Arc::clone(&service)));
    let server = server.start(Arc::clone(&state))?;
    let handle = server.handle();
    let server = tokio::spawn(server);
    log_addresses(&settings);
    let announcement = mdns(&settings);
    let reloader = Reloader {
        source: Arc::new(source),
        topology,
        state: Arc::clone(&state),
        recordings: recordings.clone(),
        tasks,
        requests,
        hangups,
        probations: Vec::new(),
        reading: None,
    };
    let reloader = tokio::spawn(reloader.run(shutdown.clone()));
    notify_systemd(&[NotifyState::Ready]);

    tokio::select! {
        () = shutdown.requested() => {}
        never = feed_watchdog(&watched, recordings.as_deref()) => match never {},
        never = service.figures.watch_disk() => match never {},
        never = state_file.keep_trying() => match never {},
    }
    info!("ending");
    notify_systemd(&[NotifyState::Stopping]);
    drop(announcement);
    wait_with_timeout(async {
        http::stop(&handle).await;
        server.await.ok();
        remove(socket).await;
        let tasks = reloader.await.unwrap_or_default();
        if let Some(recordings) = recordings {
            recordings.end().await;
        }
        // The last holders of the supervisors: their tasks stop the pipelines.
        drop((state, watched));
        join_all_tasks(tasks).await;
    })
    .await;
    info!("ended");
    Ok(())
}

/// Removes the file of the Unix socket.
async fn remove(socket: Option<SocketFile>) {
    if let Some(socket) = socket {
        tokio::task::spawn_blocking(|| socket.remove()).await.ok();
    }
}

/// Reloads the certificate when its files change, until shutdown.
async fn renew(tls: Tls, mut shutdown: Shutdown) {
    let checked = tls.clone();
    if let Ok(Some(warning)) = tokio::task::spawn_blocking(move || exposure(&checked)).await {
        warn!("{warning}");
    }
    let mut ticks = tokio::time::interval(CERTIFICATE_CHECK_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.requested() => return,
        }
        let checked = tls.clone();
        match tokio::task::spawn_blocking(move || checked.reload_if_changed()).await {
            Ok(Some(Change::Renewed)) => info!("the certificate was reloaded"),
            Ok(Some(Change::Kept(error))) => {
                warn!("the earlier certificate stays in use: server.tls.{}: {error}", error.part())
            }
            Ok(None) | Err(_) => {}
        }
    }
}

/// Announces the service on the local network, if configured.
fn mdns(settings: &Settings) -> Option<announce::Announcement> {
    let announced = || announce::announce(&system::hostname(), &settings.server);
    settings.server.mdns.then(announced).flatten()
}

/// The recordings of all streams, whose folder is added to `folders`; `None` if there is
/// no folder for them and none is configured or needed.
///
/// # Errors
/// A configured or needed folder cannot be used; names the key.
async fn recordings(
    topology: &Topology,
    folders: &mut Folders,
    shutdown: Shutdown,
) -> anyhow::Result<Option<Arc<Recordings>>> {
    let settings = &*topology.settings;
    let own = state_folder(settings).join("recordings");
    if settings.recordings.folder.is_none() {
        let folder = own.clone();
        // Errors are reported when the folder is opened below.
        Disk::at(&own)?.run(FOLDER_TIMEOUT, move || std::fs::create_dir(&folder).ok()).await.ok();
    }
    let folder = settings.recordings.folder.clone().unwrap_or(own);
    let shown = folder.display().to_string();
    let recordable = topology.recordable();
    let is_planned = recordable.iter().any(|stream| stream.plan != settings::Record::Off);
    match Recordings::open(&settings.recordings, folder, topology.state_file(), shutdown).await {
        Ok(recordings) => {
            folders.add("recordings.folder", recordings.disk().clone());
            recordings.apply(&settings.recordings, recordable).await;
            Ok(Some(recordings))
        }
        Err(error) if is_planned || settings.recordings.folder.is_some() => {
            Err(anyhow::anyhow!("recordings.folder: livebox cannot write to {shown} ({error})"))
        }
        Err(error) => {
            info!("recording is not available: cannot write to {shown} ({error})");
            Ok(None)
        }
    }
}

/// The folder of the state file: as configured, from systemd, or that of the
/// package.
fn state_folder(settings: &Settings) -> PathBuf {
    let from_systemd = std::env::var("STATE_DIRECTORY").ok();
    // Several are separated by colons; the first is ours.
    let from_systemd = from_systemd.as_deref().and_then(|all| all.split(':').next());
    let found = settings.server.state.clone().or(from_systemd.map(PathBuf::from));
    found.unwrap_or_else(|| PathBuf::from("/var/lib/livebox"))
}

/// The path of the Unix socket: as configured, or in the folder from systemd.
fn socket_path(server: &settings::Server) -> Option<PathBuf> {
    match &server.socket {
        UnixSocket::Off => None,
        UnixSocket::At(path) => Some(path.clone()),
        UnixSocket::Own => {
            let folders = std::env::var("RUNTIME_DIRECTORY").ok()?;
            // Several are separated by colons; the first is ours.
            let folder = folders.split(':').next().filter(|folder| !folder.is_empty())?;
            Some(Path::new(folder).join("livebox.sock"))
        }
    }
}

fn log_addresses(settings: &Settings) {
    let settings::Server { bind, port, .. } = &settings.server;
    info!("listening on {}://{}:{port}/", settings.server.scheme(), host(*bind));
    if let Some(path) = socket_path(&settings.server) {
        info!("listening on the Unix socket {path:?}, whose users may change everything");
    }
    log_stream_urls(settings, |_| false);
    match (&settings.access.password, settings.access.local) {
        (None, _) => info!(
            "no password is set: only this machine itself may change anything, and so may \
             everybody whom a proxy on it lets through; run `livebox password` and put the result \
             into the configuration as access.password"
        ),
        (Some(_), Local::Trusted) => info!(
            "access.local is trusted: this machine, and everybody whom a proxy on it lets \
             through, may change everything without the password"
        ),
        (Some(_), Local::Ask) => {}
    }
}

/// Logs the URLs of streams, except for those for which `is_known` holds.
fn log_stream_urls(settings: &Settings, is_known: impl Fn(&StreamName) -> bool) {
    let (scheme, port) = (settings.server.scheme(), settings.server.port);
    let host = host(settings.server.bind);
    for stream in settings.streams.iter().filter(|stream| !is_known(&stream.name)) {
        let url = &stream.url;
        info!(
            "stream {} is at {scheme}://{host}:{port}{url}/ and {scheme}://{host}:{port}{url}.mp4",
            stream.name
        );
        if let Some(rtsp) = &settings.rtsp {
            info!("stream {} is at rtsp://{host}:{}{url}", stream.name, rtsp.port);
            if let (Some(port), Some(_)) = (rtsp.tls_port, &settings.server.tls) {
                info!("stream {} is at rtsps://{host}:{port}{url}", stream.name);
            }
        }
    }
    for stream in settings.byte_streams.iter().filter(|stream| !is_known(&stream.name)) {
        info!("stream {} is at {scheme}://{host}:{port}{}", stream.name, stream.url);
    }
}

fn host(bind: IpAddr) -> String {
    if bind.is_unspecified() { "localhost".to_owned() } else { bind_text(bind) }
}

fn bind_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// Notifies systemd, if it started the service.
fn notify_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("cannot notify systemd: {error}");
    }
}

/// Feeds systemd's watchdog, if the unit has one.
async fn feed_watchdog(
    topology: &watch::Receiver<Arc<Topology>>,
    recordings: Option<&Recordings>,
) -> Infallible {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let supervisors = || {
        let mut all = topology.borrow().supervisors();
        all.extend(recordings.iter().flat_map(|recordings| recordings.supervisors()));
        all
    };
    watchdog::watch(supervisors, period, || notify_systemd(&[NotifyState::Watchdog])).await
}

/// SIGTERM and SIGINT request the shutdown; a second one exits at once.
fn listen_for_signals(trigger: Trigger) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        let mut is_requested = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_requested {
                std::process::exit(130);
            }
            is_requested = true;
            trigger.request();
        }
    });
    Ok(())
}
