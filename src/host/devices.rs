//! Lists the cameras of this machine under stable paths.

use std::fs;
use std::path::{Path, PathBuf};

use super::v4l2;
use crate::model::failure::Failure;

/// A camera.
#[derive(Clone, Debug)]
pub struct Device {
    /// The path below `/dev/v4l/by-id`, which stays the same when the camera is plugged in
    /// again; else the node.
    pub path: PathBuf,
    /// `/dev/video0`
    pub node: PathBuf,
    /// The name that the driver reports.
    pub name: String,
    /// A line for each format, or why they cannot be listed.
    pub offers: Result<Vec<String>, Failure>,
}

/// Lists all cameras with their formats; blocks. Devices without pictures (encoders,
/// metadata) are omitted.
pub fn devices() -> Vec<Device> {
    let nodes = nodes(Path::new("/sys/class/video4linux"), Path::new("/dev"));
    nodes.into_iter().filter_map(probed).collect()
}

/// A device whose formats are not known yet.
#[derive(Debug, PartialEq)]
struct Node {
    path: PathBuf,
    node: PathBuf,
    name: String,
}

fn probed(Node { path, node, name }: Node) -> Option<Device> {
    let offers = match v4l2::offers(&node) {
        Ok(offers) if offers.is_empty() => return None,
        Ok(offers) => Ok(offers.iter().map(v4l2::Offer::describe).collect()),
        // A device that opens, but not as a camera, is none.
        Err(_) if fs::File::open(&node).is_ok() => return None,
        Err(failure) => Err(failure),
    };
    Some(Device { path, node, name, offers })
}

/// The video devices that the kernel lists below `class`, by their numbers.
fn nodes(class: &Path, dev: &Path) -> Vec<Node> {
    let number = |name: &str| name.strip_prefix("video").and_then(|rest| rest.parse::<u32>().ok());
    let mut found: Vec<_> = entries(class)
        .into_iter()
        .filter_map(|path| Some((number(path.file_name()?.to_str()?)?, path)))
        .collect();
    found.sort();
    let stable = entries(&dev.join("v4l/by-id"));
    found
        .into_iter()
        .map(|(number, place)| {
            let node = dev.join(format!("video{number}"));
            let same = |link: &&PathBuf| {
                fs::canonicalize(link).is_ok_and(|end| Some(end) == fs::canonicalize(&node).ok())
            };
            let path = stable.iter().find(same).unwrap_or(&node).clone();
            let name = fs::read_to_string(place.join("name")).unwrap_or_default();
            Node { path, node, name: name.trim().to_owned() }
        })
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    entries.sort();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_listed_by_number_under_their_stable_path() {
        let root = tempfile::tempdir().unwrap();
        let (class, dev) = (root.path().join("class"), root.path().join("dev"));
        fs::create_dir_all(dev.join("v4l/by-id")).unwrap();
        for (node, name) in [("video10", "codec\n"), ("video2", "Webcam\n")] {
            fs::create_dir_all(class.join(node)).unwrap();
            fs::write(class.join(node).join("name"), name).unwrap();
            fs::write(dev.join(node), "").unwrap();
        }
        fs::create_dir_all(class.join("v4l-subdev0")).unwrap();
        let link = dev.join("v4l/by-id/usb-Webcam-video-index0");
        std::os::unix::fs::symlink("../../video2", &link).unwrap();

        let found = nodes(&class, &dev);
        assert_eq!(
            found,
            [
                Node { path: link, node: dev.join("video2"), name: "Webcam".to_owned() },
                Node {
                    path: dev.join("video10"),
                    node: dev.join("video10"),
                    name: "codec".to_owned()
                },
            ]
        );
        assert_eq!(nodes(Path::new("/nowhere"), &dev), []);
    }
}
