//! Errors of real elements, some from small servers on loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use super::*;
use crate::base::secret::Secret;
use crate::host::running::Running;
use crate::model::failure::Failure;

/// What the pipeline `line` fails with.
async fn failure(line: &str) -> Failure {
    gst::init().unwrap();
    let mut running = Running::build(line, vec![Secret::new("KEY-1")]).unwrap();
    let failure = match running.play() {
        Ok(()) => running.ended().await,
        Err(failure) => failure,
    };
    running.close().await;
    failure
}

async fn cause(line: &str) -> Cause {
    let failure = failure(line).await;
    let Failure::Known { cause, .. } = failure else { panic!("{failure:?} is not recognised") };
    cause
}

/// The URL of an RTSP camera that gives each request `answer` as its status.
fn camera(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
            while let Some(Ok(request)) = lines.next() {
                let headers =
                    lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty());
                let sequence = headers.filter(|line| line.starts_with("CSeq")).last().unwrap();
                let status = if request.starts_with("OPTIONS") { "200 OK" } else { answer };
                let challenge = "WWW-Authenticate: Basic realm=\"camera\"";
                write!(socket, "RTSP/1.0 {status}\r\n{sequence}\r\n{challenge}\r\n\r\n").unwrap();
            }
        }
    });
    format!("rtsp://127.0.0.1:{port}/door")
}

fn rtspsrc(url: &str) -> String {
    format!("rtspsrc location={url} protocols=tcp ! fakesink")
}

/// A port on which nothing listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_camera_that_asks_for_a_password_is_recognised_with_and_without_one() {
    let url = camera("401 Unauthorized");
    assert_eq!(cause(&rtspsrc(&url)).await, Cause::PasswordNeeded);
    let with_login = url.replace("rtsp://", "rtsp://anna:wrong@");
    assert_eq!(cause(&rtspsrc(&with_login)).await, Cause::PasswordRefused);
    let by_property = rtspsrc(&url).replace(" !", " user-id=anna user-pw=wrong !");
    assert_eq!(cause(&by_property).await, Cause::PasswordRefused);
}

#[tokio::test]
async fn a_camera_without_the_stream_is_recognised() {
    let host = "127.0.0.1".to_owned();
    assert_eq!(cause(&rtspsrc(&camera("404 Not Found"))).await, Cause::NoSuchStream { host });
}

#[tokio::test]
async fn it_is_told_apart_why_a_camera_cannot_be_reached() {
    let (peer, port) = (Peer::Camera, closed_port());
    let url = format!("rtsp://127.0.0.1:{port}/door");
    let unreached = cause(&rtspsrc(&url)).await;
    let host = "127.0.0.1".to_owned();
    assert_eq!(unreached, Cause::NoAnswer { peer, host: host.clone() });
    assert_eq!(refined(unreached, &url).await, Cause::ConnectionRefused { peer, host, port });

    let (url, host) = ("rtsp://camera.invalid/door", "camera.invalid".to_owned());
    let unreached = cause(&rtspsrc(url)).await;
    assert_eq!(refined(unreached, url).await, Cause::UnknownHost { peer, host });
}

#[tokio::test]
async fn what_is_known_about_a_camera_is_not_asked_again() {
    assert_eq!(refined(Cause::PasswordNeeded, "rtsp://127.0.0.1/").await, Cause::PasswordNeeded);
}

#[tokio::test]
async fn a_receiver_that_cannot_be_reached_is_recognised_without_its_key() {
    let (peer, port) = (Peer::Receiver, closed_port());
    let push = |address: &str| {
        format!(
            "videotestsrc ! fakesink flvmux name=mux ! rtmp2sink location=rtmp://{address}/live/KEY-1 \
                 audiotestsrc ! voaacenc ! mux."
        )
    };
    let failure = failure(&push(&format!("127.0.0.1:{port}"))).await;
    let Failure::Known { cause: refused, message } = failure else { panic!("{failure:?}") };
    let host = "127.0.0.1".to_owned();
    assert_eq!(refused, Cause::ConnectionRefused { peer, host, port });
    assert!(message.starts_with("rtmp2sink: ") && !message.contains("KEY-1"), "{message}");

    let host = "receiver.invalid".to_owned();
    assert_eq!(cause(&push(&host)).await, Cause::UnknownHost { peer, host });
}

