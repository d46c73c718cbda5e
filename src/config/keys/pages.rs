//! `pages`: where the box tells about itself, and what it tells.

use crate::config::section::{Field, Report, flag};
use crate::config::settings::Pages;
use crate::config::urls::stream_url;

pub(in crate::config) const PAGES: [&str; 7] =
    ["home", "stat", "stat_json", "metrics", "config", "clients", "password"];

pub(in crate::config) fn pages(field: &Field<'_>, report: &mut Report) -> Pages {
    report.keys_beside_secrets(field, &PAGES);
    let mut page = |key: &str, usual: &str, is_on: bool| {
        let given = report.read(&field.at(key), |text| place(text, usual));
        given.unwrap_or_else(|| is_on.then(|| usual.to_owned()))
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

/// A path, or whether there is one at all.
fn place(text: &str, usual: &str) -> Result<Option<String>, String> {
    match flag(text) {
        Ok(true) => Ok(Some(usual.to_owned())),
        Ok(false) => Ok(None),
        Err(_) if text == usual => Ok(Some(usual.to_owned())),
        Err(_) => stream_url(text).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_where_it_is_put_or_nowhere() {
        assert_eq!(place("on", "/stat"), Ok(Some("/stat".to_owned())));
        assert_eq!(place("/stat", "/stat"), Ok(Some("/stat".to_owned())));
        assert_eq!(place("/my/state", "/stat"), Ok(Some("/my/state".to_owned())));
        assert_eq!(place("off", "/stat"), Ok(None));
        for bad in ["", "/api/stat", "a b", "http://x/stat"] {
            assert!(place(bad, "/stat").is_err(), "{bad:?}");
        }
    }
}
