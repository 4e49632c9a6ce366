//! The daemon: what programs ask and are told, by its schema, and the bot of the guide.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sotto_end_to_end::{Lines, Process, Profile};

use super::schema::misfit;
use super::stage::{Stage, binary, fails, objects, run, text, until, wait_for_socket};

/// A file of the project.
fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file of the project")
}

/// A daemon, and a schema that each of its lines is held against.
struct Daemon {
    process: Process,
    lines: Lines,
    schema: Value,
    asked: u64,
    methods: BTreeSet<String>,
    told: VecDeque<Value>,
}

impl Daemon {
    fn start(profile: &Profile) -> Self {
        let mut process = profile.start(&["daemon"]).expect("a process");
        let lines = process.lines();
        let schema = serde_json::from_str(&file("daemon.schema.json")).expect("a schema");
        Self { process, lines, schema, asked: 0, methods: BTreeSet::new(), told: VecDeque::new() }
    }

    fn fits(&self, part: &str, value: &Value) {
        assert_eq!(misfit(&self.schema, &json!({ "$ref": format!("#/$defs/{part}") }), value), None, "{part}");
    }

    fn line(&self) -> Value {
        let line = serde_json::from_str(&self.lines.next().expect("a line")).expect("an object");
        assert_eq!(misfit(&self.schema, &self.schema, &line), None);
        line
    }

    /// The answer to a line. What is told meanwhile is kept.
    fn answer(&mut self, line: &str) -> Value {
        self.process.say(line).expect("it reads");
        loop {
            let line = self.line();
            if line.get("id").is_some() {
                return line;
            }
            self.take(&line);
        }
    }

    fn take(&mut self, line: &Value) {
        self.fits("message.notification", &line["params"]);
        self.told.push_back(line["params"].clone());
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters });
        self.fits("request", &request);
        let answer = self.answer(&request.to_string());
        assert_eq!(answer["id"], id);
        answer
    }

    /// What is answered where something is done.
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.fits(&format!("{method}.params"), parameters);
        let answer = self.ask(method, parameters);
        self.methods.insert(method.to_owned());
        let result = answer.get("result").unwrap_or_else(|| unreachable!("{method}: {answer}"));
        self.fits(&format!("{method}.result"), result);
        result.clone()
    }

    /// The code of a refusal, and whether to try again.
    fn refusal(&mut self, method: &str, parameters: &Value) -> (String, bool) {
        let answer = self.ask(method, parameters);
        let data = &answer["error"]["data"];
        (text(data, "code"), data["is_retryable"].as_bool().expect("a flag"))
    }

    /// The next message that is told.
    fn told(&mut self) -> Value {
        loop {
            if let Some(told) = self.told.pop_front() {
                return told;
            }
            let line = self.line();
            self.take(&line);
        }
    }

    fn end(mut self) {
        self.process.say_no_more();
        assert!(self.lines.rest().is_empty());
        assert_eq!(self.process.wait().expect("its end").code(), Some(0));
    }
}

