//! What is masked and what is not.

use proptest::prelude::*;

use super::*;

#[test]
fn text_without_secrets_is_unchanged() {
    for plain in [
        "boom\n",
        "frame=  250 fps= 25 q=28.0 size=    1024kB time=00:00:10.00 bitrate= 838.9kbits/s\r",
        "[h264 @ 0x5581] error while decoding MB 45 12, bytestream -7\n",
        "Connection to tcp://cam.local:554 failed",
        "Input #0, rtsp, from 'rtsp://cam.local:554/stream1':\n",
        "ffmpeg -f v4l2 -i /dev/video0 -c:v libx264 -g 30 -b:v 2M -f mpegts -",
        "keyint=250 keyint_min=25 scenecut=40",
        "date -u +%s",
        "mail me@example.com at 12:30",
        "Stream #0:0: Video: h264 (High), yuv420p, 1280x720, 25 fps",
        "",
    ] {
        assert_eq!(text(plain), plain);
    }
}

#[test]
fn secrets_are_masked_in_each_known_form() {
    for (input, masked) in [
        ("rtsp://u:p@cam/live: 401\n", "rtsp://•••@cam/live: 401\n"),
        ("rtsp://u:p@ss:w@cam/live", "rtsp://•••@cam/live"),
        ("http://cam/v?user=u&pwd=p failed", "http://cam/v?••• failed"),
        ("http://cam/#access_token=x y", "http://cam/#••• y"),
        ("rtmps://a.example/live2/K-1: x", "rtmps://a.example/live2/••• x"),
        ("'rtmp://a.example/app/K-1?x=y'", "'rtmp://a.example/app/•••?•••'"),
        ("rtmp://a.example/K-1", "rtmp://a.example/•••"),
        ("[f=flv]rtmp://a/l/K|[f=flv]rtmp://b/l/K", "[f=flv]rtmp://a/l/•••|[f=flv]rtmp://b/l/•••"),
        ("srt://h:9000?streamid=S&passphrase=P", "srt://h:9000?•••"),
        ("password=p1 stream_key=abc a=b", "password=••• stream_key=••• a=b"),
        ("Token: abc", "Token: •••"),
        ("{\"password\": \"a b\", \"n\": 1}", "{\"password\": \"•••\", \"n\": 1}"),
        ("\"{\\\"token\\\": \\\"abc\\\"}\"", "\"{\\\"token\\\": \\\"•••\""),
        ("> Authorization: Basic YTpi\r\n", "> Authorization: •••\r\n"),
        ("Cookie: a=b; c=d\n", "Cookie: •••\n"),
        (
            "curl -H \"Authorization: Bearer x y\" http://h/",
            "curl -H \"Authorization: •••\" http://h/",
        ),
        ("curl -H 'X-Api-Key: x' -u a:b h", "curl -H 'X-Api-Key: •••' -u ••• h"),
        ("curl -u 'a:b c' -uuser:pw --user=a:b h", "curl -u '•••' -u••• --user=••• h"),
        ("tool --password hunter2 -v", "tool --password ••• -v"),
        ("tool --key \"a b\" -passphrase c", "tool --key \"•••\" -passphrase •••"),
        ("sent Bearer abc.def", "sent Bearer •••"),
        ("scp user:pw@host:/x .", "scp •••@host:/x ."),
        ("proxy=user:p=w@host", "proxy=•••@host"),
    ] {
        assert_eq!(text(input), masked);
        assert_eq!(text(masked), masked, "masked twice");
    }
}

#[test]
fn a_secret_argument_with_blanks_is_masked_whole() {
    for (words, masked) in [
        (&["tool", "--password", "a b", "-v"][..], &["tool", "--password", "•••", "-v"][..]),
        (&["tool", "password=a b"], &["tool", "password=•••"]),
        (&["curl", "-u", "me:a b", "h"], &["curl", "-u", "•••", "h"]),
        (&["curl", "-ume:a b", "--user=me:a b"], &["curl", "-u•••", "--user=•••"]),
        (&["curl", "-H", "Authorization: Basic a b"], &["curl", "-H", "Authorization:•••"]),
        (&["curl", "-sSu", "me:pw", "h"], &["curl", "-sSu", "•••", "h"]),
        (&["date", "-u", "+%s"], &["date", "-u", "+%s"]),
        (&["sh", "-c", "curl -u me:a h | cat"], &["sh", "-c", "curl -u ••• h | cat"]),
        (&["ffmpeg", "-i", "rtsp://a:b@c/d"], &["ffmpeg", "-i", "rtsp://•••@c/d"]),
        (&["x", "-rtmp_playpath", "K"], &["x", "-rtmp_playpath", "•••"]),
    ] {
        assert_eq!(command(words.iter().copied()), masked);
    }
}

