//! NATS JetStream: a stream kept in a file, with a durable consumer for each queue.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::socket::{Endpoint, Socket, position};
use super::{Process, package_version, quoted};
use crate::Outcome;
use crate::load::{Receiver, Sender, Server};

/// Bytes of a message.
const MESSAGE_BYTES: usize = 1024;

pub(crate) fn version() -> Outcome<String> {
    package_version("nats-server")
}

/// The server with its stream.
pub(crate) struct Nats {
    process: Process,
    endpoint: Endpoint,
}

impl Nats {
    pub(crate) async fn start(directory: &Path) -> Outcome<Self> {
        let endpoint = Endpoint::create(directory)?;
        let file = directory.join("nats.conf");
        let config = format!(
            "listen: \"{}\"\njetstream {{ store_dir: {} }}\ntls {{ cert_file: {}, key_file: {} }}\n",
            endpoint.address,
            quoted(&directory.join("store")),
            quoted(&endpoint.certificate),
            quoted(&endpoint.key),
        );
        fs::write(&file, config)?;
        let process = Process::start(Command::new("nats-server").arg("--config").arg(&file))?;
        let server = Self { process, endpoint };
        let stream = r#"{"name":"queues","subjects":["queue.*"],"storage":"file","retention":"limits"}"#;
        server.connect("setup").await?.request("$JS.API.STREAM.CREATE.queues", stream).await?;
        Ok(server)
    }

    /// A connection that hears answers under its own `name`.
    async fn connect(&self, name: &str) -> Outcome<Connection> {
        let socket = self.endpoint.connect().await?;
        // The greeting comes before TLS and is one line.
        socket.readable().await?;
        let mut greeting = [0; 8192];
        let read = socket.try_read(&mut greeting)?;
        if !greeting[..read].ends_with(b"\r\n") {
            return Err("no greeting".into());
        }
        let mut socket = self.endpoint.encrypt(socket).await?;
        let answers = format!("answers.{name}");
        let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {answers} 1\r\n");
        socket.write(hello.as_bytes()).await?;
        Ok(Connection { socket, answers, payload: vec![b'x'; MESSAGE_BYTES] })
    }
}

impl Server for Nats {
    type Sender = Connection;
    type Receiver = Connection;

    fn process(&self) -> u32 {
        self.process.id()
    }

    async fn sender(&self, number: usize) -> Outcome<Connection> {
        self.connect(&format!("sender{number}")).await
    }

    async fn receiver(&self, number: usize) -> Outcome<Connection> {
        let mut connection = self.connect(&format!("receiver{number}")).await?;
        connection.socket.write(format!("SUB deliver.{number} 2\r\n").as_bytes()).await?;
        let consumer = format!(
            "{{\"stream_name\":\"queues\",\"config\":{{\"durable_name\":\"queue{number}\",\"deliver_subject\":\"deliver.{number}\",\
             \"ack_policy\":\"all\",\"deliver_policy\":\"all\",\"max_ack_pending\":100000,\"filter_subject\":\"queue.{number}\"}}}}"
        );
        connection.request(&format!("$JS.API.CONSUMER.DURABLE.CREATE.queues.queue{number}"), &consumer).await?;
        Ok(connection)
    }
}

/// A client.
pub(crate) struct Connection {
    socket: Socket,
    answers: String,
    payload: Vec<u8>,
}

/// What the server said.
struct Heard {
    /// Where an answer to it goes.
    reply: Option<String>,
    body: Vec<u8>,
}

impl Connection {
    async fn request(&mut self, subject: &str, body: &str) -> Outcome<()> {
        let command = format!("PUB {subject} {} {}\r\n{body}\r\n", self.answers, body.len());
        self.socket.write(command.as_bytes()).await?;
        self.accepted().await
    }

    /// The next answer, which must not be an error.
    async fn accepted(&mut self) -> Outcome<()> {
        let body = self.next().await?.body;
        if position(&body, b"\"error\"").is_none() { Ok(()) } else { Err(String::from_utf8_lossy(&body).into()) }
    }

    /// The next message.
    async fn next(&mut self) -> Outcome<Heard> {
        loop {
            let line = self.line().await?;
            let words: Vec<&str> = line.split_whitespace().collect();
            match (words.first(), words.last()) {
                (Some(&"MSG"), Some(length)) => {
                    let length: usize = length.parse()?;
                    let read = self.socket.read_until(|read| read.len() >= length + 2).await?;
                    let body = read.drain(..length + 2).take(length).collect();
                    let reply = (words.len() == 5).then(|| words[3].to_owned());
                    return Ok(Heard { reply, body });
                }
                (Some(&"PING"), _) => self.socket.write(b"PONG\r\n").await?,
                (Some(&"-ERR"), _) => return Err(line.into()),
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> Outcome<String> {
        let read = self.socket.read_until(|read| position(read, b"\r\n").is_some()).await?;
        let end = position(read, b"\r\n").ok_or("no line")?;
        Ok(String::from_utf8(read.drain(..end + 2).take(end).collect())?)
    }
}

impl Sender for Connection {
    async fn send(&mut self, to: &[usize]) -> Outcome<()> {
        let mut commands = Vec::new();
        for queue in to {
            commands.extend(format!("PUB queue.{queue} {} {MESSAGE_BYTES}\r\n", self.answers).into_bytes());
            commands.extend(&self.payload);
            commands.extend(b"\r\n");
        }
        self.socket.write(&commands).await?;
        for _ in to {
            self.accepted().await?;
        }
        Ok(())
    }
}

impl Receiver for Connection {
    async fn take(&mut self, count: usize) -> Outcome<()> {
        let mut taken = 0;
        while taken < count {
            let mut heard = self.next().await?;
            taken += 1;
            // What came in one read is acknowledged by its last.
            while taken < count && self.socket.has_more() {
                heard = self.next().await?;
                taken += 1;
            }
            let reply = heard.reply.ok_or("a message without a place for its ack")?;
            self.socket.write(format!("PUB {reply} 4\r\n+ACK\r\n").as_bytes()).await?;
        }
        Ok(())
    }
}
