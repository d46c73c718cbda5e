//! Prints the effective configuration as YAML, with all defaults.
//!
//! The output parses to the same settings, except for secrets, which become
//! comments without their text. Words are printed from the tables that parse them.

use std::fmt::{Display, Write as _};

use super::keys::{bytes, feeds, pulls, pushes, recordings, service, streams};
use super::section::word_for;
use super::settings::{
    Access, ByteFeed, ByteSource, ByteStream, CommandLine, Control, EncoderSetting, Feed,
    FeedAudio, Log, Mode, Overlay, Pages, Pull, Push, Recordings, Retention, Rtsp, Server,
    Settings, Sound, Source, Stream, Turn, UnixSocket,
};
use crate::base::scrub;
use crate::model::push_url::PushUrl;

/// The settings as YAML.
pub fn yaml(settings: &Settings) -> String {
    let Settings { server, access, rtsp, pushes, pages, log, .. } = settings;
    let Settings { feeds, byte_feeds, streams, byte_streams, .. } = settings;
    let mut page = Page::default();
    write_server(&mut page, server);
    let Access { password, local, pages: of_pages, streams: _ } = access;
    page.section("access");
    page.hidden(1, "password", password.is_some());
    page.key(1, "local", word_for(&service::LOCAL, local));
    write_rtsp(&mut page, rtsp.as_ref());
    page.section("feeds");
    feeds.iter().for_each(|feed| write_feed(&mut page, feed));
    byte_feeds.iter().for_each(|feed| write_byte_feed(&mut page, feed));
    page.section("streams");
    for stream in streams {
        write_stream(&mut page, stream);
        page.hidden(2, "password", access.of_stream(&stream.name).is_some());
    }
    for stream in byte_streams {
        write_byte_stream(&mut page, stream);
        page.hidden(2, "password", access.of_stream(&stream.name).is_some());
    }
    page.section("pushes");
    pushes.iter().for_each(|push| write_push(&mut page, push));
    write_recordings(&mut page, &settings.recordings);
    write_pages(&mut page, pages);
    page.hidden(1, "password", of_pages.is_some());
    page.section("limits");
    page.key(1, "memory", or_null(settings.limits.memory.as_ref()));
    let Log { level, folder } = log;
    page.section("log");
    page.key(1, "level", word_for(&service::LEVELS, level));
    page.key(1, "folder", or_null(folder.as_ref().map(|path| quoted(path.display()))));
    page.0.trim_end().to_owned()
}

fn write_server(page: &mut Page, server: &Server) {
    let Server { bind, port, socket, hosts, docroot, mdns, priority, state, tls } = server;
    page.section("server");
    page.key(1, "bind", quoted(bind));
    page.key(1, "port", port);
    match socket {
        UnixSocket::Own => page.key(1, "socket", "null"),
        UnixSocket::At(path) => page.key(1, "socket", quoted(path.display())),
        UnixSocket::Off => page.key(1, "socket", "off"),
    }
    let hosts: Vec<_> = hosts.iter().map(quoted).collect();
    page.key(1, "hosts", format_args!("[{}]", hosts.join(", ")));
    page.key(1, "docroot", or_null(docroot.as_ref().map(|path| quoted(path.display()))));
    page.key(1, "mdns", mdns);
    page.key(1, "priority", priority);
    page.key(1, "state", or_null(state.as_ref().map(|path| quoted(path.display()))));
    let (certificate, key) =
        (tls.as_ref().map(|tls| &tls.certificate), tls.as_ref().map(|tls| &tls.key));
    page.line(1, "tls:");
    page.key(2, "certificate", or_null(certificate.map(|path| quoted(path.display()))));
    page.key(2, "key", or_null(key.map(|path| quoted(path.display()))));
}

fn write_rtsp(page: &mut Page, rtsp: Option<&Rtsp>) {
    page.section("rtsp");
    match rtsp {
        Some(Rtsp { port, tls_port, multicast, login }) => {
            page.key(1, "port", port);
            match tls_port {
                Some(port) => page.key(1, "tls_port", port),
                None => page.key(1, "tls_port", "off"),
            }
            page.key(1, "multicast", multicast);
            page.key(1, "user", or_null(login.as_ref().map(|login| quoted(&login.user))));
            page.hidden(1, "password", login.is_some());
        }
        None => page.key(1, "port", "off"),
    }
}

