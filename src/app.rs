//! Wiring: what starts in which order, and how it ends. The only place that
//! knows everyone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use log::{info, warn};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::base::shutdown::{self, Shutdown, Trigger};
use crate::base::system;
use crate::base::tls::{News, Tls};
use crate::config::settings::{self, Settings};
use crate::engine::gst;
use crate::engine::roster::{self, Roster};
use crate::http;
use crate::outputs::announce;
use crate::outputs::livebox::{self, Livebox};
use crate::outputs::memory::Memory;
use crate::outputs::push::{self, Push};
use crate::outputs::rtsp::Door;

/// After this long the process leaves, whoever still hangs: systemd and people
/// count on it.
const LEAVE_AFTER: Duration = Duration::from_millis(1800);

/// How often the certificate's files are looked at: two system calls.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Runs the service until it is told to end. `shown` is the configuration as
/// `/config` may show it.
///
/// # Errors
/// It cannot be reached or cannot start; says why.
pub fn serve(settings: &Settings, origin: &str, shown: String) -> anyhow::Result<()> {
    let tls = tls(settings)?;
    let server = http::Server::bind(&settings.server, tls.as_ref())?;
    let door = settings.rtsp.as_ref();
    let door = door.map(|rtsp| Door::bind(settings.server.bind, rtsp, tls.as_ref())).transpose()?;
    on_a_runtime(run(settings, origin, shown, server, door, tls))
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

/// Sends the first stream to the first push, without the service around it,
/// until it is told to end.
///
/// # Errors
/// The camera does not come up, or the receiver refuses the very first
/// attempt; says why. Later failures are tried again for ever.
pub fn stream(settings: &Settings) -> anyhow::Result<()> {
    on_a_runtime(send(settings))
}

fn on_a_runtime(all: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    gst::init()?;
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

async fn send(settings: &Settings) -> anyhow::Result<()> {
    let (trigger, shutdown) = shutdown::channel();
    listen_for_signals(trigger)?;
    let (roster, mut tasks) = Roster::new(settings);
    let wanted = settings.pushes.first().context("there is nothing to send")?;
    let (push, task) = Push::spawn(wanted, roster.first().hub(), 0.0);
    tasks.push(task);
    push.start(push::destination(wanted).context("there is nowhere to send to")?);
    let sent = tokio::select! {
        error = refusal(roster.first(), &push) => Err(error),
        () = end_of(shutdown) => Ok(()),
    };
    info!("ending");
    drop((push, roster));
    all_end(tasks).await;
    sent
}

/// Why nothing can be sent at all; never returns once something was.
async fn refusal(stream: &roster::Stream, push: &Push) -> anyhow::Error {
    tokio::select! {
        sent = push.first_try() => match sent {
            Ok(()) => std::future::pending().await,
            Err(failure) => anyhow::anyhow!("cannot send: {failure}"),
        },
        () = stream.fails(2) => match stream.last_failure() {
            Some(failure) => anyhow::anyhow!("no picture: {failure}"),
            None => anyhow::anyhow!("no picture"),
        },
    }
}

/// Waits for the tasks to stop their pipelines, for as long as that is worth it.
async fn all_end(tasks: Vec<JoinHandle<()>>) {
    let ended = async {
        for task in tasks {
            task.await.ok();
        }
    };
    if tokio::time::timeout(LEAVE_AFTER, ended).await.is_err() {
        warn!("something hangs; leaving without it");
    }
}

async fn run(
    settings: &Settings,
    origin: &str,
    shown: String,
    server: http::Server,
    door: Option<Door>,
    tls: Option<Tls>,
) -> anyhow::Result<()> {
    let (trigger, shutdown) = shutdown::channel();
    listen_for_signals(trigger)?;
    info!("configuration: {origin}; {}", gst::version());
    let (roster, mut tasks) = Roster::new(settings);
    let roster = Arc::new(roster);
    if let Some(tls) = tls {
        tasks.push(tokio::spawn(renew(tls, shutdown.clone())));
    }
    if let Some(door) = door {
        tasks.push(door.open(&roster, shutdown.clone()).context("RTSP does not start")?);
    }
    let (pushes, livebox) = pushes(settings, &roster, &mut tasks).await;
    let state = Arc::new(http::State::new(
        Arc::clone(&roster),
        pushes,
        livebox,
        settings.pages.clone(),
        shown,
    ));
    let access = http::Access::new(settings.access.password.clone());
    let server = server.start(Arc::clone(&state), access)?;
    let handle = server.handle();
    let server = tokio::spawn(server);
    announce(settings);
    let announcement =
        settings.server.mdns.then(|| announce::announce(&system::hostname(), &settings.server));
    tell_systemd(&[NotifyState::Ready]);

    end_of(shutdown).await;
    info!("ending");
    tell_systemd(&[NotifyState::Stopping]);
    drop(announcement);
    let orderly = async {
        http::stop(&handle).await;
        server.await.ok();
        // The last holders of the supervisors: their tasks stop the pipelines.
        drop((state, roster));
        for task in tasks {
            task.await.ok();
        }
    };
    if tokio::time::timeout(LEAVE_AFTER, orderly).await.is_err() {
        warn!("something hangs; leaving without it");
    }
    info!("ended");
    Ok(())
}

/// Takes a renewed certificate into use, for as long as the service runs.
async fn renew(tls: Tls, mut shutdown: Shutdown) {
    if let Some(warning) = exposure(&tls) {
        warn!("{warning}");
    }
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = shutdown.requested() => return,
        }
        let looking = tls.clone();
        match tokio::task::spawn_blocking(move || looking.look()).await {
            Ok(Some(News::Renewed)) => info!("a new certificate is in use"),
            Ok(Some(News::Kept(error))) => {
                warn!("the earlier certificate stays in use: server.tls.{}: {error}", error.part())
            }
            Ok(None) | Err(_) => {}
        }
    }
}

