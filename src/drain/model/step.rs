//! What a script is made of.

use super::*;

/// One thing that happens. A `usize` is the place of a connection among those open, counted round and
/// round, so that every script can be played. What can't happen where it stands does not happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// From now on, this is what the kernel is able to do.
    Runs(Kernel),
    /// Somebody connects, and waits to be accepted.
    Knock(Transport),
    /// Somebody begins to connect, but a round trip away.
    BeginHandshake(Transport),
    /// One of those has connected, and waits to be accepted.
    EndHandshake,
    /// One of those is gone.
    LoseHandshake,
    /// One of those who wait is accepted.
    Accept,
    /// Somebody connects and is accepted at once.
    Open(Transport),
    /// An HTTP/2 connection, over which the peer speaks at once.
    OpenSession(Transport),
    /// The caller keeps an eye on a connection from now on, whether something is under way on it or not.
    Follow(usize),
    /// The caller has found that the requests on a connection come this far apart.
    Measure(usize, Duration),
    /// A request comes, and whether another one has been received behind it.
    Start(usize, bool),
    Finish(usize, Finished),
    /// The peer of a session takes back a request.
    Abort(usize),
    /// The peer of a session acknowledges its PING.
    Pong(usize),
    Hijack(usize),
    /// Half a request comes, and the caller notices.
    Receive(usize),
    /// Half a request comes, and the caller will not notice before it looks.
    ReceiveUnnoticed(usize),
    /// Something comes that will turn out to be no request, and the caller will not notice before it looks.
    Stir(usize),
    /// So much of what was sent to the peer waits from now on until it takes more.
    Read(usize, u32),
    /// The rest of a body ends whose request is answered, and whether half a request comes behind it.
    EndBody(usize, bool),
    /// A TLS handshake ends.
    Secure(usize),
    /// No further request follows the one that was said to be followed.
    NothingMore(usize),
    /// The peer closes.
    Leave(usize),
    /// Somebody here closes, and not because the machine asked for it.
    Break(usize),
    /// Somebody here resets a stream.
    BreakOff(usize),
    /// Of the sockets on their way out, one has closed.
    SocketCloses(usize),
    ServerCloses,
    Turn,
    StartTask,
    FinishTask(bool),
    /// Who connects from now on is this far away.
    Travel(Distance),
    /// Somebody wants to know what is open.
    Look,
    /// Time passes and no timer goes off, as on a busy loop.
    Pass(Duration),
    /// A timer goes off, due or not.
    Ring,
    /// Time passes until a timer is due, which goes off.
    PassUntilRing,
    Terminate(Plan),
    /// If a termination runs, all happens that it takes to end it.
    SeeThrough,
    Listen,
}

/// What the kernel is able to do with a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel {
    /// It tells how many wait to be accepted, and how many are about to.
    pub(super) tells: bool,
    /// It can hold new connections back.
    pub(super) holds: bool,
}

/// A connection that is open and idle when a termination begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bystander {
    pub(super) transport: Transport,
    /// How long ago the last request on it came, if one has.
    pub(super) age: Option<Duration>,
    pub(super) gap: Option<Duration>,
}
