//! `onMetaData` of a push: sent once and complete.
//!
//! `flvmux` writes one for each tag event, which parsers send for each new average bit
//! rate (measured: 260 in 185 s), and the first before it knows the sound. These are
//! removed in front of the sink.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::media::flv::is_script;

/// Replaces the first script tag that reaches `sink` by `tag`, and drops all others.
pub(super) fn replace(sink: &gst::Element, tag: &Bytes) {
    let Some(pad) = sink.static_pad("sink") else { return };
    let (tag, is_sent) = (tag.clone(), AtomicBool::new(false));
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data else {
            return gst::PadProbeReturn::Ok;
        };
        if !buffer.map_readable().is_ok_and(|bytes| is_script(&bytes)) {
            return gst::PadProbeReturn::Ok;
        }
        if is_sent.swap(true, Ordering::Relaxed) {
            // The bindings own the buffer; GStreamer must not free it again.
            return gst::PadProbeReturn::Handled;
        }
        let mut ours = gst::Buffer::from_slice(tag.clone());
        let fresh = ours.get_mut().expect("a new buffer has one owner");
        fresh.set_pts(buffer.pts());
        fresh.set_dts(buffer.dts());
        *buffer = ours;
        gst::PadProbeReturn::Ok
    });
    // The caps contain the muxer's first tags as well, and the sink prefers those.
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &mut info.data
            && let gst::EventView::Caps(caps) = event.view()
        {
            let mut caps = caps.caps_owned();
            for structure in caps.make_mut().iter_mut() {
                structure.remove_field("streamheader");
            }
            *event = gst::event::Caps::new(&caps);
        }
        gst::PadProbeReturn::Ok
    });
}
