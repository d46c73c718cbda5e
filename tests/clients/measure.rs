//! Watching a client for as long as it takes to judge it.
//!
//! What counts are the pictures that livebox made in the ten seconds that
//! begin with the first picture of the client: how many of them it has shown,
//! be it later, and how long after they were made.

use std::collections::BTreeMap;
use std::fmt;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::wait;
use crate::made::{Made, Pictures, Recording};
use crate::player::{Player, Shown, What, now_ms};

/// Of what is made in so many seconds...
const SPAN_S: f64 = 10.0;
/// ...a client shows at least this part.
const ENOUGH_PERCENT: f64 = 90.0;
/// More than this part of the pictures is shown twice only by a client that has the rate wrong.
const TWICE_PERCENT: f64 = 10.0;
const DAMAGED_PERCENT: f64 = 2.0;
/// No player that works stays further behind live than this.
const BEHIND_S: f64 = 8.0;
/// A picture older than this belongs to an earlier run of the feed.
const OLD_MS: f64 = 30_000.0;
const FIRST_LIMIT: Duration = Duration::from_secs(40);
/// How far behind a client may be and still be waited for.
const PATIENCE_S: f64 = 15.0;

/// How a client did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Of what was made in the span.
    pub(crate) percent: f64,
    /// From the start of the client to its first picture or sound.
    pub(crate) first_s: f64,
    /// From the packager to the client, median; nothing where there are no pictures.
    pub(crate) behind_s: Option<f64>,
    twice_percent: f64,
    damaged_percent: f64,
    old: usize,
}

impl Seen {
    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let mut faults = Vec::new();
        if self.percent < ENOUGH_PERCENT {
            faults.push(format!("{:.0} % of what was made is shown", self.percent));
        }
        if self.twice_percent > TWICE_PERCENT {
            faults.push(format!("{:.0} % of the pictures are shown again", self.twice_percent));
        }
        if self.damaged_percent > DAMAGED_PERCENT {
            faults.push(format!("{:.0} % of the pictures are damaged", self.damaged_percent));
        }
        if let Some(behind_s) = self.behind_s.filter(|behind_s| *behind_s > BEHIND_S) {
            faults.push(format!("{behind_s:.1} s behind live"));
        }
        if self.old > 0 {
            faults.push(format!("{} pictures are of an earlier run", self.old));
        }
        (!faults.is_empty()).then(|| faults.join(", "))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} % · {:.2} s", self.percent, self.first_s)?;
        match self.behind_s {
            Some(behind_s) => write!(f, " · {behind_s:.2} s"),
            None => write!(f, " · –"),
        }
    }
}

/// Watches `player`, which was started at `started_ms`. `look` tells the pace of the film, and
/// the recording what the stream makes of it, where it is encoded.
pub(crate) fn pictures(
    player: &mut dyn Player,
    started_ms: f64,
    look: impl FnOnce() -> Made + Send + 'static,
    recording: Option<Recording>,
) -> Result<Seen, String> {
    let mut all = first(player)?;
    let first_ms = all[0].at_ms;
    let mut look = Some(std::thread::spawn(look));
    let mut made = None;
    let last_ms = first_ms + (SPAN_S + PATIENCE_S) * 1000.0;
    let mut ended = None;
    wait::within(Duration::from_secs_f64(SPAN_S + PATIENCE_S), || {
        match player.take() {
            Ok(shown) => all.extend(shown),
            Err(why) => ended = Some(why),
        }
        made = made.or_else(|| finished(&mut look));
        let is_over = |made: Made| {
            let newest = all.iter().rev().find_map(|one| place(made, one));
            newest.is_some_and(|place| made.at_ms(place) > first_ms + SPAN_S * 1000.0)
        };
        let is_done = ended.is_some() || made.is_some_and(is_over) || now_ms() > last_ms;
        is_done.then_some(())
    });
    let made = match made {
        Some(made) => made,
        None => join(look.take().expect("it is joined once"))?,
    };
    let pictures = match recording {
        Some(recording) => recording.finish(made),
        None => made.between(first_ms, first_ms + SPAN_S * 1000.0),
    };
    let seen = judge(&all, made, pictures, started_ms);
    match (ended, seen.fault()) {
        (Some(why), Some(fault)) => Err(format!("{fault}: {why}")),
        _ => Ok(seen),
    }
}

