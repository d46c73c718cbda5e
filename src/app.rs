//! Wiring: what starts in which order, and how it ends. The only place that
//! knows everyone.

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

use self::reload::Reader;
pub use self::reload::Source;
use crate::base::disk::{Disk, Folders};
use crate::base::shutdown::{self, Shutdown, Trigger};
use crate::base::sockets::SocketFile;
use crate::base::system;
use crate::base::tls::{Change, Tls};
use crate::config::Loaded;
use crate::config::settings::{self, Local, Settings, UnixSocket};
use crate::engine::process::bytes;
use crate::engine::process::{read_plugins, set_limits};
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

/// After this long the process leaves, whoever still hangs: systemd and people
/// count on it.
const LEAVE_AFTER: Duration = Duration::from_millis(1800);

/// A folder that has not answered by then is used once it does.
const FOLDER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the certificate's files are looked at: two system calls.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is bound before anything starts.
struct Listeners {
    server: http::Server,
    socket: Option<SocketFile>,
    door: Option<RtspListener>,
    tls: Option<Tls>,
}

/// Runs the service on what was `loaded` from `source`, until it is told to end.
///
/// # Errors
/// It cannot be reached or cannot start; says why.
pub fn serve(loaded: Loaded, source: Source) -> anyhow::Result<()> {
    let settings = &loaded.settings;
    limits::raise_open_files()?;
    let tls = tls(settings)?;
    let mut folders = Folders::default();
    if let Some(folder) = &settings.log.folder {
        let (disk, own) = (Disk::at(folder)?, folder.clone());
        let tried = disk.run_blocking(FOLDER_TIMEOUT, move || system::check_writable(&own));
        // One that does not answer may do so later.
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
    let door = settings.rtsp.as_ref();
    let door = door
        .map(|rtsp| RtspListener::bind(settings.server.bind, rtsp, tls.as_ref()))
        .transpose()?;
    let listeners = Listeners { server, socket, door, tls };
    on_a_runtime(run(loaded, source, listeners, folders))
}

/// The certificate that the configuration names, if it names one.
///
/// # Errors
/// Its files are no use; names the key of the configuration.
pub fn tls(settings: &Settings) -> anyhow::Result<Option<Tls>> {
    let Some(files) = &settings.server.tls else { return Ok(None) };
    match Tls::load(&files.certificate, &files.key) {
        Ok(tls) => Ok(Some(tls)),
        Err(error) => Err(anyhow::anyhow!("server.tls.{}: {error}", error.part())),
    }
}

/// What to warn of if everybody on this machine may read the key.
pub fn exposure(tls: &Tls) -> Option<String> {
    let key = tls.exposed_key()?;
    Some(format!(
        "server.tls.key: everybody on this machine may read {key:?}; `chmod o-r` takes that away"
    ))
}

/// Sends the first stream to the first push, if any, and records it to
/// `output`, if any, without the service around it, until it is told to end.
///
/// # Errors
/// The camera does not come up, the receiver refuses the very first attempt,
/// or the disk takes no more; says why. Later failures of camera and receiver
/// are tried again for ever.
pub fn stream(settings: &Settings, output: Option<&Path>) -> anyhow::Result<()> {
    let recorder = output.map(|path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let disk = Disk::at(folder.unwrap_or(Path::new(".")))?;
        Ok::<_, anyhow::Error>(Recorder::create(path, disk, 0o666)?)
    });
    let recorder = recorder.transpose()?;
    on_a_runtime(send(settings, recorder))
}

fn on_a_runtime(all: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
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
    begin_hosts(settings, &mut shutdown).await;
    let (bytes, mut tasks) = bytes::Registry::new(settings);
    let (registry, of_tracks) = Registry::new(settings, &bytes);
    tasks.extend(of_tracks);
    let stream = registry.first().context("there is nothing to send")?;
    let mut push = None;
    if let Some(wanted) = settings.pushes.first() {
        let (sending, task) = Push::spawn(wanted, stream, 0.0);
        tasks.push(task);
        let to = push::destination(wanted, stream).context("there is nowhere to send to")?;
        sending.start(to).await;
        push = Some(sending);
    }
    let until_the_end = async {
        match recorder {
            Some(recorder) => Ok(recorder.record(stream.hub().join(), shutdown.clone()).await?),
            None => {
                shutdown.requested().await;
                Ok(())
            }
        }
    };
    let sent = tokio::select! {
        error = refusal(stream, push.as_deref()) => Err(error),
        ended = until_the_end => ended,
    };
    info!("ending");
    drop((push, registry, bytes));
    in_time(all_end(tasks)).await;
    sent
}

