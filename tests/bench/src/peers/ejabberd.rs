//! ejabberd: messages archived for their receivers before their sender hears of it, delivered at once, acknowledged by stream
//! management (XEP-0198, XEP-0313).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::BASE64;
use rusqlite::Connection;

use super::socket::{Endpoint, Socket, position};
use super::{Process, package_version, quoted};
use crate::Outcome;
use crate::load::{Receiver, Sender, Server};

/// Characters of a message's body.
const BODY_BYTES: usize = 1024;
/// Where Debian puts the modules.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

pub(crate) fn version() -> Outcome<String> {
    package_version("ejabberd")
}

/// The server with its archive.
pub(crate) struct Ejabberd {
    process: Process,
    endpoint: Endpoint,
    archive: PathBuf,
}

impl Ejabberd {
    pub(crate) async fn start(directory: &Path) -> Outcome<Self> {
        let endpoint = Endpoint::create(directory)?;
        let both = directory.join("both.pem");
        fs::write(&both, [fs::read(&endpoint.key)?, fs::read(&endpoint.certificate)?].concat())?;
        let (archive, file) = (directory.join("archive.db"), directory.join("ejabberd.yml"));
        fs::write(&file, configuration(&endpoint, &both, &archive))?;
        // No distribution: nothing but its one port listens. Schedulers that wait must not count as work.
        let process = Process::start(
            Command::new("erl")
                .args(["-noinput", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none", "-mnesia", "dir"])
                .arg(quoted(&directory.join("spool")))
                .args(["-s", "ejabberd"])
                .current_dir(directory)
                .env("ERL_LIBS", LIBRARIES)
                .env("ERL_CRASH_DUMP", directory.join("crash"))
                .env("EJABBERD_CONFIG_PATH", &file)
                .env("EJABBERD_LOG_PATH", directory.join("ejabberd.log")),
        )?;
        let server = Self { process, endpoint, archive };
        drop(server.endpoint.connect().await?);
        Ok(server)
    }

    /// That the archive has what was sent: nothing is compared with a server that kept nothing.
    pub(crate) fn holds(&self, messages: usize) -> Outcome<()> {
        let archive = Connection::open(&self.archive)?;
        let held: i64 = archive.query_row("SELECT count(*) FROM archive", [], |row| row.get(0))?;
        if usize::try_from(held)? == messages {
            Ok(())
        } else {
            Err(format!("{held} of {messages} messages are in the archive").into())
        }
    }

    /// A client that is logged in, its archive switched as asked, and heard by stream management.
    async fn log_in(&self, name: &str, archive: &str) -> Outcome<Socket> {
        const STREAM: &str = "<stream:stream to='localhost' xmlns='jabber:client' \
                              xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
        let socket = self.endpoint.connect().await?;
        let mut socket = self.endpoint.encrypt(socket).await?;
        let login = BASE64.encode(format!("\0{name}\0password").as_bytes());
        let dialogue = [
            (STREAM.to_owned(), "</stream:features>"),
            (
                format!(
                    "<iq type='set' id='1'><query xmlns='jabber:iq:register'><username>{name}</username>\
                     <password>password</password></query></iq>"
                ),
                "type='result'",
            ),
            (format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{login}</auth>"), "<success"),
            (STREAM.to_owned(), "</stream:features>"),
            (
                "<iq type='set' id='2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind></iq>".to_owned(),
                "type='result'",
            ),
            (
                format!(
                    "<iq type='set' id='3'><prefs xmlns='urn:xmpp:mam:2' default='{archive}'><always/><never/></prefs></iq>"
                ),
                "type='result'",
            ),
            // Only who is present is delivered to; the word of it comes back to oneself.
            ("<presence/>".to_owned(), "<presence"),
            ("<enable xmlns='urn:xmpp:sm:3'/>".to_owned(), "<enabled"),
        ];
        for (said, wanted) in dialogue {
            socket.write(said.as_bytes()).await?;
            let read =
                socket.read_until(|read| position(read, wanted.as_bytes()).is_some() && read.ends_with(b">")).await?;
            read.clear();
        }
        Ok(socket)
    }
}

fn configuration(endpoint: &Endpoint, both: &Path, archive: &Path) -> String {
    format!(
        "hosts: [localhost]
loglevel: 2
certfiles: [{both}]
ca_file: {certificate}
listen:
  - port: {port}
    ip: \"127.0.0.1\"
    module: ejabberd_c2s
    tls: true
    max_stanza_size: 262144
    access: all
auth_method: internal
default_db: mnesia
sql_type: sqlite
sql_database: {archive}
registration_timeout: infinity
modules:
  mod_register:
    ip_access: all
    access: all
  mod_mam:
    db_type: sql
    default: never
  mod_stream_mgmt: {{}}
",
        both = quoted(both),
        certificate = quoted(&endpoint.certificate),
        port = endpoint.address.port(),
        archive = quoted(archive),
    )
}

impl Server for Ejabberd {
    type Sender = Writer;
    type Receiver = Reader;

    fn process(&self) -> u32 {
        self.process.id()
    }

    async fn sender(&self, number: usize) -> Outcome<Writer> {
        let socket = self.log_in(&format!("sender{number}"), "never").await?;
        Ok(Writer { socket, sent: 0, body: "x".repeat(BODY_BYTES) })
    }

    async fn receiver(&self, number: usize) -> Outcome<Reader> {
        Ok(Reader { socket: self.log_in(&format!("receiver{number}"), "always").await?, taken: 0 })
    }
}

/// A client that sends.
pub(crate) struct Writer {
    socket: Socket,
    sent: usize,
    body: String,
}

impl Sender for Writer {
    async fn send(&mut self, to: &[usize]) -> Outcome<()> {
        let mut stanzas = String::new();
        for queue in to {
            self.sent += 1;
            stanzas += &format!(
                "<message to='receiver{queue}@localhost' type='chat' id='{}'><body>{}</body></message>",
                self.sent, self.body
            );
        }
        stanzas += "<r xmlns='urn:xmpp:sm:3'/>";
        self.socket.write(stanzas.as_bytes()).await?;
        let wanted = format!("<a h='{}'", self.sent);
        self.socket
            .read_until(|read| position(read, wanted.as_bytes()).is_some() && read.ends_with(b">"))
            .await?
            .clear();
        Ok(())
    }
}

/// A client that receives.
pub(crate) struct Reader {
    socket: Socket,
    taken: usize,
}

impl Receiver for Reader {
    async fn take(&mut self, count: usize) -> Outcome<()> {
        const END: &[u8] = b"</message>";
        const ASKED: &[u8] = b"<r xmlns='urn:xmpp:sm:3'/>";
        // The server asks from time to time; the last answer need not be waited for.
        while self.taken < count {
            let read = self.socket.read_until(|read| read.ends_with(b">")).await?;
            let asked = position(read, ASKED).is_some();
            while let Some(at) = position(read, END) {
                read.drain(..at + END.len());
                self.taken += 1;
            }
            if position(read, b"<message").is_none() {
                read.clear();
            }
            if asked {
                let answer = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.taken);
                self.socket.write(answer.as_bytes()).await?;
            }
        }
        Ok(())
    }
}
