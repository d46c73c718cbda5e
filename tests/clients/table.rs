//! What came of the matrix, as a page of the documentation.

use std::fmt::Write;
use std::path::Path;

use crate::client::{Client, exists};
use crate::known;
use crate::matrix::Outcome;
use crate::way::{Case, Way};

/// The page, from the root of the repository.
const PAGE: &str = "docs/clients.md";

const BEFORE: &str = "\
# Real clients

Every client below plays every way out of livebox that it can. `make clients` does it again and writes
this page; `make clients-quick` takes each client on its usual way only. A combination that fails fails the test.

The stream is a film of 30 pictures a second, 320x192, whose pictures carry their number as black and white bars, which
are read from what the client shows: from its window where it has one, else from what it decodes. When a picture was
made is when livebox's packager got it, as `?stamp=1` tells it. Each cell has three figures:

- **Shown**: of the 300 pictures that livebox made in the ten seconds from the client's first picture on, those that
  the client showed. At least 90 % are asked for. Pictures shown twice (a client that has the rate wrong), damaged
  ones and those of an earlier run of the feed fail the test as well.
- **First**: from the start of the client's process (in a browser: from setting the address) to its first picture.
- **Behind**: from the packager to the client, the median of the pictures that count. The buffers of the
  client are in it: each is used as it comes, without options for low latency. `.aac` has no pictures, so it has no
  such figure, and what counts is seconds of sound.

The streams:

- **running**: encoded by livebox, with AAC, running before the client comes.
- **at rest**: passed through, with AAC, on demand. It has been watched and is idle again when the client comes.
- **password**: passed through, with AAC, running, with a password, which stands in the client's address.
- **no sound**: encoded by livebox, running, only pictures.

";

/// Writes the page.
pub(crate) fn write(outcomes: &[Outcome]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    std::fs::write(path, page(outcomes)).expect("the repository is writable");
}

/// The page as text.
fn page(outcomes: &[Outcome]) -> String {
    let mut text = BEFORE.to_owned();
    text.push_str("| client | way |");
    Case::ALL.iter().for_each(|case| add(&mut text, &format!(" {} |", case.title())));
    text.push_str("\n|---|---|---|---|---|---|\n");
    for client in Client::ALL {
        for way in Way::ALL.into_iter().filter(|way| client.limit(*way).is_none()) {
            add(&mut text, &format!("| {} | `{}` |", client.title(), way.title()));
            for case in Case::ALL {
                add(&mut text, &format!(" {} |", cell(outcomes, client, way, case)));
            }
            text.push('\n');
        }
    }
    text.push_str(&failures(outcomes));
    text.push_str(&limits());
    text
}

fn cell(outcomes: &[Outcome], client: Client, way: Way, case: Case) -> String {
    if !exists(way, case) {
        return "–".to_owned();
    }
    let is_meant =
        |one: &&Outcome| one.of.client == client && one.of.way == way && one.of.case == case;
    match outcomes.iter().find(is_meant).map(|one| (one.fault(), &one.seen)) {
        None => "not measured".to_owned(),
        Some((None, Ok(seen))) => seen.to_string(),
        Some(_) => "**fails**".to_owned(),
    }
}

fn failures(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for one in outcomes {
        let Some(fault) = one.fault() else { continue };
        let reason = known::reason(one.of.client, one.of.way, one.of.case);
        let reason = reason.unwrap_or("not known");
        let fault = fault.replace(['|', '\n'], " ");
        add(&mut text, &format!("| {} | {fault} | {reason} |\n", one.of.title()));
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "\n## What fails\n\n| client | way | stream | what is seen | why |\n|---|---|---|---|---|\n{text}"
    )
}

fn limits() -> String {
    let mut text = "\n## What cannot work\n\n| client | way | why |\n|---|---|---|\n".to_owned();
    for client in Client::ALL {
        for way in Way::ALL {
            if let Some(reason) = client.limit(way) {
                add(&mut text, &format!("| {} | `{}` | {reason} |\n", client.title(), way.title()));
            }
        }
    }
    text
}

fn add(text: &mut String, more: &str) {
    text.write_str(more).expect("text grows");
}
