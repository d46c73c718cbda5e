//! What a `cat` between a feed of bytes and its viewers adds: the feed writes
//! the time, and a viewer reads how long ago that was.

use std::io::{BufRead as _, BufReader};
use std::net::Shutdown;
use std::time::Duration;

use crate::common::http::Http;
use crate::common::livebox::Livebox;
use crate::spread::Spread;
use crate::stage::SETTLE;
use crate::stamps::now_ns;

/// Fifty times a second, as pictures come.
const FEED: &str = "sh -c 'while :; do date +%s%N; sleep 0.02; done'";

/// From the feed to a viewer, directly and through `cat`.
pub(crate) struct Delays {
    pub(crate) direct: Spread,
    pub(crate) through: Spread,
}

impl Delays {
    pub(crate) fn measure(span: Duration) -> Self {
        let livebox = Livebox::start(&format!(
            "feeds: {{time: {{command: \"{FEED}\"}}}}\n\
             streams:\n  direct: {{feed: time}}\n  through: {{feed: time, command: cat}}\n"
        ));
        std::thread::scope(|scope| {
            let http = livebox.http();
            let of = |path| scope.spawn(move || delays(http, path, span));
            let (direct, through) = (of("/direct"), of("/through"));
            let join = |one: std::thread::ScopedJoinHandle<'_, Spread>| {
                one.join().expect("readers do not panic")
            };
            Self { direct: join(direct), through: join(through) }
        })
    }

    /// What it adds to the middle, in milliseconds.
    pub(crate) fn added(&self) -> f64 {
        self.through.median() - self.direct.median()
    }
}

fn delays(http: Http, path: &str, span: Duration) -> Spread {
    let (_, body) = http.open(path);
    let socket = body.socket();
    let end = now_ns() + u64::try_from((SETTLE + span).as_nanos()).expect("it is short");
    let begin = end - u64::try_from(span.as_nanos()).expect("it is short");
    let mut all = Vec::new();
    for line in BufReader::new(body).lines() {
        let now = now_ns();
        // The first line may be half of one.
        let written = line.ok().and_then(|line| line.parse::<u64>().ok());
        match written {
            _ if now > end => break,
            Some(written) if now > begin => all.push(now.saturating_sub(written) as f64 / 1e6),
            Some(_) | None => {}
        }
    }
    // Fails only where livebox was quicker.
    socket.shutdown(Shutdown::Both).ok();
    Spread::of_ms(all)
}
