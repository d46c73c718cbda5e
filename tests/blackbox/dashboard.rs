//! The control page: plain forms, answered with the page again.

use std::time::Duration;

use serde_json::json;

use crate::common::browser::{Browser, Scripts};
use crate::common::http::{Answer, Request};
use crate::common::livebox::{API, CAMERA, Launch, Livebox, livebox};
use crate::common::receiver::Receiver;
use crate::common::wait;

const LIMIT: Duration = wait::TIMEOUT;
const KEY: &str = "quiet-otter-4711-zz";

#[test]
fn the_page_shows_state_values_pushes_and_streams_and_links_lead_to_it() {
    let livebox = Launch::on_default().start();

    let page = livebox.get("/dashboard");

    assert_eq!(page.status(), 200, "{}", page.text());
    for part in ["idle", "360p", "750000", "1kHz", "feed", "Restart", "Save", "Go live", "/camera/"]
    {
        assert!(page.text().contains(part), "{part} is missing in {}", page.text());
    }
    assert!(!page.text().contains("<script"), "{}", page.text());
    assert!(livebox.get("/").text().contains("href=\"/dashboard\""));
    assert_eq!(livebox.get("/dashboard/").status(), 200);
}

#[test]
fn the_forms_set_start_and_stop_what_is_sent() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    let token = token(&livebox);

    let url = receiver.url().replace(':', "%3A").replace('/', "%2F");
    let values = format!(
        "url={url}&name={KEY}&resolution=240p&bitrate=750000&fps=15&quality=&audio=silence"
    );
    assert_saved(&livebox, &post(&livebox, "control", &token, &values));
    let control = livebox.control();
    assert_eq!((&control["resolution"], &control["fps"]), (&json!("240p"), &json!(15)));
    assert_eq!(control["bitrate"], 400_000, "a new resolution brings its usual bit rate");

    assert_back(&post(&livebox, "start", &token, ""));
    receiver.wait_for_more(30_000, LIMIT);
    livebox.wait_for_state("streaming", LIMIT);
    let page = livebox.get("/dashboard").text();
    assert!(page.contains("streaming") && page.contains("fieldset disabled"), "{page}");
    assert!(page.contains("http-equiv=\"refresh\""), "{page}");
    assert!(!page.contains(KEY), "the page has the key");

    assert_back(&post(&livebox, "stop", &token, ""));
    livebox.wait_for_state("idle", LIMIT);
    assert_back(&post(&livebox, "pushes/livebox/start", &token, ""));
    livebox.wait_for_state("streaming", LIMIT);
    assert_back(&post(&livebox, "pushes/livebox/stop", &token, ""));
    assert_back(&post(&livebox, "streams/camera/restart", &token, ""));
}

#[test]
fn what_was_refused_is_shown_on_the_page_after_it() {
    let livebox = Launch::on_default().start();
    let token = token(&livebox);

    let answer = post(&livebox, "stop", &token, "");
    assert_eq!(answer.status(), 303, "{}", answer.text());
    let place = answer.header("Location").expect("it leads somewhere").to_owned();
    let page = livebox.get(&place).text();
    assert!(page.contains("idle already"), "{page}");
    assert_eq!(livebox.control()["fps"], 25, "a refused edit changed something");
    assert_eq!(post(&livebox, "pushes/nobody/start", &token, "").status(), 404);
    assert_eq!(livebox.get("/dashboard/start").status(), 405);
}

