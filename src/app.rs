//! Wiring: what starts in which order, and how it ends. The only place that
//! knows everyone.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use log::{info, warn};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::base::shutdown::{self, Trigger};
use crate::base::system;
use crate::config::settings::{self, Settings};
use crate::engine::gst;
use crate::engine::roster::{self, Roster};
use crate::engine::supervisor::Supervisor;
use crate::engine::watchdog;
use crate::http;
use crate::hub::Read;
use crate::outputs::announce;
use crate::outputs::livebox::{self, Livebox};
use crate::outputs::memory::Memory;
use crate::outputs::push::{self, Push};
use crate::outputs::recorder::Recorder;
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
    let door = settings.rtsp.map(|rtsp| Door::bind(settings.server.bind, rtsp)).transpose()?;
    on_a_runtime(run(settings, origin, server, door))
}

/// Sends the first stream to the first push, if any, and records it to
/// `output`, if any, without the service around it, until it is told to end.
///
/// # Errors
/// The camera does not come up, the receiver refuses the very first attempt,
/// or the disk takes no more; says why. Later failures of camera and receiver
/// are tried again for ever.
pub fn stream(settings: &Settings, output: Option<&Path>) -> anyhow::Result<()> {
    let recorder = output.map(Recorder::create).transpose()?;
    on_a_runtime(send(settings, recorder))
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

async fn send(settings: &Settings, recorder: Option<Recorder>) -> anyhow::Result<()> {
    let (trigger, mut shutdown) = shutdown::channel();
    listen_for_signals(trigger)?;
    let (roster, mut tasks) = Roster::new(settings);
    let stream = roster.first();
    let mut push = None;
    if let Some(wanted) = settings.pushes.first() {
        let (sending, task) = Push::spawn(wanted, stream.hub(), 0.0);
        tasks.push(task);
        sending.start(push::destination(wanted).context("there is nowhere to send to")?);
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
    drop((push, roster));
    in_time(all_end(tasks)).await;
    sent
}

/// Why nothing can be sent at all; never returns once something was.
async fn refusal(stream: &roster::Stream, push: Option<&Push>) -> anyhow::Error {
    let begun = async {
        match push {
            Some(push) => push.first_try().await,
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
        () = stream.fails(2) => match stream.last_failure() {
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
    settings: &Settings,
    origin: &str,
    server: http::Server,
    door: Option<Door>,
) -> anyhow::Result<()> {
    let (trigger, mut shutdown) = shutdown::channel();
    listen_for_signals(trigger)?;
    info!("configuration: {origin}; {}", gst::version());
    let (roster, mut tasks) = Roster::new(settings);
    let roster = Arc::new(roster);
    if let Some(door) = door {
        tasks.push(door.open(&roster, shutdown.clone()).context("RTSP does not start")?);
    }
    let (pushes, livebox) = pushes(settings, &roster, &mut tasks).await;
    let supervisors = supervisors(&roster, &pushes);
    let state = Arc::new(http::State::new(Arc::clone(&roster), pushes, livebox));
    let access = http::Access::new(settings.access.password.clone());
    let server = server.start(Arc::clone(&state), access)?;
    let handle = server.handle();
    let server = tokio::spawn(server);
    announce(settings);
    let announcement = settings.server.mdns.then(|| {
        announce::announce(&system::hostname(), settings.server.bind, settings.server.port)
    });
    tell_systemd(&[NotifyState::Ready]);

    tokio::select! {
        () = shutdown.requested() => {}
        never = feed_watchdog(supervisors) => match never {},
    }
    info!("ending");
    tell_systemd(&[NotifyState::Stopping]);
    drop(announcement);
    in_time(async {
        http::stop(&handle).await;
        server.await.ok();
        // The last holders of the supervisors: their tasks stop the pipelines.
        drop((state, roster));
        all_end(tasks).await;
    })
    .await;
    info!("ended");
    Ok(())
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

fn supervisors(roster: &Roster, pushes: &[Arc<Push>]) -> Vec<Supervisor> {
    let streams = roster.streams().iter().map(|stream| stream.supervisor().clone());
    streams.chain(pushes.iter().map(|push| push.supervisor().clone())).collect()
}

/// Feeds systemd's watchdog, where the unit has one.
async fn feed_watchdog(supervisors: Vec<Supervisor>) -> Infallible {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    watchdog::watch(&supervisors, period, || tell_systemd(&[NotifyState::Watchdog])).await
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
