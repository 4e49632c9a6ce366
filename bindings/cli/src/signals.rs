//! SIGINT and SIGTERM: the first ends a command in order, the second at once. And the signal of a file that may not grow.

use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::watch;

/// Which one came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Caught {
    /// Ctrl-C.
    Interrupt,
    /// Somebody asked the process to end.
    Terminate,
}

impl Caught {
    /// As shells report it.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// A limit on the size of files is then told by a failed write, as a full disk is; the signal that comes with it would end the process
/// instead. Whoever listens for it has taken its default away for good. Within a tokio runtime.
pub(crate) fn outlive_file_limits() {
    use tokio::signal::unix::{SignalKind, signal};
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw())));
}

/// Both, from now on.
pub(crate) struct Signals(watch::Receiver<Option<Caught>>);

impl Signals {
    /// Takes them over for the rest of the process. Within a tokio runtime. Not before a passphrase is asked for: whoever waits for that
    /// hears nothing else.
    pub(crate) fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let (sender, receiver) = watch::channel(None);
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return Self(receiver);
        };
        tokio::spawn(async move {
            loop {
                let caught = tokio::select! {
                    biased;
                    _ = terminate.recv() => Caught::Terminate,
                    _ = interrupt.recv() => Caught::Interrupt,
                };
                if sender.borrow().is_some() {
                    // Whoever asks twice does not want to wait; what is on disk is whole at every moment.
                    let _ = kill_process(getpid(), Signal::KILL);
                }
                sender.send_replace(Some(caught));
            }
        });
        Self(receiver)
    }

    /// Ready when the first has come.
    pub(crate) async fn caught(&mut self) -> Caught {
        let caught = self.0.wait_for(Option::is_some).await.ok().and_then(|caught| *caught);
        match caught {
            Some(caught) => caught,
            // Nobody listens: none will come.
            None => std::future::pending().await,
        }
    }
}
