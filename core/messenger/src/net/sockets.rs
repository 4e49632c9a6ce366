//! Every socket of a transport, so that all of them can be closed at once: an app that the system is about to stop leaves none open.
//!
//! Whoever connects holds a place from before the first packet until the socket is dropped. [`Sockets::close_all`] ends the round: every socket
//! of it reads and writes nothing more, which ends whoever has it (a pool keeps idle connections in tasks of their own), and it waits until
//! all their places are free.
//! Not here: who dials and why (`dial.rs`); a name that the system's resolver looks up meanwhile, on a thread that ends with its answer.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::watched::Watched;
use crate::world::BoxFuture;

/// Those of one transport. Clones are the same ones.
#[derive(Clone)]
pub(super) struct Sockets {
    round: Watched<u64>,
    /// How many places are held, by the round in which they were taken.
    held: Watched<BTreeMap<u64, usize>>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self { round: Watched::new(0), held: Watched::new(BTreeMap::new()) }
    }
}

impl Sockets {
    /// Takes a place for a socket that is about to be opened.
    pub(super) fn hold(&self) -> Held {
        let round = self.round.read(|round| *round);
        self.held.change(|held| *held.entry(round).or_default() += 1);
        let mut rounds = self.round.watcher();
        let over = Box::pin(async move { rounds.until(|now| *now != round).await });
        Held { sockets: self.clone(), round, over: Some(over) }
    }

    /// Closes every socket that is open or being opened; ready when that is done. What is opened afterwards stays.
    pub(super) async fn close_all(&self) {
        let round = self.round.change(|round| {
            *round += 1;
            *round
        });
        self.held.watcher().until(|held| held.range(..round).next().is_none()).await;
    }
}

/// The place of one socket.
pub(super) struct Held {
    sockets: Sockets,
    round: u64,
    /// `None` once it has come.
    over: Option<BoxFuture<'static, ()>>,
}

impl Held {
    /// Ready once all sockets of its round are to be closed.
    pub(super) fn over(&mut self) -> impl Future<Output = ()> + '_ {
        std::future::poll_fn(|context| if self.is_over(context) { Poll::Ready(()) } else { Poll::Pending })
    }

    /// Whether it is, and whoever asks last is woken when it is.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if self.over.as_mut().is_some_and(|over| over.as_mut().poll(context).is_ready()) {
            self.over = None;
        }
        self.over.is_none()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sockets.held.change(|held| {
            if let Some(count) = held.get_mut(&self.round) {
                *count -= 1;
                if *count == 0 {
                    held.remove(&self.round);
                }
            }
        });
    }
}

/// A connected socket in its place.
pub(super) struct Socket {
    // In this order: the place is free once the socket is closed.
    tcp: TcpStream,
    held: Held,
}

impl Socket {
    pub(super) const fn new(tcp: TcpStream, held: Held) -> Self {
        Self { tcp, held }
    }

    /// Whatever a socket does, for as long as its round is not over. That is asked each time: nobody says which task asks next.
    fn unless_over<T>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        does: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.held.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        does(Pin::new(&mut self.tcp), context)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.unless_over(context, |tcp, context| tcp.poll_read(context, into))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.unless_over(context, |tcp, context| tcp.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unless_over(context, |tcp, context| tcp.poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_over(context, |tcp, context| tcp.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_over(context, |tcp, context| tcp.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn closing_ends_whoever_reads_and_waits_until_every_place_of_the_round_is_free() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sockets = Sockets::default();
        let dialling = sockets.hold();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = Socket::new(tcp, sockets.hold());
        let (mut theirs, _) = listener.accept().await.unwrap();
        let reading = tokio::spawn(async move { socket.read_u8().await.map_err(|error| error.kind()) });
        tokio::task::yield_now().await;
        let mut closing = Box::pin(sockets.close_all());
        assert!(closing.as_mut().now_or_never().is_none(), "one reads, one dials");
        assert_eq!(reading.await.unwrap(), Err(io::ErrorKind::ConnectionAborted));
        assert_eq!(theirs.read(&mut [0; 1]).await.unwrap(), 0, "the other side sees it end");
        assert!(closing.as_mut().now_or_never().is_none(), "one dials");
        drop(dialling);
        closing.await;
        let mut next = sockets.hold();
        assert!(next.over().now_or_never().is_none(), "a new round has begun");
    }
}