#[test]
fn what_was_typed_is_still_there_when_it_is_refused() {
    let livebox = Launch::on_default().start();
    let token = token(&livebox);
    let typed = "url=rtmp%3A%2F%2F127.0.0.1%3A1%2Flive2&name=typed-key-1&resolution=720p&bitrate=1M\
                 &fps=15&quality=30&audio=silence";

    for (action, values, part) in [
        (
            "control",
            typed.replace("720p", "999p"),
            "Invalid value for &#39;resolution&#39;; use 240p",
        ),
        (
            "start",
            typed.replace("720p", "999p"),
            "Invalid value for &#39;resolution&#39;; use 240p",
        ),
        (
            "start",
            typed.replace("url=rtmp%3A%2F%2F127.0.0.1%3A1%2Flive2", "url="),
            "YouTube Studio calls it &#34;Stream URL&#34;",
        ),
        ("control", typed.replace("typed-key-1", "YOUR-KEY"), "the stream key of your channel"),
    ] {
        let answer = post(&livebox, action, &token, &values);

        assert_eq!(answer.status(), 400, "{action}: {}", answer.text());
        let page = answer.text();
        assert!(page.contains(part) && page.contains("role=\"alert\""), "{action}: {page}");
        for pair in values.split('&').filter(|pair| !pair.starts_with("audio=")) {
            let (_, value) = pair.split_once('=').expect("it is a pair");
            let value = value.replace("%3A", ":").replace("%2F", "/");
            assert!(page.contains(&format!("value=\"{value}\"")), "{action} {value}: {page}");
        }
        assert!(page.contains("<option selected>silence</option>"), "{page}");
    }
    assert_eq!(livebox.control()["fps"], 25, "a refused edit changed something");
}

#[test]
fn going_live_takes_the_values_of_the_form_and_ending_asks_first() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    let token = token(&livebox);
    let url = receiver.url().replace(':', "%3A").replace('/', "%2F");
    let values =
        format!("url={url}&name={KEY}&resolution=240p&bitrate=750000&fps=15&audio=silence");

    assert_back(&post(&livebox, "start", &token, &values));

    receiver.wait_for_more(30_000, LIMIT);
    livebox.wait_for_state("streaming", LIMIT);
    let control = livebox.control();
    assert_eq!((&control["resolution"], &control["fps"]), (&json!("240p"), &json!(15)));
    assert_eq!(control["bitrate"], 400_000, "a new resolution brings its usual bit rate");
    let page = livebox.get("/dashboard").text();
    assert!(!page.contains("/stop\""), "one click ends it: {page}");
    let question = livebox.get("/dashboard?end=livebox").text();
    assert!(question.contains("End sending livebox?"), "{question}");
    assert!(question.contains("action=\"/dashboard/pushes/livebox/stop\""), "{question}");
    assert!(!question.contains("http-equiv"), "the question goes away by itself: {question}");
    assert!(!livebox.get("/dashboard?end=nobody").text().contains("End sending"));
    assert_eq!(livebox.state(), "streaming", "asking ends nothing");
}

#[test]
fn a_wait_is_ended_by_a_button() {
    let mut receiver = Receiver::start();
    receiver.crash();
    let livebox = Launch::on_default().start();
    let token = token(&livebox);
    livebox.push_to(&receiver.url(), KEY);
    wait::until("the button is there", LIMIT, || {
        livebox.get("/dashboard").text().contains("/dashboard/pushes/livebox/retry").then_some(())
    });
    receiver.come_back();

    post(&livebox, "pushes/livebox/retry", &token, "");
    livebox.wait_for_state("streaming", LIMIT);

    let answer = post(&livebox, "pushes/livebox/retry", &token, "");
    let place = answer.header("Location").expect("it leads somewhere").to_owned();
    assert!(livebox.get(&place).text().contains("not waiting for a retry"), "{place}");
}

#[test]
fn the_configuration_is_read_again_by_a_button_that_tells_what_came_of_it() {
    let livebox = Livebox::start(CAMERA);
    let token = token(&livebox);
    let told = |config: &str| {
        livebox.rewrite(config);
        let answer = post(&livebox, "reload", &token, "");
        assert_eq!(answer.status(), 303, "{}", answer.text());
        livebox.get(answer.header("Location").expect("it leads somewhere")).text()
    };

    let page = told(&CAMERA.replace("750k", "800k"));
    assert!(page.contains("reloaded: changed stream camera"), "{page}");
    let page = told("feeds: {camera: {test: clok}}\nstreams: {camera: {fsp: 3}}\n");
    assert!(page.contains("feeds.camera.test") && page.contains("streams.camera.fsp"), "{page}");
    assert_eq!(livebox.control()["bitrate"], 800_000);
}