fn write_recordings(page: &mut Page, recordings: &Recordings) {
    let Recordings { folder, keep: Retention { days, size, free, clock }, split } = recordings;
    page.section("recordings");
    page.key(1, "folder", or_null(folder.as_ref().map(|path| quoted(path.display()))));
    page.line(1, "keep:");
    page.key(2, "days", or_null(days.as_ref()));
    page.key(2, "size", or_null(size.as_ref()));
    page.key(2, "free", free);
    page.key(2, "clock", word_for(&recordings::CLOCKS, clock));
    page.key(1, "split", split.as_secs_f64());
}

fn write_pages(page: &mut Page, pages: &Pages) {
    let Pages { home, stat, stat_json, metrics, config, clients } = pages;
    page.section("pages");
    page.key(1, "home", home);
    for (key, place) in
        [("stat", stat), ("stat_json", stat_json), ("metrics", metrics), ("config", config)]
    {
        match place {
            Some(path) => page.key(1, key, quoted(path)),
            None => page.key(1, key, false),
        }
    }
    page.key(1, "clients", clients);
}

fn write_feed(page: &mut Page, feed: &Feed) {
    let Feed { name, source, mode, resurrect, size, fps, audio, controls, overlay, turn } = feed;
    page.entry(name);
    write_source(page, source);
    write_life(page, *mode, *resurrect);
    page.key(2, "size", size);
    page.key(2, "fps", fps);
    match audio {
        FeedAudio::Alsa(device) => {
            page.key(2, "audio", format_args!("{{alsa: {}}}", quoted(device)));
        }
        FeedAudio::None | FeedAudio::Silence | FeedAudio::Tone | FeedAudio::Own => {
            page.key(2, "audio", word_for(&feeds::AUDIO, audio));
        }
    }
    page.line(2, if controls.is_empty() { "controls: {}" } else { "controls:" });
    for Control { name, value } in controls {
        page.key(3, &quoted(name), quoted(value));
    }
    let Overlay { text, clock, name } = overlay;
    page.line(2, "overlay:");
    page.key(3, "text", or_null(text.as_ref().map(quoted)));
    page.key(3, "clock", clock);
    page.key(3, "name", name);
    let Turn { hflip, vflip, rotation } = turn;
    page.key(2, "hflip", hflip);
    page.key(2, "vflip", vflip);
    page.key(2, "rotation", word_for(&feeds::ROTATIONS, rotation));
}

fn write_source(page: &mut Page, source: &Source) {
    let Some((key, value)) = source.written() else { return };
    if let Source::Rtsp(Pull { url, login, transport }) = source {
        let hidden = if value == url.reveal() { "" } else { "  # a part of it is not shown" };
        page.key(2, key, format_args!("{}{hidden}", quoted(value)));
        page.key(2, "transport", word_for(&pulls::TRANSPORTS, transport));
        page.hidden(2, "password", login.is_some());
    } else {
        page.key(2, key, quoted(value));
    }
}

fn write_life(page: &mut Page, mode: Mode, resurrect: bool) {
    page.key(2, "mode", mode);
    page.key(2, "resurrect", resurrect);
}

fn write_byte_feed(page: &mut Page, feed: &ByteFeed) {
    let ByteFeed { name, source, mode, resurrect } = feed;
    page.entry(name);
    match source {
        ByteSource::Command(command) => page.key(2, "command", quoted(joined(command))),
        ByteSource::Made(command, from) => {
            page.key(2, "feed", quoted(from));
            page.key(2, "command", quoted(joined(command)));
        }
        ByteSource::Pipe(path) => page.key(2, "pipe", quoted(path.display())),
    }
    write_life(page, *mode, *resurrect);
}

fn write_byte_stream(page: &mut Page, stream: &ByteStream) {
    let ByteStream { name, feed, command, content_type, client, record, url } = stream;
    page.entry(name);
    page.key(2, "feed", or_null(feed.as_ref()));
    page.key(2, "command", or_null(command.as_ref().map(|command| quoted(joined(command)))));
    page.key(2, "type", quoted(content_type));
    page.key(2, "client", word_for(&bytes::CLIENTS, client));
    page.key(2, "record", quoted(record));
    page.key(2, "url", quoted(url));
}

/// The command as configured, without what may be secret.
fn joined(command: &CommandLine) -> String {
    let CommandLine { program, arguments } = command;
    let words = std::iter::once(program).chain(arguments).map(String::as_str);
    let words = scrub::command(words);
    let words = words.iter().map(String::as_str);
    shlex::try_join(words).expect("the check refuses a NUL in a command")
}

