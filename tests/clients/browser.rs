//! Players in headless Chromium: its own tags, hls.js and Shaka.

use std::path::Path;

use serde_json::Value;

use crate::common::browser::{Browser, Scripts};
use crate::film::BARS;
use crate::install;
use crate::player::{Player, Shown, What, picture_of};
use crate::programs::Task;
use crate::way::{Case, PASSWORD, USER};

const PAGE: &str = "page.html";
const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/web");

/// A page that plays.
pub(crate) struct Page(Browser);

/// Puts the page and the players that it needs into livebox's docroot.
pub(crate) fn write_page(docroot: &Path) {
    let modules = install::node_modules();
    let files = [
        Path::new(WEB).join(PAGE),
        Path::new(WEB).join("page.js"),
        modules.join("hls.js/dist/hls.min.js"),
        modules.join("shaka-player/dist/shaka-player.compiled.js"),
    ];
    for file in files {
        let name = file.file_name().expect("each is a file");
        std::fs::copy(&file, docroot.join(name)).unwrap_or_else(|e| panic!("{file:?}: {e}"));
    }
}

/// Opens the page; what it returns starts one of its players.
pub(crate) fn open<'a>(
    task: &'a Task<'a>,
    player: &'a str,
) -> impl FnOnce() -> Box<dyn Player> + 'a {
    let browser = Browser::start(Scripts::Allowed);
    let livebox = &task.served.livebox;
    if task.served.case == Case::Password {
        // The browser remembers what opened this.
        let picture = livebox.url("/camera/pic");
        browser.open(&picture.replacen("://", &format!("://{USER}:{PASSWORD}@"), 1));
    }
    browser.open(&livebox.url(&format!("/{PAGE}")));
    move || {
        let url = task.served.url(task.way);
        browser.evaluate(&format!("button.onclick = () => players.{player}({url:?})"));
        // Sound wants a user who has clicked.
        browser.click("button");
        Box::new(Page(browser))
    }
}

impl Player for Page {
    fn take(&mut self) -> Result<Vec<Shown>, String> {
        let told = self.0.evaluate("return [shown.splice(0), problem]");
        let shown: Vec<Shown> = told[0].as_array().into_iter().flatten().filter_map(one).collect();
        match told[1].as_str() {
            Some(problem) if shown.is_empty() => Err(problem.to_owned()),
            _ => Ok(shown),
        }
    }
}

fn one(told: &Value) -> Option<Shown> {
    let at_ms = told[0].as_f64()?;
    if let Some(seconds) = told[1].as_f64() {
        return Some(Shown { at_ms, what: What::Sound(seconds) });
    }
    let row: Vec<u8> = told[1].as_array()?.iter().filter_map(grey).collect();
    let row: [u8; BARS] = row.try_into().ok()?;
    Some(Shown { at_ms, what: picture_of(row) })
}

fn grey(value: &Value) -> Option<u8> {
    u8::try_from(value.as_u64()?).ok()
}