#[test]
fn every_method_answers_what_the_schema_says() {
    let stage = Stage::set();
    let ((alice, _), (bob, bob_id)) = (stage.person("alice"), stage.person("bob"));
    let mut daemon = Daemon::start(&alice);
    assert_eq!(text(&daemon.call("account", &json!({})), "name"), "alice");
    let invite = daemon.call("invite", &json!({ "uses": 2, "valid_for_seconds": 7200 }));
    assert_eq!(invite["published"], true);
    run(&bob, &["join", &text(&invite, "link")]);
    daemon.call("sync", &json!({}));
    until(|| !daemon.call("contacts", &json!({}))["contacts"].as_array().unwrap().is_empty());
    assert_eq!(text(&daemon.call("accept", &json!({ "who": bob_id })), "state"), "accepted");
    daemon.call("sync", &json!({}));
    run(&bob, &["sync"]);
    let after = daemon.call("subscribe", &json!({}))["after"].clone();

    run(&bob, &["send", "alice", "Hello \u{1b}[2J\nسلام", "--wait"]);
    let told = daemon.told();
    assert_eq!((text(&told, "text"), text(&told, "sender")), ("Hello \u{1b}[2J\nسلام".into(), bob_id.clone()));
    let number = told["number"].clone();
    daemon.call("mark_read", &json!({ "messages": [number] }));
    let felt = daemon.call("react", &json!({ "message": number, "emoji": "👍" }));
    assert_eq!(text(&felt["reactions"][0], "emoji"), "👍");
    assert_eq!(daemon.call("react", &json!({ "message": number }))["reactions"], json!([]));
    let said = daemon.call("send", &json!({ "to": bob_id, "text": "wellcome" }));
    daemon.call("edit", &json!({ "message": said["number"], "text": "welcome" }));
    assert_eq!(daemon.call("reply", &json!({ "message": number, "text": "yes" }))["reply_to"]["number"], number);
    let note = daemon.call("forward", &json!({ "message": number, "to": "me" }));
    daemon.call("delete", &json!({ "messages": [note["number"]], "for_me": true }));
    daemon.call("delete", &json!({ "messages": [said["number"]] }));

    let page = daemon.call("messages", &json!({ "with": "bob", "limit": 2 }));
    let texts: Vec<_> = page["messages"].as_array().unwrap().iter().map(|message| text(message, "text")).collect();
    assert_eq!(texts, ["", "yes"], "one was taken back");
    let older = daemon.call("messages", &json!({ "with": "bob", "limit": 2, "before": page["next"] }));
    assert_eq!((older["messages"].as_array().map(Vec::len), &older["next"]), (Some(1), &Value::Null));
    let chats = daemon.call("conversations", &json!({ "limit": 1 }));
    let others = daemon.call("conversations", &json!({ "limit": 1, "before": chats["next"] }));
    assert_ne!(chats["conversations"][0]["id"], others["conversations"][0]["id"]);
    daemon.call("conversations", &json!({ "archived": true }));
    let found =
        daemon.call("search", &json!({ "words": "hello", "in": "bob", "from": bob_id, "since": 0, "limit": 5 }));
    assert_eq!(found["hits"][0]["message"]["number"], number);
    assert_eq!(daemon.call("contacts", &json!({}))["contacts"].as_array().map(Vec::len), Some(1));

    // Another who invites; and what came is told again to whoever asks for it.
    let (carol, _) = stage.person("carol");
    let link = text(&objects(&run(&carol, &["--json", "invite", "--auto-accept"]))[0], "link");
    assert_eq!(text(&daemon.call("join", &json!({ "link": link })), "state"), "asked");
    daemon.call("unsubscribe", &json!({}));
    daemon.call("subscribe", &json!({ "after": after }));
    assert_eq!(daemon.told()["id"], told["id"]);

    let names = daemon.schema["$defs"].as_object().unwrap().keys();
    let promised: BTreeSet<String> = names.filter_map(|name| name.strip_suffix(".params")).map(str::to_owned).collect();
    assert_eq!(daemon.methods, promised);
    let listed = daemon.schema["$defs"]["request"]["properties"]["method"]["enum"].as_array().unwrap();
    assert_eq!(listed.iter().filter_map(Value::as_str).map(str::to_owned).collect::<BTreeSet<_>>(), promised);
    // Others go through it.
    run(&alice, &["send", "bob", "by hand", "--wait"]);
    daemon.end();
}

