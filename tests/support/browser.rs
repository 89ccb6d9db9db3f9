//! Chromium without a screen, driven by WebDriver (W3C) as a person would: keys,
//! clicks and what is to be seen.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, eventually};

/// How long something may take to be there that a test clicks on.
const ELEMENT_WAIT_MAX: Duration = Duration::from_secs(20);

/// The member of an element's JSON that names it.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with a profile of its own. Dropped, it ends.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let profile = TempDir::new().expect("a temporary directory");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed; tests/run does that");
        let lines = BufReader::new(driver.stdout.take().expect("stdout is piped")).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_suffix('.')?.rsplit_once("on port ")?.1.parse().ok())
            .expect("chromedriver says where it listens");
        let mut browser = Self {
            driver,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            session: String::new(),
            _profile: profile,
        };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--lang=en-GB",
            "--window-size=1280,800",
            &format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let made = browser.ask("POST", "/session", &capabilities);
        browser.session = format!("/session/{}", made["sessionId"].as_str().expect("a session"));
        browser
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = Client::connect(self.address).request(method, path, &body);
        let value = answer.json()["value"].clone();
        match answer.status {
            200 => Ok(value),
            _ => Err(value["message"].as_str().unwrap_or_default().to_owned()),
        }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body)
            .unwrap_or_else(|message| panic!("{method} {path}: {message}"))
    }

    fn post(&self, command: &str, body: Value) -> Value {
        self.ask("POST", &format!("{}/{command}", self.session), &body)
    }

    /// Goes to a URL and returns when it is loaded.
    pub fn open(&self, url: &str) {
        self.post("url", json!({"url": url}));
    }

    pub fn back(&self) {
        self.post("back", json!({}));
    }

    pub fn url(&self) -> String {
        let url = self.ask("GET", &format!("{}/url", self.session), &Value::Null);
        url.as_str().expect("text").to_owned()
    }

    /// What a script returns that runs in the page.
    pub fn run(&self, script: &str) -> Value {
        self.post("execute/sync", json!({"script": script, "args": []}))
    }

    /// The same of one that calls `done`, its last argument.
    pub fn run_until_done(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1]; {script}");
        self.post("execute/async", json!({"script": script, "args": []}))
    }

    /// A command of the DevTools.
    pub fn tool(&self, command: &str, parameters: Value) -> Value {
        self.post("goog/cdp/execute", json!({"cmd": command, "params": parameters}))
    }

    pub fn has(&self, selector: &str) -> bool {
        let found = self.post("elements", json!({"using": "css selector", "value": selector}));
        found.as_array().is_some_and(|found| !found.is_empty())
    }

    /// The text that is to be seen of an element; empty if there is none.
    pub fn text(&self, selector: &str) -> String {
        let quoted = json!(selector);
        let text = self.run(&format!("return document.querySelector({quoted})?.innerText ?? ''"));
        text.as_str().expect("text").to_owned()
    }

    fn element(&self, selector: &str) -> String {
        let mut found = None;
        eventually(&format!("{selector} is there"), ELEMENT_WAIT_MAX, || {
            let place = format!("{}/element", self.session);
            let asked = self.try_ask("POST", &place, &json!({"using": "css selector", "value": selector}));
            found = asked.ok();
            found.is_some()
        });
        let element = found.expect("it was waited for")[ELEMENT].clone();
        format!("element/{}", element.as_str().expect("an element"))
    }

    /// Clicks as soon as it can be clicked on.
    pub fn click(&self, selector: &str) {
        let mut problem = String::new();
        eventually(&format!("{selector} can be clicked on"), ELEMENT_WAIT_MAX, || {
            let path = format!("{}/{}/click", self.session, self.element(selector));
            match self.try_ask("POST", &path, &json!({})) {
                Ok(_) => true,
                Err(message) => {
                    problem = message;
                    // What moves or is drawn anew may be clicked on a moment later.
                    let may_pass = ["stale", "not interactable", "intercepted"];
                    assert!(may_pass.iter().any(|word| problem.contains(word)), "{problem}");
                    false
                }
            }
        });
    }

    /// Types into a field, after what is in it.
    pub fn type_into(&self, selector: &str, text: &str) {
        let command = format!("{}/value", self.element(selector));
        self.post(&command, json!({"text": text}));
    }

    /// Presses keys one after another, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let actions: Vec<_> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({"type": "keyDown", "value": key}),
                    json!({"type": "keyUp", "value": key}),
                ]
            })
            .collect();
        self.post(
            "actions",
            json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}),
        );
    }

    pub fn press_enter(&self) {
        self.press("\u{e007}");
    }

    pub fn press_tab(&self) {
        self.press("\u{e004}");
    }

    /// Makes the window of this size, in CSS pixels.
    pub fn resize(&self, width: u32, height: u32) {
        self.tool(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
    }

    /// Sets `prefers-color-scheme`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.tool("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// What is to be seen, as PNG.
    pub fn picture(&self) -> Vec<u8> {
        let picture = self.ask("GET", &format!("{}/screenshot", self.session), &Value::Null);
        STANDARD.decode(picture.as_str().expect("base64")).expect("base64")
    }

    /// What the browser complained of since the last time: errors of scripts, and
    /// what the content security policy kept off. Answers that are errors are not
    /// among them.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", json!({"type": "browser"}));
        let entries = log.as_array().expect("a list").iter();
        let severe = entries
            .filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG" && entry["source"] != "network");
        severe
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may be gone already; then so is its driver.
        let _ = Client::try_connect(self.address).map(|mut client| client.try_request("DELETE", &self.session, ""));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
