//! The result as Markdown, and what of it misses its target.

use std::fmt::Write;

use crate::bytes::Delays;
use crate::cost::per_viewer_minute;
use crate::glass::Glass;
use crate::spread::Spread;
use crate::stage::{Run, Way};

/// How the rows of the second table begin.
pub(crate) const ASLEEP: &str = "CPU and memory while nobody has watched yet";
pub(crate) const COLD: &str = "first frame of a feed that rested";
pub(crate) const CAT: &str = "cat";
pub(crate) const DELAY: &str = "encoder to client";
pub(crate) const BROWSER: &str = "plain <video>";

/// Everything that one run has found; what was not asked for is absent.
pub(crate) struct Result {
    pub(crate) staged: Staged,
    pub(crate) delay_viewers: usize,
    pub(crate) asleep: Option<Asleep>,
    pub(crate) cold: Option<Spread>,
    pub(crate) cat: Option<Delays>,
}

/// What was found with all servers at once.
pub(crate) struct Staged {
    pub(crate) rows: Vec<Row>,
    /// The part of a core that each server uses without viewers.
    pub(crate) idle: Vec<f64>,
    /// How far two measurements of that lie apart.
    pub(crate) noise: Vec<f64>,
    pub(crate) delay: Option<Spread>,
    pub(crate) tags: Vec<Glass>,
}

/// One line of the first table.
pub(crate) struct Row {
    pub(crate) way: Way,
    pub(crate) viewers: usize,
    pub(crate) run: Run,
    pub(crate) joins: Option<Spread>,
}

/// livebox while nobody has watched yet.
pub(crate) struct Asleep {
    pub(crate) cpu_percent: f64,
    pub(crate) resident_kib: u64,
}

/// A figure beside what it should be.
struct Target {
    what: String,
    limit: f64,
    measured: f64,
    digits: usize,
    unit: &'static str,
}

impl Result {
    pub(crate) fn markdown(&self) -> String {
        let mut text = self.ways();
        text += "\n| what | target | measured | |\n|---|---|---|---|\n";
        let targets = self.targets();
        for one in &targets {
            let verdict = if one.is_met() { "met" } else { "**missed**" };
            let Target { what, limit, measured, digits, unit } = one;
            line(
                &mut text,
                format!("| {what} | ≤ {limit}{unit} | {measured:.digits$}{unit} | {verdict} |"),
            );
        }
        text.push('\n');
        text += &self.browser();
        text + &misses(&targets)
    }

    fn ways(&self) -> String {
        let mut text = "\
| way out | viewers | CPU-s per viewer-minute | beside livebox | RSS MiB, and of its processes | kbit/s each \
| gap ms p50 / p99 / max | key frame ms median / max | lost |\n\
|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
        for row in &self.staged.rows {
            let Row { way, viewers, run, joins } = row;
            let beside = self.ratio(row).map_or("–".to_owned(), |ratio| format!("× {ratio:.1}"));
            let gaps = run.heard.gaps.some().map_or("–".to_owned(), |gaps| {
                format!("{:.0} / {:.0} / {:.0}", gaps.median(), gaps.at(0.99), gaps.max())
            });
            let joins = joins.as_ref().map_or("–".to_owned(), |joins| {
                format!("{:.0} / {:.0}", joins.median(), joins.max())
            });
            line(
                &mut text,
                format!(
                    "| {} | {viewers} | {} | {beside} | {} + {} | {:.0} | {gaps} | {joins} | {} |",
                    way.title(),
                    self.cost_or_noise(row),
                    run.resident_kib / 1024,
                    run.hosts_kib / 1024,
                    run.heard.kbps,
                    run.heard.lost
                ),
            );
        }
        text
    }

    fn browser(&self) -> String {
        if self.staged.tags.is_empty() {
            return String::new();
        }
        let mut text = "\
| headless browser | plain `<video>` | first picture | behind the encoder, p50 / p95 |\n\
|---|---|---|---|\n"
            .to_owned();
        for glass in &self.staged.tags {
            let (player, title) = (glass.tag.player.name(), glass.tag.title);
            match &glass.seen {
                Ok(seen) => {
                    let (first, behind) = (seen.first, &seen.behind);
                    let (half, most) = (behind.median(), behind.at(0.95));
                    line(
                        &mut text,
                        format!(
                            "| {player} | {title} | {first:.0} ms | {half:.0} / {most:.0} ms |"
                        ),
                    );
                }
                Err(why) => {
                    line(&mut text, format!("| {player} | {title} | – | not known: {why} |"))
                }
            }
        }
        text.push('\n');
        text
    }

