//! `pages`: the paths of the status pages, and what they show.

use crate::config::section::{Field, Report, flag};
use crate::config::settings::Pages;
use crate::config::urls::stream_url;

pub(in crate::config) const PAGES: [&str; 7] =
    ["home", "stat", "stat_json", "metrics", "config", "clients", "password"];

pub(in crate::config) fn pages(field: &Field<'_>, report: &mut Report) -> Pages {
    report.keys_beside_secrets(field, &PAGES);
    let mut page = |key: &str, default: &str, is_on: bool| {
        let given = report.read(&field.at(key), |text| path(text, default));
        given.unwrap_or_else(|| is_on.then(|| default.to_owned()))
    };
    let pages = Pages {
        stat: page("stat", "/stat", true),
        stat_json: page("stat_json", "/stat.json", true),
        metrics: page("metrics", "/metrics", true),
        config: page("config", "/config", false),
        home: true,
        clients: false,
    };
    let home = report.read(&field.at("home"), flag);
    let clients = report.read(&field.at("clients"), flag);
    Pages { home: home.unwrap_or(true), clients: clients.unwrap_or(false), ..pages }
}

/// Parses a path, or a flag that switches the page on at its default path.
fn path(text: &str, default: &str) -> Result<Option<String>, String> {
    match flag(text) {
        Ok(true) => Ok(Some(default.to_owned())),
        Ok(false) => Ok(None),
        Err(_) if text == default => Ok(Some(default.to_owned())),
        Err(_) => stream_url(text).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_path_or_is_off() {
        assert_eq!(path("on", "/stat"), Ok(Some("/stat".to_owned())));
        assert_eq!(path("/stat", "/stat"), Ok(Some("/stat".to_owned())));
        assert_eq!(path("/my/state", "/stat"), Ok(Some("/my/state".to_owned())));
        assert_eq!(path("off", "/stat"), Ok(None));
        for bad in ["", "/api/stat", "a b", "http://x/stat"] {
            assert!(path(bad, "/stat").is_err(), "{bad:?}");
        }
    }
}
