//! What came of the matrix, as a page of the documentation.

use std::fmt::Write;
use std::path::Path;

use crate::client::Client;
use crate::matrix::{Combination, Outcome};
use crate::measure::Seen;
use crate::way::{Case, Way};

/// The page, from the root of the repository.
const PAGE: &str = "docs/clients.md";

/// What stands before the table.
const BEFORE: &str = include_str!("page.md");

/// Writes the page. What was not played this time keeps what the page says of it.
pub(crate) fn write(outcomes: &[Outcome]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let folder = path.parent().expect("it is in a folder");
    std::fs::create_dir_all(folder).expect("the repository is writable");
    std::fs::write(path, page(outcomes, &before)).expect("the repository is writable");
}

/// The page as text; `before` is what it was.
fn page(outcomes: &[Outcome], before: &str) -> String {
    let rows: Vec<Vec<&str>> = before.lines().map(cells).collect();
    let mut text = BEFORE.to_owned();
    text.push_str("| client | way |");
    Case::ALL.iter().for_each(|case| add(&mut text, &format!(" {} |", case.title())));
    text.push_str("\n|---|---|---|---|---|---|\n");
    for client in Client::ALL {
        for way in Way::ALL.into_iter().filter(|way| client.knows(*way)) {
            let names = [client.title().to_owned(), format!("`{}`", way.title())];
            add(&mut text, &format!("| {} | {} |", names[0], names[1]));
            let row = rows.iter().find(|row| row.len() == 6 && row[..2] == names);
            for (index, case) in Case::ALL.into_iter().enumerate() {
                let of = Combination { client, way, case };
                let kept = row.map_or("not measured", |row| row[2 + index]);
                add(&mut text, &format!(" {} |", cell(outcomes, of, kept)));
            }
            text.push('\n');
        }
    }
    text.push_str(&failures(outcomes, &rows));
    text.push_str(&limits());
    text
}

/// What stands in a row of a table.
fn cells(line: &str) -> Vec<&str> {
    let inside = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|'));
    inside.map(|line| line.split('|').map(str::trim).collect()).unwrap_or_default()
}

fn cell(outcomes: &[Outcome], of: Combination, kept: &str) -> String {
    if !of.is_possible() {
        return "–".to_owned();
    }
    match outcomes.iter().find(|one| one.of == of).map(|one| (one.fault(), &one.seen)) {
        None => kept.to_owned(),
        Some((None, Ok(seen))) => seen.to_string(),
        Some(_) => "**fails**".to_owned(),
    }
}

fn failures(outcomes: &[Outcome], rows: &[Vec<&str>]) -> String {
    let mut text = String::new();
    for of in Combination::all() {
        let title = of.title();
        let fault = match outcomes.iter().find(|one| one.of == of) {
            Some(outcome) => outcome.fault(),
            None => {
                let row = rows.iter().find(|row| row.len() == 4 && row[..3].join(" | ") == title);
                row.map(|row| row[3].to_owned())
            }
        };
        if let Some(fault) = fault {
            let fault = fault.replace(['|', '\n'], " ");
            add(&mut text, &format!("| {title} | {fault} |\n"));
        }
    }
    if text.is_empty() {
        return text;
    }
    let head = "| client | way | stream | what is seen |\n|---|---|---|---|\n";
    format!("\n## What fails\n\n{head}{text}")
}

fn limits() -> String {
    let mut text = "\n## What cannot work\n\n| client | way | why |\n|---|---|---|\n".to_owned();
    for client in Client::ALL {
        for way in Way::ALL {
            let (title, way_title) = (client.title(), way.title());
            if let (false, Some(reason)) = (client.knows(way), client.limit(way, Case::Running)) {
                add(&mut text, &format!("| {title} | `{way_title}` | {reason} |\n"));
                continue;
            }
            for case in Case::ALL {
                if let Some(reason) = client.limit(way, case) {
                    let case = case.title();
                    add(&mut text, &format!("| {title} | `{way_title}`, {case} | {reason} |\n"));
                }
            }
        }
    }
    text
}

fn add(text: &mut String, more: &str) {
    text.write_str(more).expect("text grows");
}

#[test]
fn what_is_not_played_again_keeps_its_place_on_the_page() {
    let of = |case| Combination { client: Client::Vlc, way: Way::Ts, case };
    let good = Outcome { of: of(Case::Running), seen: Ok(Seen::default()) };
    let bad = Outcome { of: of(Case::Resting), seen: Err("it | ended".to_owned()) };
    let first = page(&[good, bad], "");
    assert!(first.contains("| VLC | .ts | at rest | it   ended |"), "{first}");
    assert_eq!(page(&[], &first), first);
}
