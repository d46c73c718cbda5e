//! One stream's place on the RTSP server.
//!
//! The stream is mounted only while it is warm: as long as a media of it
//! plays, or somebody was just admitted. Each generation is mounted afresh, so
//! that nobody is described what is over.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_rtsp_server as gst_rtsp_server;
use gstreamer_rtsp_server::prelude::*;
use gstreamer_rtsp_server::{RTSPFilterResult, RTSPMedia, RTSPSession};
use log::{info, warn};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::lock;
use crate::base::time::MediaTime;
use crate::engine::gst::feeder::{Join, Over, Pace, Sources, feed, first_chunk};
use crate::hub::{self, Reader};
use crate::media::packager::Init;
use crate::model::status::Failure;

/// How often viewers are counted.
const LOOK: Duration = Duration::from_secs(1);

/// Parameter sets stand before each key frame already.
const VIDEO: &str = "appsrc name=video is-live=true format=time \
     ! rtph264pay name=pay0 pt=96 config-interval=-1 aggregate-mode=zero-latency";
const AUDIO: &str = "appsrc name=audio is-live=true format=time ! rtpmp4gpay name=pay1 pt=97";

/// One stream.
pub(super) struct Mount {
    server: gst_rtsp_server::RTSPServer,
    points: gst_rtsp_server::RTSPMountPoints,
    path: String,
    stream: Arc<hub::Stream>,
    groups: Option<gst_rtsp_server::RTSPAddressPool>,
    runtime: Handle,
    current: Mutex<Option<(u32, Weak<Lease>)>>,
}

/// Keeps a stream mounted.
#[derive(Debug)]
pub struct Admission {
    _lease: Arc<Lease>,
}

/// One mounting of a stream.
#[derive(Debug)]
struct Lease {
    mount: Arc<Mount>,
    generation: u32,
}

impl Mount {
    pub(super) fn new(
        server: &gst_rtsp_server::RTSPServer,
        path: &str,
        stream: Arc<hub::Stream>,
        groups: Option<gst_rtsp_server::RTSPAddressPool>,
    ) -> Self {
        let points = server.mount_points().expect("a new server has mount points");
        let (server, path, runtime) = (server.clone(), path.to_owned(), Handle::current());
        let current = Mutex::default();
        Self { server, points, path, stream, groups, runtime, current }
    }

    /// Mounts the stream, unless it is mounted as `init` says.
    pub(super) fn admit(self: &Arc<Self>, init: &Arc<Init>) -> Admission {
        let mut current = lock(&self.current);
        let mounted = current.as_ref().filter(|(generation, _)| *generation == init.generation);
        if let Some(lease) = mounted.and_then(|(_, lease)| lease.upgrade()) {
            return Admission { _lease: lease };
        }
        let lease = Arc::new(Lease { mount: Arc::clone(self), generation: init.generation });
        self.points.add_factory(&self.path, self.factory(&lease, init));
        *current = Some((init.generation, Arc::downgrade(&lease)));
        Admission { _lease: lease }
    }

    /// The next one to be admitted finds the stream mounted afresh.
    fn retire(&self, generation: u32) {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|(mounted, _)| *mounted == generation) {
            self.points.remove_factory(&self.path);
            *current = None;
        }
    }

    /// Takes the stream down if only `holders` hold `lease`: nobody was just admitted.
    fn rest(&self, lease: &Arc<Lease>, holders: usize) -> bool {
        let mut current = lock(&self.current);
        let rests = Arc::strong_count(lease) == holders;
        if rests && current.as_ref().is_some_and(|(mounted, _)| *mounted == lease.generation) {
            self.points.remove_factory(&self.path);
            *current = None;
        }
        rests
    }

    fn factory(&self, lease: &Arc<Lease>, init: &Arc<Init>) -> gst_rtsp_server::RTSPMediaFactory {
        let factory = gst_rtsp_server::RTSPMediaFactory::new();
        let sound = if init.tracks.audio.is_some() { AUDIO } else { "" };
        factory.set_launch(&format!("( {VIDEO} {sound} )"));
        factory.set_shared(true);
        factory.set_latency(0);
        // What comes is live; sinks that wait for its time only add to it.
        factory.connect_media_constructed(|_, media| media.set_rate_control(false));
        factory.set_suspend_mode(gst_rtsp_server::RTSPSuspendMode::None);
        factory.set_protocols(self.protocols());
        factory.set_address_pool(self.groups.as_ref());
        factory.set_bind_mcast_address(true);
        factory.set_max_mcast_ttl(u32::from(super::GROUP_TTL));
        factory.set_clock(Some(&crate::engine::gst::clock()));
        let (lease, init) = (Arc::downgrade(lease), Arc::clone(init));
        factory.connect_media_configure(move |_, media| {
            let Some(lease) = lease.upgrade() else { return };
            match Play::prepare(lease, &init, media) {
                Ok(play) => play.begin(media),
                Err(failure) => warn!("RTSP: {failure}"),
            }
        });
        factory
    }

    fn protocols(&self) -> gst_rtsp_server::gst_rtsp::RTSPLowerTrans {
        use gst_rtsp_server::gst_rtsp::RTSPLowerTrans as Transport;
        let unicast = Transport::TCP | Transport::UDP;
        if self.groups.is_some() { unicast | Transport::UDP_MCAST } else { unicast }
    }

    /// Ends everybody who plays `media`, so that they describe the stream anew. Blocks.
    fn end(&self, media: &RTSPMedia) {
        let plays = |session: &RTSPSession| {
            session.filter(None).iter().any(|one| one.media().as_ref() == Some(media))
        };
        let mut clients = self.server.client_filter(None);
        clients.retain(|client| client.session_filter(None).iter().any(plays));
        if let Some(pool) = self.server.session_pool() {
            pool.filter(Some(&mut |_, session| {
                if plays(session) { RTSPFilterResult::Remove } else { RTSPFilterResult::Keep }
            }));
        }
        for client in clients {
            client.close();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut current = lock(&self.mount.current);
        // Another one may have taken its place.
        if current.as_ref().is_some_and(|(_, lease)| lease.strong_count() == 0) {
            self.mount.points.remove_factory(&self.mount.path);
            *current = None;
        }
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("path", &self.path).finish_non_exhaustive()
    }
}