#[test]
fn the_reason_of_a_failing_push_is_shown() {
    let mut receiver = Receiver::start();
    receiver.crash();
    let livebox = Launch::on_default().start();
    livebox.push_to(&receiver.url(), KEY);

    wait::until("the reason is shown", LIMIT, || {
        let page = livebox.get("/dashboard").text();
        (page.contains("preparing") && page.contains("refuses connections")).then_some(())
    });
}

#[test]
fn a_form_that_is_not_of_the_page_changes_nothing_whatever_its_headers_say() {
    let livebox = Livebox::start(&with_password());
    let own = livebox.url("");
    let token = token(&livebox);
    let values = "fps=15";

    // An old browser that another site made post: the password comes along,
    // and nothing says where the form was.
    let with_password = "Basic YWRtaW46Y29ycmVjdCBob3JzZQ==";
    for request in [
        request(&livebox, "control").form(values),
        request(&livebox, "control").form(values).header("Authorization", with_password),
        request(&livebox, "control").form(values).header("Origin", &own),
        request(&livebox, "control").form("token=&fps=15"),
        request(&livebox, "control").form(&format!("token={}&fps=15", "0".repeat(32))),
        request(&livebox, "control")
            .form(&format!("token={token}&fps=15"))
            .header("Origin", "null"),
        request(&livebox, "control")
            .form(&format!("token={token}&fps=15"))
            .header("Sec-Fetch-Site", "cross-site"),
        request(&livebox, "start").body("text/plain", b"token=x"),
    ] {
        let answer = request.clone().answer();
        assert!(matches!(answer.status(), 400 | 403), "{request:?}: {}", answer.status());
        assert!(answer.text().contains("<html"), "{}", answer.text());
    }
    let old_browser = |path: &str| {
        let request = livebox.http().request("POST", path);
        request.header("User-Agent", "Mozilla/5.0 (Windows NT 6.1; rv:11.0) like Gecko")
    };
    let to_the_api = old_browser(&format!("{API}/control")).form(values).answer();
    assert_eq!(to_the_api.status(), 403, "{}", to_the_api.text());
    assert_eq!(livebox.control()["fps"], 25);
    let by_token = old_browser("/dashboard/control").form(&format!("token={token}&fps=20"));
    assert_saved(&livebox, &by_token.answer());
    assert_eq!(livebox.control()["fps"], 20);
    let ours = request(&livebox, "control").form(&format!("token={token}&fps=15"));
    let ours = ours.header("Origin", &own).header("Sec-Fetch-Site", "same-origin");
    assert_saved(&livebox, &ours.answer());
    assert_eq!(livebox.control()["fps"], 15);
}

#[test]
fn no_page_may_show_it_in_a_frame() {
    let livebox = Livebox::start(CAMERA);

    let page = livebox.get("/dashboard");

    let policy = page.header("Content-Security-Policy").unwrap_or_default();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("Cache-Control"), Some("no-store"));
}

#[test]
fn others_are_asked_for_the_password_or_told_that_there_is_none() {
    let open = Livebox::start(CAMERA);
    let from_afar = |livebox: &Livebox| {
        livebox.http().request("GET", "/dashboard").header("X-Forwarded-For", "192.0.2.9")
    };
    let refused = from_afar(&open).answer();
    assert_eq!(refused.status(), 403, "{}", refused.text());
    for part in ["livebox password", "access: {password:", "systemctl reload livebox"] {
        assert!(refused.text().contains(part), "{}", refused.text());
    }
    assert!(!refused.text().contains("href=\"/dashboard\""), "it leads to itself");

    let locked = Livebox::start(&with_password());
    let asked = from_afar(&locked).answer();
    assert_eq!(asked.status(), 401);
    assert!(asked.header("WWW-Authenticate").is_some_and(|value| value.starts_with("Basic")));
    let known = from_afar(&locked).header("Authorization", "Basic YWRtaW46Y29ycmVjdCBob3JzZQ==");
    assert_eq!(known.answer().status(), 200);
    // A link on another site leads to a page that leads here.
    let linked = locked.http().request("GET", "/dashboard").header("Sec-Fetch-Site", "cross-site");
    let linked = linked.answer();
    assert_eq!(linked.status(), 403);
    assert!(linked.text().contains("href=\"/dashboard\""), "{}", linked.text());
    assert_eq!(locked.get(&format!("{API}/status")).status(), 200);
}