fn write_stream(page: &mut Page, stream: &Stream) {
    let Stream {
        name,
        feed,
        encoder,
        bitrate,
        gop,
        profile,
        quality,
        size,
        fps,
        sound,
        record,
        url,
    } = stream;
    page.entry(name);
    if let Sound::Of(sound) = sound {
        page.key(2, "feeds", format_args!("{{video: {}, audio: {}}}", quoted(feed), quoted(sound)));
    } else {
        page.key(2, "feed", feed);
    }
    let encoder = match encoder {
        EncoderSetting::Auto => "auto",
        EncoderSetting::Named(name) => name,
    };
    page.key(2, "encoder", encoder);
    page.key(2, "bitrate", bitrate);
    page.key(2, "gop", gop.as_secs_f64());
    page.key(2, "profile", word_for(&streams::PROFILES, profile));
    page.key(2, "quality", or_null(quality.as_ref()));
    page.key(2, "size", or_null(size.as_ref()));
    page.key(2, "fps", or_null(fps.as_ref()));
    match sound {
        Sound::Of(_) => {}
        Sound::Feed | Sound::None => page.key(2, "audio", word_for(&streams::SOUNDS, sound)),
    }
    page.key(2, "record", quoted(record));
    page.key(2, "url", quoted(url));
}

fn write_push(page: &mut Page, push: &Push) {
    let Push { name, stream, url, backup, key, ca, audio, start } = push;
    page.entry(name);
    page.key(2, "stream", stream);
    let address = |url: &PushUrl| quoted(url.shown(key.as_ref()));
    page.key(2, "url", or_null(url.as_ref().map(address)));
    page.key(2, "backup", or_null(backup.as_ref().map(address)));
    page.hidden(2, "key", key.is_some());
    page.key(2, "ca", or_null(ca.as_ref().map(|path| quoted(path.display()))));
    page.key(2, "audio", word_for(&pushes::AUDIO, audio));
    page.key(2, "start", start);
}

/// The output so far.
#[derive(Default)]
struct Page(String);

impl Page {
    fn section(&mut self, name: &str) {
        self.line(0, format_args!("{name}:"));
    }

    fn entry(&mut self, name: impl Display) {
        self.line(1, format_args!("{}:", quoted(name)));
    }

    fn key(&mut self, depth: usize, key: &str, value: impl Display) {
        self.line(depth, format_args!("{key}: {value}"));
    }

    fn hidden(&mut self, depth: usize, key: &str, is_set: bool) {
        self.key(depth, key, if is_set { "null  # it is set, and not shown" } else { "null" });
    }

    fn line(&mut self, depth: usize, text: impl Display) {
        writeln!(self.0, "{:1$}{text}", "", 2 * depth).expect("a String takes all");
    }
}

/// In double quotes, with escapes that are valid in JSON and YAML.
fn quoted(text: impl Display) -> String {
    serde_json::Value::String(text.to_string()).to_string()
}

fn or_null(value: Option<impl Display>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::common::{STREAM, feed_keys};
    use crate::config::keys::limits::LIMITS;
    use crate::config::keys::pages::PAGES;
    use crate::config::parse_text;

    /// Every key with a value other than its default.
    const FILE: &str = "\
server: {bind: '::1', port: 8123, socket: /run/x.sock, hosts: [box.example, b], docroot: /tmp, mdns: true, priority: -5, state: /tmp,
  tls: {certificate: /tmp/cert.pem, key: '/tmp/k: #.pem'}}
