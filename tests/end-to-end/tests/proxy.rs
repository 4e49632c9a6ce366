//! A proxy: what it is asked for, and that nothing goes another way.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sotto_end_to_end::{Process, Profile};

use super::stage::{Stage, binary, fails, objects, run, stay, text, transcript};

/// A name that stands for nothing anywhere (RFC 2606): only this test's proxy knows better.
const NOWHERE: &str = "relay.invalid";

/// What a proxy was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Asked {
    /// Who asked; empty where nobody says.
    name: String,
    host: String,
}

/// A SOCKS 5 proxy that leads every name and address to one port here.
struct Proxy {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Proxy {
    fn start(target: u16, wants_password: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("socks5://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&asked);
        // Ends with the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = Arc::clone(&all);
                std::thread::spawn(move || serve(stream, target, wants_password, &all));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("nobody panicked").clone()
    }
}

fn serve(mut client: TcpStream, target: u16, wants_password: bool, asked: &Mutex<Vec<Asked>>) -> io::Result<()> {
    let [_, count] = read(&mut client)?;
    let mut offered = vec![0; usize::from(count)];
    client.read_exact(&mut offered)?;
    let name = if offered.contains(&2) && wants_password {
        client.write_all(&[5, 2])?;
        let [_, length] = read(&mut client)?;
        let name = read_text(&mut client, length)?;
        let [length] = read(&mut client)?;
        read_text(&mut client, length)?;
        client.write_all(&[1, 0])?;
        name
    } else {
        client.write_all(&[5, 0])?;
        String::new()
    };
    let [_, _, _, kind] = read(&mut client)?;
    let host = if kind == 3 {
        let [length] = read(&mut client)?;
        read_text(&mut client, length)?
    } else {
        std::net::Ipv4Addr::from(read::<4>(&mut client)?).to_string()
    };
    let [_, _] = read(&mut client)?;
    asked.lock().expect("nobody panicked").push(Asked { name, host });
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)) else {
        return client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    };
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Write)
}

fn read<const LENGTH: usize>(stream: &mut TcpStream) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes).map(|()| bytes)
}

fn read_text(stream: &mut TcpStream, length: u8) -> io::Result<String> {
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A port where nobody listens now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// A relay whose name only a proxy can find; its address too.
fn hidden_relay(directory: &std::path::Path, port: u16) -> (Process, String) {
    let (config, data) = (directory.join("relay.toml"), directory.join("data"));
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\nname = \"{NOWHERE}:{port}\"\ndata = {data:?}\n[tls]\nmode = \"self-signed\"\n"
    );
    std::fs::write(&config, text).expect("a file");
    let mut command = std::process::Command::new(binary());
    command.args(["demo-relay", "--config"]).arg(&config).env("SOTTO_LOG", "error");
    let mut relay = Process::start(&mut command).expect("a process");
    let line = relay.lines().next().expect("it starts");
    let address = line.strip_prefix("listening on ").expect("its address").to_owned();
    (relay, address)
}

