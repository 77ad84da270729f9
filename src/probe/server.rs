//! The thread that answers, and how much it lets strangers ask of it.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{Instant, sleep, sleep_until};

use super::site::Site;
use crate::sync::{Mutex, lock};

/// How many connections are open at most. For one more, the one that has been silent for longest goes, so that
/// nobody keeps a probe out by opening connections.
const CONNECTIONS_AT_MOST: usize = 64;

/// How long a connection may take for the head of its next request, or of its first one. Whatever else a client
/// may do to keep a connection, such as not reading what it asked for, ends at the same time.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// Says so: clients that keep connections, and ask as seldom, send nothing on one that is about to close then.
const KEEP_ALIVE: HeaderValue = HeaderValue::from_static("timeout=5");

/// How long the head of a request may be. It is also the least that hyper takes.
const HEAD_AT_MOST: usize = 8 * 1024;

/// How much is read and thrown away of what a client still sends when it was answered for the last time.
const DISCARD_AT_MOST: usize = 64 * 1024;

/// How many connections the kernel holds until they are accepted.
const BACKLOG: i32 = 128;

/// How long to wait when the process has no descriptor left to accept with.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A server on a thread of its own. When it is dropped, the thread has ended and the port is free.
#[derive(Debug)]
pub struct ProbeServer {
    /// What it tells of.
    pub site: Arc<Site>,
    address: SocketAddr,
    /// Dropping it ends the thread.
    close: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl ProbeServer {
    /// Listens on the address, and answers from now on.
    ///
    /// # Errors
    ///
    /// When the address can't be had, or the operating system refuses another thread.
    pub fn open(address: SocketAddr, site: Site) -> io::Result<Self> {
        let listener = listen(address)?;
        let site = Arc::new(site);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let address = listener.local_addr()?;
        let (close, closed) = oneshot::channel();
        let answering = Arc::clone(&site);
        // Here, where it can still be said if it fails.
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let thread = std::thread::Builder::new().name("http-probes".into()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = closed => {}
                    () = accept(listener, answering) => {}
                }
            });
        })?;
        Ok(Self { site, address, close: Some(close), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ProbeServer {
    fn drop(&mut self) {
        self.close = None;
        // Nothing on the thread takes long, and so neither does this.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Every address of the machine, whatever the system's own default for this is.
        socket.set_only_v6(false)?;
    }
    // Elsewhere it would let others take the port away.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A connection that is being answered, and when it last had a request.
struct Conversation {
    task: AbortHandle,
    progress: Arc<Progress>,
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let mut conversations: Vec<Conversation> = Vec::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_AGAIN_AFTER).await;
            continue;
        };
        conversations.retain(|conversation| !conversation.task.is_finished());
        if conversations.len() >= CONNECTIONS_AT_MOST
            && let Some(place) = (0..conversations.len()).min_by_key(|&place| conversations[place].progress.last())
        {
            conversations.swap_remove(place).task.abort();
        }
        let progress = Arc::new(Progress::now());
        let task = tokio::spawn({
            let (site, progress) = (Arc::clone(&site), Arc::clone(&progress));
            async move {
                tokio::select! {
                    () = converse(stream, site, &progress) => {}
                    () = progress.stops() => {}
                }
            }
        });
        conversations.push(Conversation { task: task.abort_handle(), progress });
        // Whoever has asked already is answered before others take its place: many may wait to be accepted.
        yield_now().await;
    }
}

async fn converse(stream: TcpStream, site: Arc<Site>, progress: &Arc<Progress>) {
    // Without it an answer may wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let progress = Arc::clone(progress);
    let service = service_fn(move |request| {
        let now = progress.made();
        let mut answer = site.answer(&request, now.into_std());
        answer.headers_mut().insert("keep-alive", KEEP_ALIVE);
        ready(Ok::<_, Infallible>(answer))
    });
    let mut connection = http1::Builder::new()
        .max_buf_size(HEAD_AT_MOST)
        // `Progress` keeps this time, and more.
        .header_read_timeout(None)
        // Clients that close their side once they have asked are answered nevertheless.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever ended it is the client's affair.
    let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    linger(connection.into_parts().io.into_inner()).await;
}

/// Closing while something is unread would reset the connection, and the client might lose our answer.
async fn linger(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut discarded = 0;
    let mut buffer = [0; 4096];
    while discarded < DISCARD_AT_MOST {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => discarded += length,
        }
    }
}

/// When a connection last had a request, or was accepted.
struct Progress(Mutex<Instant>);

impl Progress {
    fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn made(&self) -> Instant {
        let now = Instant::now();
        *lock(&self.0) = now;
        now
    }

    fn last(&self) -> Instant {
        *lock(&self.0)
    }

    /// Until there was no request for too long.
    async fn stops(&self) {
        loop {
            let last = self.last();
            sleep_until(last + REQUEST_WITHIN).await;
            if self.last() == last {
                return;
            }
        }
    }
}