/// One media: what a stream's viewers share.
struct Play {
    lease: Arc<Lease>,
    media: Held,
    reader: Reader,
    sources: Sources,
}

/// A media that stays prepared until it is let go, whoever comes and goes:
/// the server gives new viewers a shared media that is just being torn down,
/// and they fail.
#[derive(Clone)]
struct Held {
    media: gst::glib::WeakRef<RTSPMedia>,
    is_held: Arc<AtomicBool>,
}

impl Held {
    fn new(media: &RTSPMedia) -> Self {
        let is_held = Arc::new(AtomicBool::new(false));
        let hold = Arc::clone(&is_held);
        media.connect_prepared(move |media| {
            // It is prepared, so this only counts.
            if !hold.swap(true, Ordering::AcqRel) && media.prepare(None).is_err() {
                hold.store(false, Ordering::Release);
            }
        });
        Self { media: media.downgrade(), is_held }
    }

    /// How many play it. Blocks for a moment.
    fn viewers(&self) -> usize {
        let stream = self.media.upgrade().and_then(|media| media.stream(0));
        stream.map_or(0, |stream| stream.transport_filter(None).len())
    }

    /// Lets it end with its last viewer. Blocks.
    fn let_go(&self) {
        if let Some(media) = self.media.upgrade()
            && self.is_held.swap(false, Ordering::AcqRel)
            && media.unprepare().is_err()
        {
            warn!("an RTSP media does not end");
        }
    }
}

impl Play {
    fn prepare(lease: Arc<Lease>, init: &Init, media: &RTSPMedia) -> Result<Self, Failure> {
        let bin = media.element().downcast::<gst::Bin>();
        let bin = bin.map_err(|_| Failure::Build("the media is not a bin".to_owned()))?;
        let source = |name: &str| {
            bin.by_name(name).ok_or_else(|| Failure::Build(format!("the media has no {name}")))
        };
        let audio = match &init.tracks.audio {
            Some(info) => Some((source("audio")?, info)),
            None => None,
        };
        // All medias' time begins with the process's.
        let join = Join::live(MediaTime::ORIGIN);
        let sources = Sources::new(source("video")?, audio, join)?;
        if let Some(pipeline) = bin.parent().and_downcast::<gst::Pipeline>() {
            pipeline.set_start_time(gst::ClockTime::NONE);
            pipeline.set_base_time(join.base_time());
        }
        let reader = lease.mount.stream.join();
        Ok(Self { lease, media: Held::new(media), reader, sources })
    }

    /// Feeds the media until it is over.
    fn begin(self, media: &RTSPMedia) {
        let (tell, over) = oneshot::channel();
        let tell = Mutex::new(Some(tell));
        media.connect_unprepared(move |_| drop(lock(&tell).take()));
        self.lease.mount.runtime.clone().spawn(self.run(over));
    }

    async fn run(self, over: oneshot::Receiver<()>) {
        let Self { lease, media, mut reader, sources } = self;
        let stream = Arc::clone(&lease.mount.stream);
        let label = format!("RTSP of {}", stream.name());
        let taken = sources.taken();
        let tell_lost = |lost| warn!(lost; "{label} cannot keep up and goes on at a key frame");
        let fed = async {
            let (init, first) = first_chunk(&mut reader).await;
            if init.generation != lease.generation {
                return Over::CodecChange;
            }
            feed(&mut reader, first, sources, Pace::Live, tell_lost).await
        };
        let ended = tokio::select! {
            ended = fed => ended,
            never = look_after(&lease, &taken, &media) => match never {},
            // An error means that the media is gone, which ends it as well.
            _ = over => return,
        };
        match ended {
            Over::CodecChange => info!("{label}: encoded differently now; viewers start anew"),
            Over::Refused => warn!("{label}: its pipeline broke; viewers start anew"),
        }
        lease.mount.retire(lease.generation);
        let ending = tokio::task::spawn_blocking(move || {
            if let Some(media) = media.media.upgrade() {
                lease.mount.end(&media);
            }
            media.let_go();
        });
        ending.await.ok();
    }
}

/// Keeps the counts of the stream: its readers, as many as watch, and bytes
/// that leave, without what packets add. Lets the media go when nobody watches.
async fn look_after(lease: &Arc<Lease>, taken: &AtomicU64, media: &Held) -> Infallible {
    let stream = &lease.mount.stream;
    let mut present: Vec<Reader> = Vec::new();
    let mut before = taken.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(LOOK).await;
        let (held, lease) = (media.clone(), Arc::clone(lease));
        let looked = tokio::task::spawn_blocking(move || {
            let viewers = held.viewers();
            // Held by the task that waits for this one, and here.
            if viewers == 0 && lease.mount.rest(&lease, 2) {
                held.let_go();
            }
            viewers
        });
        let viewers = looked.await.unwrap_or(0);
        let after = taken.load(Ordering::Relaxed);
        stream.count_bytes_out(viewers * usize::try_from(after - before).unwrap_or(0));
        before = after;
        // The feeder's own reader is one already.
        present.resize_with(viewers.saturating_sub(1), || stream.join());
    }
}
