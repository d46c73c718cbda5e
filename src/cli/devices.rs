//! `livebox devices`: the cameras of this machine and their capabilities.

use std::fmt::Write as _;

use crate::host::{self, Device};

/// The cameras of this machine as text.
pub(super) fn list() -> String {
    description(&host::devices())
}

fn description(devices: &[Device]) -> String {
    if devices.is_empty() {
        return "no camera found; connect one, or check that the user is in the group \"video\""
            .to_owned();
    }
    let mut text = String::new();
    for Device { path, node, name, offers } in devices {
        let place = if path == node { String::new() } else { format!(" (now {})", node.display()) };
        write!(text, "{}\n  {name}{place}", path.display()).expect("a String takes all");
        match offers {
            Ok(offers) => offers.iter().for_each(|offer| {
                write!(text, "\n  {offer}").expect("a String takes all");
            }),
            Err(failure) => write!(text, "\n  {failure}").expect("a String takes all"),
        }
        text.push('\n');
    }
    text.push_str(
        "\nUse the first line of a camera as `v4l2` of a feed, or with `livebox stream --video`.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;

    #[test]
    fn a_camera_is_listed_by_its_stable_path_with_its_formats() {
        let camera = Device {
            path: "/dev/v4l/by-id/usb-Maker_Model-video-index0".into(),
            node: "/dev/video0".into(),
            name: "Model".to_owned(),
            offers: Ok(vec!["MJPEG 1280x720 at 30".to_owned()]),
        };
        let locked = Device {
            path: "/dev/video2".into(),
            node: "/dev/video2".into(),
            name: "Other".to_owned(),
            offers: Err(Failure::Camera("/dev/video2 may not be opened".to_owned())),
        };
        let text = description(&[camera, locked]);
        let lines: Vec<_> = text.lines().take(6).collect();
        assert_eq!(
            lines,
            [
                "/dev/v4l/by-id/usb-Maker_Model-video-index0",
                "  Model (now /dev/video0)",
                "  MJPEG 1280x720 at 30",
                "/dev/video2",
                "  Other",
                "  /dev/video2 may not be opened",
            ]
        );
        assert!(description(&[]).contains("no camera"));
    }
}
