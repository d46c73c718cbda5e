//! No mistake makes a stream key or a password readable in an error.

use proptest::prelude::*;

use super::*;

/// A file with a secret at every place that may hold one.
fn file_with(secret: &str) -> String {
    format!(
        "access:\n  password: {secret}\n\
         feeds:\n  camera: {{test: clock, audio: tone}}\n  \
         door: {{rtsp: \"rtsp://me:{secret}@cam.local/1\", transport: udp}}\n  \
         yard:\n    rtsp: rtsp://cam.local/2\n    user: me\n    password: {secret}\n\
         streams:\n  camera:\n    bitrate: 1M\n  door: {{}}\n  yard: {{}}\n\
         pushes:\n  one:\n    url: rtmps://a.example/live2\n    key: {secret}\n    start: true\n  \
         two: {{stream: camera, url: \"rtmp://a.example/live2/{secret}\", audio: feed}}\n\
         templates:\n  commands:\n    send: \"ff -k {secret} {{key}}\"\n  sets:\n    tube:\n      params: [k]\n      \
         pushes: {{\"{{name}}\": {{url: rtmp://a.example/live2, key: \"{{k}}\"}}}}\n\
         use:\n  - {{set: tube, name: three, k: {secret}}}\n"
    )
}

/// A slip of an editor: something goes missing or appears at some place.
#[derive(Clone, Debug)]
enum Slip {
    Drop { at: usize, count: usize },
    Put { at: usize, what: &'static str },
    Swap { at: usize },
}

fn slip() -> impl Strategy<Value = Slip> {
    let odd = prop::sample::select(vec![
        " ", "\n", ":", ": ", "\t", "&", "*", "!", "{", "}", "[", "]", "'", "\"", "#", "- ", "|",
        "x", "0", "\n  ", ",", "://", "---\n", "?", "%", "\u{0}", "é",
    ]);
    let at = 0_usize..900;
    prop_oneof![
        (at.clone(), 1_usize..6).prop_map(|(at, count)| Slip::Drop { at, count }),
        (at.clone(), odd).prop_map(|(at, what)| Slip::Put { at, what }),
        at.prop_map(|at| Slip::Swap { at }),
    ]
}

/// The text after the slips, none of which falls into a secret.
fn spoil(text: &str, secret: &str, slips: &[Slip]) -> String {
    slips.iter().fold(text.to_owned(), |text, slip| {
        let spoiled = apply(&text, slip);
        let keeps = spoiled.matches(secret).count() == text.matches(secret).count();
        if keeps { spoiled } else { text }
    })
}

fn apply(text: &str, slip: &Slip) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let end = letters.len();
    match slip {
        Slip::Drop { at, count } => {
            letters.drain((*at).min(end)..(at + count).min(end));
        }
        Slip::Put { at, what } => {
            let at = (*at).min(end);
            letters.splice(at..at, what.chars());
        }
        Slip::Swap { at } if at + 1 < end => letters.swap(*at, at + 1),
        Slip::Swap { .. } => {}
    }
    letters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_slip_of_an_editor_shows_a_secret(
        secret in "[a-zA-Z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4}-[a-zA-Z0-9.$_]{3}[a-z0-9]",
        slips in proptest::collection::vec(slip(), 1..6),
    ) {
        let text = spoil(&file_with(&secret), &secret, &slips);
        if let Err(problems) = parse_text(&text) {
            let said = lines(&problems);
            prop_assert!(!said.contains(&secret), "{said}\nabout\n{text}");
            let logged = format!("{problems:?}");
            prop_assert!(!logged.contains(&secret));
        }
    }
}

proptest! {
    #[test]
    fn a_secret_of_the_environment_is_not_shown(secret in "[a-zA-Z0-9-]{12,30}") {
        let names = ["ACCESS__PASSWORD", "PUSHES__P__URL", "PUSHES__P__KEY__X", "ACCESS__KEY"];
        let variables = names.map(|name| (format!("LIVEBOX__{name}"), secret.clone()));
        let problems = parse_layers(SMALL, &variables, &Overrides::default()).unwrap_err();
        prop_assert_eq!(problems.len(), 4);
        prop_assert!(!lines(&problems).contains(&secret));
    }
}

#[test]
fn settings_show_no_secret_when_they_are_logged() {
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$\
                aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
    let settings = parse_text(&format!(
        "{SMALL}access: {{password: '{hash}'}}\n\
         pushes: {{p: {{url: rtmp://a.example/live2/djt.zepf, key: h0qx-1z8d}}}}\n"
    ))
    .unwrap();
    assert_eq!(settings.access.password.as_ref().unwrap().reveal(), hash);
    let logged = format!("{settings:?}");
    for secret in ["argon2", "djt.zepf", "h0qx"] {
        assert!(!logged.contains(secret), "{logged}");
    }
}