/// Listens to `player` for the span.
pub(crate) fn sound(player: &mut dyn Player, started_ms: f64) -> Result<Seen, String> {
    let mut all = first(player)?;
    let first_ms = all[0].at_ms;
    while all.last().is_none_or(|newest| newest.at_ms < first_ms + SPAN_S * 1000.0) {
        let limit = Duration::from_secs_f64(PATIENCE_S);
        let Some(more) = wait::within(limit, || some(player.take())) else { break };
        all.extend(more?);
    }
    let seconds = all.iter().map(|one| match one.what {
        What::Sound(seconds) => seconds,
        What::Picture(_) | What::Damaged => 0.0,
    });
    let percent = 100.0 * seconds.sum::<f64>() / SPAN_S;
    Ok(Seen { percent, first_s: (first_ms - started_ms) / 1000.0, ..Seen::default() })
}

/// What is shown first.
fn first(player: &mut dyn Player) -> Result<Vec<Shown>, String> {
    let shown = wait::within(FIRST_LIMIT, || some(player.take()));
    shown.unwrap_or_else(|| Err(format!("nothing is shown within {FIRST_LIMIT:?}")))
}

fn some(taken: Result<Vec<Shown>, String>) -> Option<Result<Vec<Shown>, String>> {
    match taken {
        Ok(shown) if shown.is_empty() => None,
        taken => Some(taken),
    }
}

fn finished(look: &mut Option<JoinHandle<Made>>) -> Option<Made> {
    let look = look.take_if(|look| look.is_finished())?;
    join(look).ok()
}

fn join(look: JoinHandle<Made>) -> Result<Made, String> {
    look.join().map_err(|_| "livebox itself does not show the film".to_owned())
}

fn place(made: Made, shown: &Shown) -> Option<i64> {
    match shown.what {
        What::Picture(number) => Some(made.place(number, shown.at_ms)),
        What::Damaged | What::Sound(_) => None,
    }
}

fn judge(all: &[Shown], made: Made, mut pictures: Pictures, started_ms: f64) -> Seen {
    let first_ms = all[0].at_ms;
    let span = first_ms..first_ms + SPAN_S * 1000.0;
    pictures.retain(|_, picture| span.contains(&picture.made_ms));
    // How long after they were made the pictures were shown first, and how often.
    let mut counted: BTreeMap<i64, (f64, u32)> = BTreeMap::new();
    let (mut old, mut damaged) = (0, 0);
    for one in all {
        let Some(place) = place(made, one) else {
            damaged += 1;
            continue;
        };
        if one.at_ms - made.at_ms(place) > OLD_MS {
            old += 1;
        } else if let Some(picture) = pictures.get(&place) {
            counted.entry(place).or_insert((one.at_ms - picture.made_ms, 0)).1 += 1;
        }
    }
    let again =
        counted.iter().map(|(place, (_, times))| times.saturating_sub(pictures[place].times));
    let mut behind: Vec<f64> = counted.values().map(|(behind_ms, _)| *behind_ms).collect();
    behind.sort_by(f64::total_cmp);
    Seen {
        percent: percent(counted.len(), pictures.len()),
        first_s: (first_ms - started_ms) / 1000.0,
        behind_s: behind.get(behind.len() / 2).map(|ms| ms / 1000.0),
        twice_percent: percent(again.sum::<u32>() as usize, counted.len()),
        damaged_percent: percent(damaged, all.len()),
        old,
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