#[test]
fn chromium_without_scripts_sets_a_value_and_starts_and_stops_a_push() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    let browser = Browser::start(Scripts::Blocked);
    browser.become_phone(390, 844);
    browser.open(&livebox.url("/dashboard"));

    // WebDriver types and clicks as a person does; the page itself runs nothing.
    browser.fill("input[name=url]", &receiver.url());
    browser.fill("input[name=name]", KEY);
    browser.fill("input[name=resolution]", "240p");
    browser.fill("input[name=fps]", "15");
    browser.click("form[action$='/control'] button");
    wait::until("the values are set", LIMIT, || {
        (livebox.control()["resolution"] == "240p").then_some(())
    });
    save_screenshot(&browser, "idle");
    let shown = browser.evaluate("return document.querySelector('[role=status]')?.textContent");
    assert!(shown.as_str().is_some_and(|text| text.starts_with("Saved")), "{shown}");
    browser.fill("input[name=fps]", "10");
    browser.click("button[formaction$='/dashboard/start']");
    receiver.wait_for_more(30_000, LIMIT);
    wait::until("the page looks again by itself", LIMIT, || {
        let shown = browser.evaluate("return document.querySelector('h1 .state').textContent");
        (shown == "streaming").then_some(())
    });
    assert_eq!(livebox.control()["fps"], 10, "it went live by other values than were typed");
    let widest = "return Math.max(...[...document.querySelectorAll('table, table button')]\
                  .map(part => part.getBoundingClientRect().right))";
    assert!(browser.number(widest) <= 390.0, "one has to scroll for a button");
    save_screenshot(&browser, "streaming");
    browser.open(&livebox.url("/dashboard?end=livebox"));
    save_screenshot(&browser, "question");
    browser.click(".question button");
    livebox.wait_for_state("idle", LIMIT);
    browser.open(&livebox.url("/dashboard"));
    browser.fill("input[name=resolution]", "999p");
    browser.click("form[action$='/control'] button");
    wait::until("the refusal is shown", LIMIT, || {
        let shown = browser.evaluate("return document.querySelector('[role=alert]')?.textContent");
        shown.as_str().is_some_and(|text| text.contains("resolution")).then_some(())
    });
    save_screenshot(&browser, "refused");
}

/// Saves what is seen in the folder that `LIVEBOX_SCREENSHOTS` names.
fn save_screenshot(browser: &Browser, name: &str) {
    let picture = browser.screenshot();
    assert!(picture.starts_with(b"\x89PNG"), "not a picture");
    if let Some(folder) = std::env::var_os("LIVEBOX_SCREENSHOTS") {
        let file = std::path::Path::new(&folder).join(format!("dashboard-{name}.png"));
        std::fs::write(file, picture).expect("the screenshots' folder is writable");
    }
}

fn request(livebox: &Livebox, action: &str) -> Request {
    livebox.http().request("POST", &format!("/dashboard/{action}"))
}

fn post(livebox: &Livebox, action: &str, token: &str, values: &str) -> Answer {
    request(livebox, action).form(&format!("token={token}&{values}")).answer()
}

/// The token in the page's forms.
fn token(livebox: &Livebox) -> String {
    let page = livebox.get("/dashboard").text();
    let (_, rest) = page.split_once("name=\"token\" value=\"").expect("forms have a token");
    rest.split('"').next().expect("it is quoted").to_owned()
}

/// The answer leads to a page that says so.
fn assert_saved(livebox: &Livebox, answer: &Answer) {
    assert_eq!(answer.status(), 303, "{}", answer.text());
    let place = answer.header("Location").expect("it leads somewhere");
    let page = livebox.get(place).text();
    assert!(page.contains("role=\"status\">Saved."), "{page}");
}

fn assert_back(answer: &Answer) {
    assert_eq!(answer.status(), 303, "{}", answer.text());
    assert_eq!(answer.header("Location"), Some("/dashboard"), "it is refused");
}

fn with_password() -> String {
    let hash = livebox(&["password"], "correct horse\n").stdout;
    format!("{CAMERA}access: {{password: '{}', local: trusted}}\n", hash.trim())
}
