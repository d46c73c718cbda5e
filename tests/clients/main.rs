//! The matrix of real clients: every player that people use, on every way out
//! of livebox that it can take, shows what the camera gives.
//!
//! Both tests are ignored unless asked for, as they install players and take
//! their time: `make clients` and `make clients-quick`. `CLIENTS="vlc .ts"`
//! chooses the combinations in whose title all of these words stand.

#[expect(dead_code, unreachable_pub, reason = "the harness is a part of several programs")]
#[path = "../common/mod.rs"]
mod common;

mod browser;
mod client;
mod film;
mod install;
mod made;
mod matrix;
mod measure;
mod player;
mod processors;
mod programs;
mod table;
mod way;

use matrix::{Combination, Outcome};

#[test]
#[ignore = "three minutes, and players from elsewhere: make clients-quick"]
fn each_client_shows_the_stream_on_its_usual_way() {
    let outcomes = matrix::play(&Combination::usual());
    assert_no_complaints(&outcomes);
}

#[test]
#[ignore = "forty minutes, and players from elsewhere: make clients"]
fn every_client_shows_the_stream_on_every_way_out() {
    let words = std::env::var("CLIENTS").unwrap_or_default().to_lowercase();
    let is_meant = |one: &Combination| {
        let title = one.title().to_lowercase();
        words.split_whitespace().all(|word| title.contains(word))
    };
    let all: Vec<Combination> = Combination::all().into_iter().filter(is_meant).collect();
    assert!(!all.is_empty(), "no combination has {words:?} in its title");
    let outcomes = matrix::play(&all);
    table::write(&outcomes);
    assert_no_complaints(&outcomes);
}

fn assert_no_complaints(outcomes: &[Outcome]) {
    let complaints: Vec<String> = outcomes.iter().filter_map(Outcome::complaint).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}
