//! The resources that each job needs. Jobs that parse untrusted media are confined to them.

use std::path::{Path, PathBuf};

use crate::model::push_url::PushUrl;
use crate::wire::job::{Family, FinishRecording, Foreign, Job, Push};

/// Memory of a job that demultiplexes or forwards.
const FORWARDING_MEMORY: u64 = 256 << 20;

/// Memory of a job that decodes or encodes: decoding a picture of 4096×4096 takes 150 MiB.
const CODING_MEMORY: u64 = 512 << 20;

/// Memory of finishing a recording: twice the index of a day.
const INDEX_MEMORY: u64 = 1 << 30;

/// Memory of a host without a pipeline.
const NO_PIPELINE_MEMORY: u64 = 64 << 20;

/// The files that list sound cards.
const SOUND_FILES: [&str; 3] = ["/etc/asound.conf", "/etc/alsa", "/proc/asound"];

/// The usual ports of RTSP, to which a server may redirect. Not any port: without a
/// password the service treats its own machine as an operator.
const RTSP_PORTS: [u16; 3] = [554, 322, 8554];

/// The resources of a host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Limit of its memory, in bytes.
    pub memory: u64,
    /// What a confined host can access; none for a host that parses no untrusted media.
    pub confined_to: Option<Reach>,
}

/// What a confined host can access, besides libraries and plugins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reach {
    pub network: Network,
    /// The TCP ports that a client may connect to, besides DNS.
    pub ports: Vec<u16>,
    /// Whether it can use cameras, hardware decoders and other devices.
    pub devices: bool,
    /// Folders with full access.
    pub folders: Vec<PathBuf>,
    /// Files and folders with read access.
    pub readable: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    None,
    /// Outgoing connections only.
    Client,
}

impl Needs {
    /// The resources of `job`; `memory` is the configured limit, which replaces the default.
    pub(super) fn for_job(job: &Job, memory: Option<u64>) -> Self {
        let or = |usual: u64| memory.unwrap_or(usual);
        match job {
            Job::Picture(_) | Job::Still(_) | Job::Mjpeg(_) => {
                Self { memory: or(CODING_MEMORY), confined_to: Some(Reach::none()) }
            }
            Job::Extract(_) => {
                Self { memory: or(FORWARDING_MEMORY), confined_to: Some(Reach::none()) }
            }
            Job::Push(push) => {
                Self { memory: or(FORWARDING_MEMORY), confined_to: Some(Reach::of_push(push)) }
            }
            Job::FinishRecording(FinishRecording { from, to, through, .. }) => {
                let folders = [from, to, through].into_iter().filter_map(|path| path.parent());
                let folders = folders.map(Path::to_owned).collect();
                let reach = Reach { folders, ..Reach::none() };
                Self { memory: or(INDEX_MEMORY), confined_to: Some(reach) }
            }
            Job::Family(Family { source }) => Self {
                memory: or(CODING_MEMORY),
                confined_to: source.as_ref().map(Reach::of_family),
            },
            Job::CheckElements(_) | Job::TryEncoder(_) => {
                Self { memory: or(CODING_MEMORY), confined_to: None }
            }
            Job::EndCommands(_) => Self { memory: NO_PIPELINE_MEMORY, confined_to: None },
        }
    }
}

impl Reach {
    fn of_push(push: &Push) -> Self {
        let (network, ports) = match push.url.reveal().parse::<PushUrl>() {
            Ok(url) => (Network::Client, vec![url.port()]),
            Err(_) => (Network::None, Vec::new()),
        };
        let readable = push.ca.iter().cloned().collect();
        Self { network, ports, devices: false, folders: Vec::new(), readable }
    }

    /// Access to the source of the media, and to sound cards.
    fn of_family(source: &Foreign) -> Self {
        let mut reach = Self { readable: SOUND_FILES.map(PathBuf::from).to_vec(), ..Self::none() };
        match source {
            Foreign::Network { port } => {
                reach.network = Network::Client;
                reach.ports = [&[*port][..], &RTSP_PORTS].concat();
            }
            Foreign::Folder(folder) => reach.readable.push(folder.clone()),
            Foreign::Service => {}
        }
        reach
    }

    fn none() -> Self {
        let (ports, folders, readable) = Default::default();
        Self { network: Network::None, ports, devices: true, folders, readable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::base::time::MediaTime;
    use crate::wire::job::{EndCommands, Extract};

    #[test]
    fn memory_follows_the_kind_of_job_unless_the_configuration_gives_it() {
        let extract = Extract { caps: None }.into();
        let guard = EndCommands { mark: "A=b".to_owned() }.into();
        let memory = |job, given| Needs::for_job(job, given).memory >> 20;
        assert_eq!((memory(&extract, None), memory(&guard, None)), (256, 64));
        assert_eq!((memory(&extract, Some(100 << 20)), memory(&guard, Some(1 << 30))), (100, 64));
    }

    #[test]
    fn a_recording_is_finished_in_the_folders_of_its_files_and_sees_no_other() {
        let job = FinishRecording {
            from: "/media/disk/a.part.mp4".into(),
            to: "/media/disk/a.mp4".into(),
            through: "/media/disk/.a".into(),
            expected: None,
        };
        let reach = Needs::for_job(&job.into(), None).confined_to.unwrap();
        assert!(reach.folders.iter().all(|folder| folder == Path::new("/media/disk")));
        assert!(reach.readable.is_empty() && reach.network == Network::None);
    }

    #[test]
    fn a_push_reaches_the_port_of_its_receiver_and_reads_the_authority_that_it_names() {
        let job = Push {
            line: String::new(),
            url: Secret::new("rtmps://a.example:4430/live2/KEY"),
            key: None,
            ca: Some("/etc/livebox/ca.pem".into()),
            audio: None,
            metadata: None,
            begin: MediaTime::ORIGIN,
        };
        let reach = Needs::for_job(&job.into(), None).confined_to.unwrap();
        assert_eq!((reach.network, &reach.ports[..]), (Network::Client, &[4430][..]));
        assert_eq!(reach.readable, [Path::new("/etc/livebox/ca.pem")]);
        assert!(reach.folders.is_empty());
    }

    #[test]
    fn a_feed_from_the_network_reaches_its_port_and_the_usual_ones() {
        let source = Some(Foreign::Network { port: 5554 });
        let reach = Needs::for_job(&Family { source }.into(), None).confined_to.unwrap();
        assert_eq!(
            (reach.network, &reach.ports[..]),
            (Network::Client, &[5554, 554, 322, 8554][..])
        );
    }
}
