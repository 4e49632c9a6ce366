//! A conversation that is written down: whole, harmless, and its owner's alone.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::stage::{Stage, fails, objects, run, stay, text, transcript};

const HOSTILE: [&str; 4] = [
    "</p></article><script>alert(document.cookie)</script><img src=\"https://evil.example/x.png\" onerror='x()'>",
    "<!-- <style>@import url(https://evil.example)</style> & &lt;b&gt; \u{202e}\u{1b}[2J",
    "javascript:alert(1) https://evil.example/?q=<x>",
    "مرحبا 👋🏽\nsecond line \u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
];

/// The tags of a page, as any browser would find them: text of others can make none, for each `<` in it is written out.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()).collect()
}

#[test]
fn a_page_needs_nothing_but_itself_and_runs_nothing_whatever_was_said() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let (bob, _) = stage.person_called("bob", "<script>bob</script>");
    Stage::introduce(&alice, &bob);
    for hostile in HOSTILE {
        run(&bob, &["send", "alice", hostile]);
    }
    run(&bob, &["sync"]);
    run(&alice, &["sync"]);
    let numbers: Vec<String> = objects(&run(&alice, &["--json", "messages", "<script>bob</script>"]))
        .iter()
        .map(|message| message["number"].to_string())
        .collect();
    run(&alice, &["reply", &numbers[0], "<b>no</b>"]);
    run(&alice, &["react", &numbers[0], "<x>"]);
    run(&alice, &["sync"]);
    let page = run(&alice, &["export", "<script>bob</script>"]).out;
    let policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-";
    assert!(page.contains(policy), "{page}");
    assert!(page.starts_with("<!doctype html>\n") && page.ends_with("</body>\n</html>\n"));
    let ours = [
        "!doctype",
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "article",
        "p",
        "b",
        "bdi",
        "br",
        "blockquote",
        "a",
    ];
    for tag in tags(&page) {
        let name = tag.trim_start_matches('/').split(' ').next().unwrap_or_default();
        assert!(ours.contains(&name), "{tag}");
        for attribute in [" src=", " on", "http:", "https:", "javascript"] {
            assert!(!tag.contains(attribute), "{tag}");
        }
    }
    assert!(!page.chars().any(|letter| letter.is_control() && letter != '\n'));
    assert!(page.contains("&lt;script&gt;alert(document.cookie)&lt;/script&gt;") && page.contains("second line"));
    assert!(page.contains(&format!("<a href=\"#m{}\">", numbers[0])) && page.contains("<bdi>&lt;x&gt;</bdi>"));

    // Through another process: the same.
    let staying = stay(&alice);
    assert_eq!(run(&alice, &["export", "<script>bob</script>"]).out, page);
    let written: Value =
        serde_json::from_str(&run(&alice, &["export", "--format", "json", "<script>bob</script>"]).out).unwrap();
    let texts: Vec<String> =
        written["messages"].as_array().unwrap().iter().map(|message| text(message, "text")).collect();
    assert_eq!(texts[..4], HOSTILE, "programs get what was said");
    staying.stop().unwrap();
}

#[test]
fn a_file_is_new_and_its_owners_alone_and_half_of_one_is_none() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let lines: String = (0..450).map(|number| format!("note {number}\n")).collect();
    assert_eq!(alice.run_with_input(&["send", "me", "-"], &lines).unwrap().code, Some(0));
    let path = stage.path("notes.json");
    let file = path.to_str().unwrap();
    let export = ["export", "me", "--format", "json", "--output", file];
    assert!(run(&alice, &export).out.is_empty());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let written = std::fs::read_to_string(&path).unwrap();
    let object: Value = serde_json::from_str(&written).unwrap();
    let texts: Vec<String> =
        object["messages"].as_array().unwrap().iter().map(|message| text(message, "text")).collect();
    assert_eq!(texts, transcript(&alice, "me"), "every page of it");
    assert_eq!(fails(&alice, &export), "file_exists");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), written);
    let other = stage.path("nobody.html");
    for profile in [alice.clone(), stage.profile("nobody")] {
        let code = fails(&profile, &["export", "nobody", "--output", other.to_str().unwrap()]);
        assert!(["not_found", "no_profile"].contains(&code.as_str()) && !other.exists());
    }
    // Another process finds it, and whoever typed the command writes it.
    let staying = stay(&alice);
    let mut command = alice.command(&["export", "me", "--format", "json", "--output", "here.json"]);
    assert!(command.current_dir(stage.path("")).status().unwrap().success());
    assert_eq!(std::fs::read_to_string(stage.path("here.json")).unwrap(), written);
    assert_eq!(fails(&alice, &["export", "nobody", "--output", other.to_str().unwrap()]), "not_found");
    assert!(!other.exists());
    staying.stop().unwrap();
    let full = fails(&alice, &["export", "me", "--output", "/dev/full"]);
    assert_eq!(full, "file_exists", "a device is there, and nothing is put into it");
}