#[test]
fn what_cannot_be_done_is_refused_with_a_code_and_the_next_request_works() {
    let mut stage = Stage::set();
    let ((alice, _), (bob, _)) = (stage.person("alice"), stage.person("bob"));
    let link = text(&objects(&run(&bob, &["--json", "invite"]))[0], "link");
    let mut daemon = Daemon::start(&alice);
    for (method, parameters, code) in [
        ("send", json!({ "to": "nobody", "text": "x" }), "not_found"),
        ("send", json!({ "to": "me", "text": "" }), "empty"),
        ("send", json!({ "to": "me" }), "bad_parameters"),
        ("send", json!({ "to": "me", "text": "x", "wait": 1 }), "bad_parameters"),
        ("edit", json!({ "message": "1", "text": "x" }), "bad_parameters"),
        ("reply", json!({ "message": 99, "text": "x" }), "not_found"),
        ("join", json!({ "link": "nonsense" }), "invite_garbage"),
        ("invite", json!({ "uses": 0 }), "out_of_range"),
        ("search", json!({}), "empty"),
    ] {
        assert_eq!(daemon.refusal(method, &parameters), (code.to_owned(), false), "{method}");
    }
    stage.relay.kill().unwrap();
    assert_eq!(daemon.refusal("join", &json!({ "link": link })), ("relay_unreachable".into(), true));
    for (line, number) in [
        ("{", -32_700),
        ("[]", -32_600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"account"}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"shutdown"}"#, -32_601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"account","params":{"x":1}}"#, -32_602),
    ] {
        assert_eq!(daemon.answer(line)["error"]["code"], number, "{line}");
    }
    // Done, and not answered.
    daemon.process.say(r#"{"jsonrpc":"2.0","method":"send","params":{"to":"me","text":"noted"}}"#).unwrap();
    assert_eq!(text(&daemon.call("messages", &json!({ "with": "me" }))["messages"][0], "text"), "noted");
    daemon.end();
    assert_eq!(fails(&stage.profile("nobody"), &["daemon"]), "no_profile");
}

#[test]
fn whoever_does_not_read_is_not_read_and_is_told_everything_later() {
    const REQUESTS: usize = 10_000;
    const MESSAGES: usize = 100;
    let (_stage, alice, bob) = Stage::contacts();
    let mut daemon = alice.command(&["daemon"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, output) = (daemon.stdin.take().unwrap(), daemon.stdout.take().unwrap());
    writeln!(input, r#"{{"jsonrpc":"2.0","method":"subscribe"}}"#).unwrap();
    let has_asked_all = Arc::new(AtomicBool::new(false));
    let asking = {
        let has_asked_all = Arc::clone(&has_asked_all);
        // The answers repeat the id: together they are more than pipes and a line of each kind hold.
        let request = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"nothing"}}"#, "x".repeat(300));
        std::thread::spawn(move || {
            for _ in 0..REQUESTS {
                writeln!(input, "{request}").unwrap();
            }
            has_asked_all.store(true, Ordering::SeqCst);
            input
        })
    };
    let said: Vec<String> = (0..MESSAGES).map(|number| format!("{number} {}", "long ".repeat(200))).collect();
    let lines = said.iter().map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(bob.run_with_input(&["send", "alice", "-"], &lines).unwrap().code, Some(0));
    run(&bob, &["sync"]);
    assert!(!has_asked_all.load(Ordering::SeqCst), "it reads on though nobody reads it");

    let (mut answers, mut told) = (0, Vec::new());
    let mut lines = BufReader::new(output).lines();
    while answers < REQUESTS || told.len() < MESSAGES {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        match line.get("error") {
            Some(error) => answers += usize::from(error["code"] == -32_601),
            None => told.push(text(&line["params"], "text")),
        }
    }
    assert_eq!(told, said);
    drop(asking.join().unwrap());
    assert_eq!((lines.next().is_none(), daemon.wait().unwrap().code()), (true, Some(0)));
}

#[test]
fn the_bot_of_the_guide_says_everything_back() {
    let guide = file("../../docs/bots.md");
    let (_, program) = guide.split_once("```python\n").expect("a program");
    let (program, _) = program.split_once("```").expect("its end");
    assert!(program.lines().count() <= 10);
    let (_stage, alice, bob) = Stage::contacts();
    let elsewhere = std::env::var_os("PATH").unwrap();
    let directories = [binary().parent().unwrap().to_owned()].into_iter().chain(std::env::split_paths(&elsewhere));
    let path = std::env::join_paths(directories).unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", program]).env("PATH", path).env("SOTTO_PROFILE", alice.directory());
    let mut bot = Process::start(&mut command).unwrap();
    wait_for_socket(&alice, &mut bot);
    // What comes before the bot has asked to be told is not told.
    until(|| {
        run(&bob, &["send", "alice", "Is anybody there? 👋 سلام"]);
        run(&bob, &["sync"]);
        let messages = objects(&run(&bob, &["--json", "messages", "alice"]));
        messages.iter().any(|message| {
            text(message, "sender_name") == "alice"
                && text(message, "text") == "Is anybody there? 👋 سلام"
                && message["reply_to"].is_object()
        })
    });
    bot.kill().unwrap();
}