#[test]
fn a_secret_split_between_two_reads_is_masked() {
    let mut lines = Lines::default();
    assert_eq!(lines.push(b"rtsp://us"), "");
    assert_eq!(lines.push(b"er:pa"), "");
    assert_eq!(lines.push(b"ss@h/x failed\nnext: pass"), "rtsp://•••@h/x failed\n");
    assert_eq!(lines.push(b"word=abc"), "");
    assert_eq!(lines.finish(), "next: password=•••");
    assert_eq!(lines.finish(), "");
}

#[test]
fn an_endless_line_takes_bounded_memory_and_its_last_word_is_removed() {
    let mut lines = Lines::default();
    for _ in 0..1000 {
        assert_eq!(lines.push(&[b'x'; 100]), "");
    }
    assert!(lines.line.len() <= MAX_LINE_BYTES);
    assert_eq!(lines.push(b"\n"), "…\n");
    let long = format!("{} user:{}@host\n", "x".repeat(MAX_LINE_BYTES - 20), "y".repeat(100));
    let masked = lines.push(long.as_bytes());
    assert!(masked.ends_with("x…\n"), "{masked}");
}

/// Every known form of a secret, as a line and as words of a command.
const FORMS: [&str; 23] = [
    "rtsp://user:SECRET@cam.local:554/x",
    "rtsp://SECRET@cam/x",
    "http://cam/v?token=SECRET",
    "http://cam/v?a=b&c=SECRET#d",
    "rtmp://a.example/live/SECRET",
    "rtmps://a.example:443/live2/x/SECRET?y=z",
    "srt://h:1?streamid=SECRET",
    "user:SECRET@host",
    "--proxy=user:SECRET@host:80",
    "--password SECRET",
    "--password=SECRET",
    "-passphrase SECRET",
    "--stream-key SECRET",
    "-u user:SECRET",
    "-su user:SECRET",
    "-uuser:SECRET",
    "--user user:SECRET",
    "--user=user:SECRET",
    "-H 'Authorization: Basic SECRET'",
    "API_TOKEN=SECRET",
    "{\"api_key\":\"SECRET\"}",
    "'passwd: SECRET'",
    "'Cookie: session=SECRET; other=SECRET'",
];

proptest! {
    #[test]
    fn no_known_form_shows_its_secret(
        secret in "[a-zA-Z0-9]{6,12}",
        form in 0..FORMS.len(),
        before in "[a-z ]{0,10}",
        after in "[a-z ]{0,10}",
    ) {
        let secret = format!("S{secret}7");
        let line = format!("{before} {} {after}", FORMS[form].replace("SECRET", &secret));
        let masked = text(&line);
        prop_assert!(!masked.contains(&secret), "{}", masked);
        let words = shlex::split(&line).unwrap();
        let masked = command(words.iter().map(String::as_str)).join(" ");
        prop_assert!(!masked.contains(&secret), "{}", masked);
    }

    #[test]
    fn no_user_of_a_url_is_shown(user in "[a-z0-9]{8}", rest in "[A-Z /?.:]{0,20}") {
        let masked = text(&format!("rtsp://{user}:{user}@host/{rest}"));
        prop_assert!(!masked.contains(&user));
    }

    #[test]
    fn the_result_does_not_depend_on_where_reads_end(input in "[a-z:=@/ \n\"é]{0,60}", cut in 0_usize..60) {
        let (mut whole, mut pieces) = (Lines::default(), Lines::default());
        let at_once = whole.push(input.as_bytes()) + &whole.finish();
        let (one, two) = input.as_bytes().split_at(cut.min(input.len()));
        let in_two = pieces.push(one) + &pieces.push(two) + &pieces.finish();
        prop_assert_eq!(at_once, in_two);
    }

    #[test]
    fn no_text_causes_a_panic(input in "\\PC{0,80}", words in prop::collection::vec("\\PC{0,20}", 0..6)) {
        text(&input);
        command(words.iter().map(String::as_str));
    }

    #[test]
    fn no_mixture_of_delimiters_causes_a_panic(input in "[-:=@/?#'\"|a-e\\\\ \n•]{0,40}key[-:=@/?#'\" \\\\]{0,9}") {
        text(&input);
        command([input.as_str(), "-u", input.as_str()]);
    }

    #[test]
    fn no_bytes_cause_a_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut lines = Lines::default();
        lines.push(&input);
        lines.finish();
    }
}