#[test]
fn errors_on_the_connection_to_a_receiver_are_told_apart() {
    let cause = |code: IOErrorEnum, message| {
        of_io_error(code.into_glib(), message, "example.org".to_owned())
    };
    let failed = "Failed to connect: 'publish' cmd failed: connection closed remotely";
    assert_eq!(cause(IOErrorEnum::Failed, failed), Some(Cause::KeyRefused));
    let host = "example.org".to_owned();
    let failed = "Failed to connect: 'connect' cmd failed: connection closed remotely";
    assert_eq!(cause(IOErrorEnum::Failed, failed), Some(Cause::PathRefused { host }));
    let exists = "Failed to connect: publish denied; stream already exists";
    assert_eq!(cause(IOErrorEnum::Exists, exists), Some(Cause::KeyInUse));
    let closed = "Connection error: connection closed remotely";
    assert_eq!(cause(IOErrorEnum::BrokenPipe, closed), Some(Cause::ReceiverClosed));
    assert!(matches!(cause(IOErrorEnum::TimedOut, ""), Some(Cause::NoAnswer { .. })));
    assert!(matches!(cause(IOErrorEnum::PartialInput, ""), Some(Cause::WrongProtocol { .. })));
    assert_eq!(cause(IOErrorEnum::Failed, "Failed to connect"), None);
}

#[test]
fn the_error_of_gio_is_read_from_the_last_line() {
    let debug = "gstrtmp2sink.c(1117): send_connect_error ():\ndomain g-io-error-quark, code 24";
    assert_eq!(domain_and_code(debug), Some(("g-io-error-quark", 24)));
    for other in ["", "domain", "domain a, code b", "gstrtmp2sink.c(1114)"] {
        assert_eq!(domain_and_code(other), None, "{other:?}");
    }
}

#[tokio::test]
async fn a_missing_device_or_file_is_recognised_with_its_name() {
    let (kind, device) = (Device::Camera, "/dev/nowhere".to_owned());
    let found = cause("v4l2src device=/dev/nowhere ! fakesink").await;
    assert_eq!(found, Cause::NoDevice { kind, device });

    let (kind, device) = (Device::SoundCard, "plughw:CARD=nowhere".to_owned());
    let found = cause("alsasrc device=plughw:CARD=nowhere ! fakesink").await;
    assert_eq!(found, Cause::NoDevice { kind, device });

    let found = cause("filesrc location=/nowhere.mp4 ! fakesink").await;
    assert_eq!(found, Cause::NoFile { path: "/nowhere.mp4".into() });
}

#[test]
fn a_device_in_use_or_out_of_reach_is_recognised() {
    gst::init().unwrap();
    let element = gst::ElementFactory::make("alsasrc").property("device", "hw:1").build().unwrap();
    let (kind, device) = (Device::SoundCard, "hw:1".to_owned());
    let cause = |class, debug| of_device(kind, &element, class, debug);
    let busy = Some(Cause::DeviceBusy { kind, device: device.clone() });
    assert_eq!(cause(gst::ResourceError::Busy, ""), busy);
    let denied = "Recording open error on device 'hw:1': Permission denied";
    let forbidden = Some(Cause::DeviceForbidden { kind, device: device.clone() });
    assert_eq!(cause(gst::ResourceError::OpenRead, denied), forbidden);
    // A read fails when the card is unplugged.
    assert_eq!(cause(gst::ResourceError::Read, ""), Some(Cause::NoDevice { kind, device }));
    assert_eq!(cause(gst::ResourceError::Settings, ""), None);
}
