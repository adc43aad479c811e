//! Connections on which nothing is said are closed.
//!
//! Whoever keeps a connection open for the next request, or never makes one, holds memory and a file of this process. YARN's
//! proxy does that with every request: it opens a connection for each and forgets it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a connection may be silent. No request takes as long: what lasts is begun by one and looked after by others.
pub const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// A listener whose connections are closed when they have been silent for `limit`.
pub struct Closing<L> {
    /// Where they come from.
    pub listener: L,
    /// See [`IDLE_LIMIT`].
    pub limit: Duration,
}

impl<L: Listener> Listener for Closing<L> {
    type Io = Watched<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (io, address) = self.listener.accept().await;
        (Watched { io, limit: self.limit, silent: Box::pin(sleep(self.limit)) }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// One connection.
pub struct Watched<T> {
    io: T,
    limit: Duration,
    /// Ends when it has been silent for too long.
    silent: Pin<Box<Sleep>>,
}

impl<T> Watched<T> {
    fn heard(&mut self) {
        self.silent.as_mut().reset(Instant::now() + self.limit);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(result) = Pin::new(&mut self.io).poll_read(cx, buffer) {
            self.heard();
            return Poll::Ready(result);
        }
        ready!(self.silent.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        self.heard();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, pieces));
        self.heard();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_connection_serves_many_requests_and_is_closed_when_it_falls_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let closing = Closing { listener, limit: Duration::from_millis(300) };
        tokio::spawn(async move { axum::serve(closing, router).await });

        let mut kept = TcpStream::connect(address).await.unwrap();
        let mut mute = TcpStream::connect(address).await.unwrap();
        let mut heard = [0; 1000];
        for _ in 0..3 {
            kept.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let length = kept.read(&mut heard).await.unwrap();
            assert!(heard[..length].ends_with(b"here"), "{:?}", String::from_utf8_lossy(&heard[..length]));
        }
        for connection in [&mut kept, &mut mute] {
            let end = tokio::time::timeout(Duration::from_secs(20), connection.read(&mut heard)).await.unwrap();
            assert!(!end.is_ok_and(|length| length > 0), "closed without another word");
        }
    }
}