/// Prepares what hosts need. Reading the plugins takes a while after an installation.
async fn begin_hosts(settings: &Settings, shutdown: &mut Shutdown) {
    set_limits(settings.limits);
    tokio::select! {
        () = read_plugins() => {}
        () = shutdown.requested() => {}
    }
}

/// Why nothing can be sent at all; never returns once something was.
async fn refusal(stream: &registry::Stream, push: Option<&Push>) -> anyhow::Error {
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

/// Waits for `ending` as long as that is worth it.
async fn in_time(ending: impl Future<Output = ()>) {
    if tokio::time::timeout(LEAVE_AFTER, ending).await.is_err() {
        warn!("something hangs; leaving without it");
    }
}

/// Waits for the tasks to stop their pipelines.
async fn all_end(tasks: Vec<JoinHandle<()>>) {
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
    let Listeners { server, socket, door, tls } = listeners;
    let Loaded { settings, origin, .. } = loaded;
    let (trigger, mut shutdown) = shutdown::channel();
    listen_for_signals(trigger)?;
    let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    info!("configuration: {origin}");
    let shown = (source.show)(&settings);
    begin_hosts(&settings, &mut shutdown).await;
    let state_file = StateFile::open(&state_folder(&settings)).await?;
    folders.add("server.state", state_file.disk().clone());
    let (topology, mut tasks) = Topology::new(settings.clone(), shown, state_file).await;
    let topology = watch::Sender::new(Arc::new(topology));
    if let Some(tls) = tls {
        tasks.push(tokio::spawn(renew(tls, shutdown.clone())));
    }
    if let Some(door) = door {
        let opened = door.open(topology.subscribe(), shutdown.clone());
        tasks.push(opened.context("RTSP does not start")?);
    }
    let watched = topology.subscribe();
    let present = Arc::clone(&topology.borrow());
    let recordings = recordings(&present, shutdown.clone()).await?;
    if let Some(recordings) = &recordings {
        folders.add("recordings.folder", recordings.disk().clone());
    }
    let (reloads, asked) = Reloads::channel();
    let state_file = present.state_file();
    let service = Service::new(topology.subscribe(), reloads, recordings.clone(), folders);
    let service = Arc::new(service);
    let state = Arc::new(http::state(Arc::clone(&service)));
    let server = server.start(Arc::clone(&state))?;
    let handle = server.handle();
    let server = tokio::spawn(server);
    announce(&settings);
    let announcement = mdns(&settings);
    let reader = Reader {
        source: Arc::new(source),
        topology,
        state: Arc::clone(&state),
        recordings: recordings.clone(),
        tasks,
        asked,
        hangups,
        probations: Vec::new(),
        reading: None,
    };
    let reader = tokio::spawn(reader.read(shutdown.clone()));
    tell_systemd(&[NotifyState::Ready]);

    tokio::select! {
        () = shutdown.requested() => {}
        never = feed_watchdog(&watched, recordings.as_deref()) => match never {},
        never = service.figures.watch_disk() => match never {},
        never = state_file.keep_trying() => match never {},
    }
    info!("ending");
    tell_systemd(&[NotifyState::Stopping]);
    drop(announcement);
    in_time(async {
        http::stop(&handle).await;
        server.await.ok();
        remove(socket).await;
        let tasks = reader.await.unwrap_or_default();
        if let Some(recordings) = recordings {
            recordings.end().await;
        }
        // The last holders of the supervisors: their tasks stop the pipelines.
        drop((state, watched));
        all_end(tasks).await;
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

/// Takes a renewed certificate into use, for as long as the service runs.
async fn renew(tls: Tls, mut shutdown: Shutdown) {
    let looking = tls.clone();
    if let Ok(Some(warning)) = tokio::task::spawn_blocking(move || exposure(&looking)).await {
        warn!("{warning}");
    }
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = shutdown.requested() => return,
        }
        let looking = tls.clone();
        match tokio::task::spawn_blocking(move || looking.reload_if_changed()).await {
            Ok(Some(Change::Renewed)) => info!("a new certificate is in use"),
            Ok(Some(Change::Kept(error))) => {
                warn!("the earlier certificate stays in use: server.tls.{}: {error}", error.part())
            }
            Ok(None) | Err(_) => {}
        }
    }
}

/// Announces the service on the local network, if the configuration wants that.
fn mdns(settings: &Settings) -> Option<announce::Announcement> {
    let announced = || announce::announce(&system::hostname(), &settings.server);
    settings.server.mdns.then(announced).flatten()
}

/// The recordings of all streams; none where there is no folder for them and
/// nobody asks for one.
///
/// # Errors
/// The folder that is asked for cannot be used; names the key.
async fn recordings(
    topology: &Topology,
    shutdown: Shutdown,
) -> anyhow::Result<Option<Arc<Recordings>>> {
    let settings = &*topology.settings;
    let own = state_folder(settings).join("recordings");
    if settings.recordings.folder.is_none() {
        let folder = own.clone();
        // What comes of it is seen right below.
        Disk::at(&own)?.run(FOLDER_TIMEOUT, move || std::fs::create_dir(&folder).ok()).await.ok();
    }
    let folder = settings.recordings.folder.clone().unwrap_or(own);
    let shown = folder.display().to_string();
    let recordable = topology.recordable();
    let is_planned = recordable.iter().any(|stream| stream.plan != settings::Record::Off);
    match Recordings::open(&settings.recordings, folder, topology.state_file(), shutdown).await {
        Ok(recordings) => {
            recordings.apply(&settings.recordings, recordable).await;
            Ok(Some(recordings))
        }
        Err(error) if is_planned || settings.recordings.folder.is_some() => {
            Err(anyhow::anyhow!("recordings.folder: livebox cannot write to {shown} ({error})"))
        }
        Err(error) => {
            info!("nothing can be recorded: {shown} cannot be written ({error})");
            Ok(None)
        }
    }
}

/// Where state is kept: as configured, as systemd says, or where the package
/// has its folder.
fn state_folder(settings: &Settings) -> PathBuf {
    let from_systemd = std::env::var("STATE_DIRECTORY").ok();
    // Several are separated by colons; the first is ours.
    let from_systemd = from_systemd.as_deref().and_then(|all| all.split(':').next());
    let found = settings.server.state.clone().or(from_systemd.map(PathBuf::from));
    found.unwrap_or_else(|| PathBuf::from("/var/lib/livebox"))
}

/// Where the Unix socket is: as configured, or where systemd says.
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

fn announce(settings: &Settings) {
    let settings::Server { bind, port, .. } = &settings.server;
    info!("listening on {}://{}:{port}/", settings.server.scheme(), host(*bind));
    if let Some(path) = socket_path(&settings.server) {
        info!("listening on the Unix socket {path:?}, whose users may change everything");
    }
    announce_streams(settings, |_| false);
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

/// Says where streams are found, but for those that are known.
fn announce_streams(settings: &Settings, is_known: impl Fn(&StreamName) -> bool) {
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

/// Says how far the service is, where systemd started it.
fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("systemd cannot be told: {error}");
    }
}

/// Feeds systemd's watchdog, where the unit has one.
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
    watchdog::watch(supervisors, period, || tell_systemd(&[NotifyState::Watchdog])).await
}

/// SIGTERM and SIGINT ask for the end; a second one leaves at once.
fn listen_for_signals(trigger: Trigger) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked {
                std::process::exit(130);
            }
            asked = true;
            trigger.request();
        }
    });
    Ok(())
}
