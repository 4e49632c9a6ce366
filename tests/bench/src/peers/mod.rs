//! The relay beside two servers that people run today, under the same load: ejabberd and NATS JetStream.
//!
//! Not the same promises: what differs is said under the table. All three keep every message before they say that they have it, as far
//! as the peer can; all speak TLS on loopback; of each only the server process counts. Debian's packages, whose versions are printed.

mod ejabberd;
mod nats;
mod socket;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::load::durable;
use crate::relay::Relay;
use crate::report::{Budget, Report};
use crate::{Outcome, Size};

pub(crate) async fn measure(size: Size, report: &mut Report) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let messages = size.pick(20_480, 1_024);
    report.table("The relay beside ejabberd and NATS JetStream, CPU of the server process alone");
    for items in [8, 1] {
        let place = |name: &str| directory.path().join(format!("{name}-{items}"));
        let relay = Relay::create(&place("relay"), size.old_ids()).await?;
        let relay = durable(&relay, messages, items).await?;
        let peer = ejabberd::Ejabberd::start(&place("ejabberd")).await?;
        let ejabberd = durable(&peer, messages, items).await?;
        peer.holds(ejabberd.messages)?;
        drop(peer);
        let nats = durable(&nats::Nats::start(&place("nats")).await?, messages, items).await?;
        for (name, measured) in [("the relay", &relay), ("ejabberd", &ejabberd), ("NATS JetStream", &nats)] {
            report.row(
                format!("{name}: a durable message of 1 KiB, {items} at a time"),
                measured.cpu,
                "us",
                Budget::None,
            );
            report.row(format!("{name}: the same, messages a second"), measured.rate, "/s", Budget::None);
        }
        let budget = if items == 8 { Budget::AtMost(0.5) } else { Budget::None };
        report.row(format!("the relay against ejabberd, {items} at a time"), relay.cpu / ejabberd.cpu, "x", budget);
        report.row(format!("the relay against NATS JetStream, {items} at a time"), relay.cpu / nats.cpu, "x", budget);
    }
    report.note(format!("{}; {}.", ejabberd::version()?, nats::version()?));
    report.note(
        "ejabberd archives each message for its receiver (mod_mam, SQLite), delivers it and has it acknowledged by stream management; \
         it answers its sender after the archive's commit, one message a commit. Its busy waiting is switched off. NATS keeps a stream \
         in a file with one durable consumer for each queue and cumulative acks; this version cannot sync before it answers and leaves \
         that to a timer of two minutes, so that a power cut loses what the relay and ejabberd would keep. Neither remembers the ids \
         of messages that are gone.",
    );
    Ok(())
}

/// A server that ends with its measurement.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Outcome<Self> {
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A measurement needs no orderly end of what it measured.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a Debian package calls its version.
fn package_version(package: &str) -> Outcome<String> {
    let output =
        Command::new("dpkg-query").args(["--show", "--showformat", "${Package} ${Version}", package]).output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(format!("{package} is not installed").into())
    }
}

/// A path as a server's configuration writes it.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
