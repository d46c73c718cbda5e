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
use crate::config::settings::{self, Settings};
use crate::engine::bytes;
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

/// Runs the service until it is told to end.
///
/// # Errors
/// It cannot be reached or cannot start; says why.
pub fn serve(settings: &Settings, origin: &str) -> anyhow::Result<()> {
    let server = http::Server::bind(&settings.server)?;
    let door =
        settings.rtsp.clone().map(|rtsp| Door::bind(settings.server.bind, rtsp)).transpose()?;
    on_a_runtime(run(settings, origin, server, door))
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
    let stream = roster.first().context("there is nothing to send")?;
    let (push, task) = Push::spawn(wanted, stream.hub(), 0.0);
    tasks.push(task);
    push.start(push::destination(wanted).context("there is nowhere to send to")?);
    let sent = tokio::select! {
        error = refusal(stream, &push) => Err(error),
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
    server: http::Server,
    door: Option<Door>,
) -> anyhow::Result<()> {
    let (trigger, shutdown) = shutdown::channel();
    listen_for_signals(trigger)?;
    info!("configuration: {origin}; {}", gst::version());
    let (roster, mut tasks) = Roster::new(settings);
    let roster = Arc::new(roster);
    let (bytes, of_bytes) = bytes::Roster::new(settings);
    tasks.extend(of_bytes);
    if let Some(door) = door {
        tasks.push(door.open(&roster, shutdown.clone()).context("RTSP does not start")?);
    }
    let (pushes, livebox) = pushes(settings, &roster, &mut tasks).await;
    let state = Arc::new(http::State::new(Arc::clone(&roster), bytes, pushes, livebox));
    let access = http::Access::new(settings.access.password.clone());
    let server = server.start(Arc::clone(&state), access)?;
    let handle = server.handle();
    let server = tokio::spawn(server);
    announce(settings);
    let announcement = settings.server.mdns.then(|| {
        announce::announce(&system::hostname(), settings.server.bind, settings.server.port)
    });
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

/// Every push of the configuration, and the box as one thing around the first
/// stream's. What operators left running runs.
async fn pushes(
    settings: &Settings,
    roster: &Roster,
    tasks: &mut Vec<JoinHandle<()>>,
) -> (Vec<Arc<Push>>, Option<Livebox>) {
    let memory = Memory::open(&state_folder(settings));
    let (Some(first), Some(stream)) = (settings.streams.first(), roster.first()) else {
        // Nothing is encoded, so that nothing can be pushed.
        return (Vec::new(), None);
    };
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
    let livebox =
        Livebox::new(Arc::clone(stream), Arc::clone(&pushes[own]), settings, memory).await;
    for (push, _) in pushes.iter().zip(wanted).filter(|(_, wanted)| *wanted) {
        if let Err(why) = livebox.resume(push, now()).await {
            warn!("push {} is not started: {why}", push.name());
        }
    }
    (pushes, Some(livebox))
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
    let host = if bind.is_unspecified() { "localhost".to_owned() } else { bind_text(*bind) };
    info!("listening on http://{host}:{port}/");
    for stream in &settings.streams {
        let url = &stream.url;
        info!(
            "stream {} is at http://{host}:{port}{url}/ and http://{host}:{port}{url}.mp4",
            stream.name
        );
        if let Some(rtsp) = &settings.rtsp {
            info!("stream {} is at rtsp://{host}:{}{url}", stream.name, rtsp.port);
        }
    }
    for stream in &settings.byte_streams {
        info!("stream {} is at http://{host}:{port}{}", stream.name, stream.url);
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