/// Every push of the configuration, and the box as one thing around the first
/// stream's. What operators left running runs.
async fn pushes(
    settings: &Settings,
    roster: &Roster,
    tasks: &mut Vec<JoinHandle<()>>,
) -> (Vec<Arc<Push>>, Livebox) {
    let memory = Memory::open(&state_folder(settings));
    let first = settings.streams.first().expect("the check refuses a file without a stream");
    let mut configured: Vec<settings::Push> = settings.pushes.clone();
    let own = match configured.iter().position(|push| push.stream == first.name) {
        Some(index) => index,
        None => {
            configured.push(livebox::spare_push(first));
            configured.len() - 1
        }
    };
    let count = configured.len() as f64;
    let mut pushes = Vec::new();
    let mut wanted = Vec::new();
    for (index, push) in configured.iter().enumerate() {
        let stream =
            roster.find(&push.stream).expect("the check refuses a push without its stream");
        wanted.push(memory.wants(push).await);
        let (push, task) = Push::spawn(push, stream.hub(), index as f64 / count);
        pushes.push(push);
        tasks.push(task);
    }
    let first = Arc::clone(roster.first());
    let livebox = Livebox::new(first, Arc::clone(&pushes[own]), settings, memory).await;
    for (push, _) in pushes.iter().zip(wanted).filter(|(_, wanted)| *wanted) {
        if let Err(why) = livebox.resume(push, now()).await {
            warn!("push {} is not started: {why}", push.name());
        }
    }
    (pushes, livebox)
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

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

fn announce(settings: &Settings) {
    let settings::Server { bind, port, .. } = &settings.server;
    let scheme = settings.server.scheme();
    let host = if bind.is_unspecified() { "localhost".to_owned() } else { bind_text(*bind) };
    info!("listening on {scheme}://{host}:{port}/");
    for stream in &settings.streams {
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
    if settings.access.password.is_none() && !bind.is_loopback() {
        info!(
            "no password is set: only this machine itself may change anything; run `livebox \
             password` and put the result into the configuration as access.password"
        );
    }
}

fn bind_text(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(v4) => v4.to_string(),
        std::net::IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// Says how far the service is, where systemd started it.
fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("systemd cannot be told: {error}");
    }
}

async fn end_of(mut shutdown: Shutdown) {
    shutdown.requested().await;
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