feeds:
  '2': {v4l2: '/dev/v4l/by-id/a b: #1', mode: 2.5, resurrect: no, size: 800x600, fps: 12, audio: tone,
    controls: {on: 'no', Zoom-Abs: -3, menu: 'a: b #'}}
  door: {rtsp: 'rtsp://cam.local/1', transport: udp}
  turned: {feed: back, hflip: yes, size: 320x240}
  mic: {audio: {alsa: 'plughw:CARD=a b'}}
  back: {test: clock, mode: continuous, audio: silence, 
    overlay: {text: 'a: c', clock: yes, name: yes}, hflip: yes, vflip: yes, rotation: 270}
  clip: {command: \"sh -c 'cat a | tee'\", mode: 5, resurrect: off}
  fifo: {pipe: '/run/a b'}
  tour: {file: '/srv/a: b.mp4', audio: none}
streams:
  '2': {encoder: x264enc, bitrate: 123456, gop: 500ms, profile: main, quality: 20, url: /cams/a}
  back: {record: 'mon-wed 6:00-22:00, sun 9:45-11:15'}
  raw: {feed: clip, command: cat, type: video/mp2t, client: exclusive, url: /cams/a/raw.ts}
  fifo: {url: /fifo.wav}
  alone: {command: 'date --utc', record: always}
  tour: {}
  door: {}
  turned: {}
  both: {feeds: {video: door, audio: mic}}
  small: {feed: back, size: 640x360, fps: 5, audio: none}
pushes:
  tube: {stream: back, url: 'rtmp://a.example/live', backup: 'rtmp://b.example/live', audio: tone,
    ca: '/tmp/ca: #.pem',    start: true}
recordings: {folder: /tmp, keep: {days: 7, size: 10G, free: 500M, clock: any}, split: 10m}
pages: {home: no, stat: /my/stat, stat_json: no, metrics: /m, config: yes, clients: yes}
log: {level: debug, folder: /tmp}
";

    #[test]
    fn the_output_parses_to_the_same_settings() {
        let settings = parse_text(FILE).unwrap();
        let text = yaml(&settings);
        let again = parse_text(&text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        assert_eq!(format!("{again:#?}"), format!("{settings:#?}"));
        let push = &again.pushes[0];
        assert_eq!(push.url.as_ref().unwrap().secret().reveal(), "rtmp://a.example/live");
    }

    /// Keys that are resolved before the settings, and one that is kept with its password.
    const NOT_PRINTED: [&str; 3] = ["template", "args", "user"];

    #[test]
    fn every_key_is_printed_in_its_section() {
        let text = yaml(&parse_text(FILE).unwrap());
        let sections: [(&str, usize, &[&str]); 10] = [
            ("server", 1, &service::SERVER),
            ("access", 1, &service::ACCESS),
            ("rtsp", 1, &service::RTSP),
            ("feeds", 2, &feed_keys()),
            ("streams", 2, &STREAM),
            ("pushes", 2, &pushes::PUSH),
            ("recordings", 1, &recordings::RECORDINGS),
            ("pages", 1, &PAGES),
            ("limits", 1, &LIMITS),
            ("log", 1, &service::LOG),
        ];
        for (section, depth, keys) in sections {
            let (_, inside) = text.split_once(&format!("{section}:\n")).unwrap();
            let lines: Vec<_> = inside.lines().take_while(|line| line.starts_with(' ')).collect();
            for key in keys.iter().filter(|key| !NOT_PRINTED.contains(key)) {
                let start = format!("{:1$}{key}:", "", 2 * depth);
                let is_printed = lines.iter().any(|line| line.starts_with(&start));
                assert!(is_printed, "{section} without {key}:\n{text}");
            }
        }
    }

    #[test]
    fn a_configuration_of_fmp4streamer_is_printed_in_the_format_of_livebox() {
        let settings = parse_text(
            "[server]\npriority = 5\n[/dev/video0]\nfps = 24\nh264_i_frame_period = 7\nrotation = 180\n\
             brightness = 3\n[/dev/video1]\nauto_sleep = no\n",
        );
        let settings = settings.unwrap();
        let text = yaml(&settings);
        let again = parse_text(&text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        assert_eq!(format!("{again:#?}"), format!("{settings:#?}"));
    }

    #[test]
    fn no_secret_is_printed() {
        let file = "feeds: {a: {test: clock}, b: {rtsp: 'rtsp://me:PASS-2@a/x?k=KEY-4'}, \
            c: {rtsp: 'rtsp://a/x', user: me, password: PASS-3}}\n\
            streams: {a: {password: HASH}, b: {}, c: {},\
            d: {command: 'ff -i rtsp://me:PASS-5@cam/x rtmp://a/live/KEY-5'},\
            e: {command: 'curl -u me:PASS-6 --key KEY-6 --token=KEY-7 http://h/?t=KEY-8'},\
            f: {command: \"sh -c 'curl -H \\\"Authorization: Basic KEY-9\\\" h'\"}}\n\
            access: {password: HASH}\n\
            pages: {password: HASH}\n\
            pushes: {one: {url: 'rtmp://me:PASS-1@a.example/live/KEY-1'}, \
            two: {url: 'rtmp://a.example/live', key: KEY-2, backup: 'rtmp://b.example/l?k=KEY-3'}}\n";
        let hash = "'$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA'";
        let text = yaml(&parse_text(&file.replace("HASH", hash)).unwrap());
        for secret in ["argon2", "PASS-", "KEY-"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!(text.matches("it is set").count(), 5, "{text}");
    }
}