#[test]
fn everything_goes_through_the_proxy_each_kind_of_connection_under_a_name_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let (relay, address) = hidden_relay(directory.path(), port);
    assert!(address.contains(NOWHERE), "{address}");
    let proxy = Proxy::start(port, true);
    let [alice, bob] = ["alice", "bob"].map(|name| Profile::at(binary(), &directory.path().join(name)));
    assert_eq!(
        fails(&alice, &["init", "--relay", &address, "--name", "alice"]),
        "relay_unreachable",
        "there is no other way"
    );
    for (profile, name) in [(&alice, "alice"), (&bob, "bob")] {
        run(profile, &["init", "--proxy", &proxy.address, "--relay", &address, "--name", name]);
    }
    // Nobody has to say it again.
    Stage::introduce(&alice, &bob);
    run(&bob, &["send", "alice", "by another way", "--wait"]);
    run(&alice, &["sync"]);
    assert_eq!(transcript(&alice, "bob"), ["by another way"]);

    let asked = proxy.asked();
    assert!(asked.iter().all(|asked| asked.host == NOWHERE), "names are looked up there: {asked:?}");
    // A process each for init, sync and so on; in each, pools and streams do not share a circuit.
    let mut names: Vec<_> = asked.iter().map(|asked| asked.name.clone()).collect();
    let before = proxy.asked().len();
    let staying = stay(&alice);
    run(&alice, &["send", "bob", "and back", "--wait"]);
    run(&alice, &["invite"]);
    staying.stop().unwrap();
    let of_one: Vec<_> = proxy.asked()[before..].iter().map(|asked| asked.name.clone()).collect();
    let mut apart = of_one.clone();
    apart.sort();
    apart.dedup();
    assert!(apart.len() >= 3, "a stream, what is signed, what is not: {of_one:?}");
    names.extend(of_one);
    assert!(names.iter().all(|name| name.len() == 32), "{names:?}");
    relay.stop().unwrap();
}

#[test]
fn where_the_proxy_does_not_lead_nothing_goes_directly() {
    let (stage, alice, bob) = Stage::contacts();
    let nowhere = Proxy::start(free_port(), false);
    let elsewhere = format!("socks5://127.0.0.1:{}", free_port());
    for proxy in [&nowhere.address, &elsewhere] {
        run(&alice, &["proxy", proxy]);
        assert_eq!(fails(&alice, &["send", "bob", "not yet", "--wait=1"]), "not_sent_yet");
        assert_eq!(fails(&alice, &["sync"]), "relay_unreachable");
    }
    assert!(!nowhere.asked().is_empty());
    run(&bob, &["sync"]);
    assert!(transcript(&bob, "alice").is_empty(), "the relay is there, and was not spoken to");
    // Through one that leads there: the same relay, which has an address and no name.
    let port = stage.relay.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let there = Proxy::start(port, false);
    run(&alice, &["--proxy", &there.address, "sync"]);
    run(&bob, &["sync"]);
    assert!(!transcript(&bob, "alice").is_empty());
    let host = "127.0.0.1".to_owned();
    assert!(there.asked().contains(&Asked { name: String::new(), host }), "{:?}", there.asked());
}

#[test]
fn the_way_is_kept_shown_without_its_password_and_the_same_for_all_who_share_a_process() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let shown = || objects(&run(&alice, &["--json", "proxy"])).remove(0);
    assert!(shown()["proxy"].is_null());
    let port = stage.relay.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let (proxy, other) = (Proxy::start(port, true), Proxy::start(port, true));
    let given = proxy.address.replace("socks5://", "socks5://ann:secret@");
    assert_eq!(alice.run_with_input(&["proxy", "-"], &format!("{given}\n")).unwrap().code, Some(0));
    assert_eq!(text(&shown(), "proxy"), proxy.address, "without the password");
    let staying = stay(&alice);
    run(&alice, &["sync"]);
    run(&alice, &["--proxy", &given, "sync"]);
    assert_eq!(fails(&alice, &["--proxy", &other.address, "sync"]), "proxy_differs");
    staying.stop().unwrap();
    assert!(!proxy.asked().is_empty() && proxy.asked().iter().all(|asked| asked.name == "ann"));
    assert!(other.asked().is_empty());
    std::fs::write(alice.directory().join("sotto.proxy"), "garbage").unwrap();
    assert_eq!(fails(&alice, &["sync"]), "proxy_unreadable");
    run(&alice, &["proxy", "none"]);
    run(&alice, &["sync"]);
    for wrong in ["http://127.0.0.1:1", "127.0.0.1:9050"] {
        assert_eq!(fails(&alice, &["--proxy", wrong, "sync"]), "usage");
        assert_eq!(fails(&alice, &["proxy", wrong]), "bad_proxy");
    }
}