    fn cost(&self, row: &Row) -> f64 {
        per_viewer_minute(row.run.cores, self.staged.idle[row.way.server() as usize], row.viewers)
    }

    fn cost_or_noise(&self, row: &Row) -> String {
        let noise =
            per_viewer_minute(self.staged.noise[row.way.server() as usize], 0.0, row.viewers);
        let cost = self.cost(row);
        if cost > noise { format!("{cost:.4}") } else { "too little to tell".to_owned() }
    }

    /// What a viewer costs beside one of livebox's, of as many where that was
    /// measured.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let way = row.way.ours()?;
        let as_many = |other: &&Row| other.way == way && other.viewers == row.viewers;
        let ours = self.staged.rows.iter().find(as_many).or_else(|| self.top(way))?;
        Some(self.cost(row) / self.cost(ours))
    }

    /// The line with the most viewers of a way.
    fn top(&self, way: Way) -> Option<&Row> {
        self.staged.rows.iter().filter(|row| row.way == way).max_by_key(|row| row.viewers)
    }

    fn targets(&self) -> Vec<Target> {
        let mut all = Vec::new();
        let mut add = |what: String, limit, measured, digits, unit| {
            all.push(Target { what, limit, measured, digits, unit });
        };
        let limits =
            [(Way::Mp4, 0.020), (Way::VideoOnly, 0.016), (Way::Rtsp, 0.029), (Way::Hls, 0.010)];
        for (way, limit) in limits {
            let Some(row) = self.top(way) else { continue };
            let title = way.title().replace("**", "");
            let what = format!("CPU of a viewer, {title}, {} viewers", row.viewers);
            add(what, limit, self.cost(row), 4, " CPU-s per minute");
        }
        if let Some(row) = self.top(Way::Mp4) {
            let (run, viewers) = (&row.run, row.viewers);
            let memory = run.resident_kib as f64 / 1024.0;
            add(format!("memory with {viewers} viewers"), 40.0, memory, 0, " MiB");
            let gap = run.heard.gaps.max();
            add(format!("longest gap for any of {viewers} viewers"), 100.0, gap, 0, " ms");
            let lost = run.heard.lost as f64;
            add(format!("lost of {viewers} viewers"), 0.0, lost, 0, "");
            let joins = row.joins.clone().unwrap_or_default();
            add(
                format!("key frame of a joiner beside {viewers}, median"),
                20.0,
                joins.median(),
                1,
                " ms",
            );
            add(
                format!("key frame of a joiner beside {viewers}, worst"),
                100.0,
                joins.max(),
                1,
                " ms",
            );
        }
        if let Some(delay) = &self.staged.delay {
            let what = format!("{DELAY}, {} viewers", self.delay_viewers);
            add(format!("{what}, median"), 1.3, delay.median(), 2, " ms");
            add(format!("{what}, p99"), 5.0, delay.at(0.99), 2, " ms");
        }
        if let Some(cat) = &self.cat {
            let direct = cat.direct.median();
            let what = format!("added by a `{CAT}` to a feed of bytes ({direct:.2} ms), median");
            add(what, 2.0, cat.added(), 2, " ms");
        }
        if let Some(cold) = &self.cold {
            add(format!("{COLD}, median"), 60.0, cold.median(), 0, " ms");
        }
        for glass in &self.staged.tags {
            let (Ok(seen), Some(limit)) = (&glass.seen, glass.tag.limit) else { continue };
            let what = format!("plain `<video>` behind the encoder, {}, median", glass.tag.title);
            add(what, limit, seen.behind.median(), 0, " ms");
        }
        if let Some(Asleep { cpu_percent, resident_kib }) = self.asleep {
            let what = "CPU while nobody has watched yet".to_owned();
            add(what, 0.3, cpu_percent, 2, " % of a core");
            let memory = resident_kib as f64 / 1024.0;
            add("memory while nobody has watched yet".to_owned(), 12.0, memory, 0, " MiB");
        }
        all
    }
}

impl Target {
    /// What could not be measured is not met.
    fn is_met(&self) -> bool {
        self.measured <= self.limit
    }
}

fn misses(targets: &[Target]) -> String {
    let missed: Vec<&str> =
        targets.iter().filter(|one| !one.is_met()).map(|one| one.what.as_str()).collect();
    match missed.as_slice() {
        [] => "Every target is met.\n".to_owned(),
        missed => format!("Missed: {}.\n", missed.join("; ")),
    }
}

fn line(text: &mut String, line: String) {
    writeln!(text, "{line}").expect("text grows");
}
