//! What the machine asks of its caller.

use std::time::Duration;

use super::ConnectionId;
#[cfg(doc)]
use super::Drain;

/// What the caller is to do, at once and in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A milestone is reached. [`Milestone::HalfTime`] is told only if it was asked for.
    Announce(Milestone),
    /// Look at quiet connections, as many as one turn of the loop may take, and call [`Drain::handle_found`] for each
    /// whose last request is younger than this. When all have been looked at, call [`Drain::handle_receiving`],
    /// [`Drain::handle_answered_early`] and [`Drain::handle_multiplexed`] for each connection of which that is true
    /// now. In the end, call [`Drain::handle_quiet`], then [`Drain::handle_surveyed`]: if there are more, this is asked
    /// once more.
    Survey(Duration),
    /// The same at once for all that have not been looked at, when no turn of the loop is going to read what the kernel
    /// holds: so a connection on which it holds something is receiving, too.
    LastSurvey(Duration),
    /// Call [`Drain::handle_accept_queue`] now, and once before every turn.
    WatchListener,
    /// Let no further connection reach the listener, and call [`Drain::handle_listener_held`], if that can be done.
    HoldListener,
    /// Stop listening, and call [`Drain::handle_server_closed`] when the server has closed.
    CloseServer,
    /// Let the last answer in flight on this connection, and no earlier one, say `Connection: close`.
    ///
    /// Close on an earlier answer would silently drop the later ones, whose handlers already ran.
    SayClose(ConnectionId),
    /// Let no answer in flight on this connection say close: a further request is already arriving.
    SayKeepAlive(ConnectionId),
    /// Close this idle connection, unless bytes have come since the termination began: then call
    /// [`Drain::handle_receiving`] instead. Before it is closed, look as for [`Action::LookUnsent`].
    Close(ConnectionId),
    /// The same under TLS: send `close_notify` and FIN, then linger for the peer's own `close_notify`, unless it is heard out.
    CloseNotify(ConnectionId),
    /// Close so many of the quiet connections, but not those on which bytes have come, and call
    /// [`Drain::handle_quiet_closed`].
    CloseQuiet(u32),
    /// Close all quiet connections at once, and call [`Drain::handle_quiet_closed`].
    DestroyQuiet,
    /// Look how much of what was sent to the peer of this connection waits until it takes more, and call [`Drain::handle_unsent`].
    LookUnsent(ConnectionId),
    /// Close this connection after the last byte written to it. Before, look as for [`Action::LookUnsent`].
    End(ConnectionId),
    /// The same under TLS: send `close_notify` and FIN, then linger for the peer's own `close_notify`, unless it is heard out.
    EndNotify(ConnectionId),
    /// Send FIN after the last byte, then read and discard until the peer closes. Keep Node from closing at once, as it does after an
    /// answer that said close.
    Linger(ConnectionId),
    /// Its last answer has left and said nothing of the connection, but the rest of that request's body is still coming.
    /// Read and discard it as ever, and call [`Drain::handle_body_ended`] when it has come.
    HearBody(ConnectionId),
    /// Let this connection be closed, as it is about to be, but not before its peer has: further requests come behind its last
    /// answer, or may come, which nobody may process any more. Read and discard them below HTTP, and call
    /// [`Drain::handle_closed`] when that has ended, too.
    HearOut(ConnectionId),
    /// Send a PING on this HTTP/2 connection, and call [`Drain::handle_ponged`] when it is acknowledged
    /// or can't be sent.
    Ping(ConnectionId),
    /// Send GOAWAY on this HTTP/2 connection and close it when its streams have ended. Streams that
    /// are opened later are refused, in a way that tells the client that it may retry them.
    CloseSession(ConnectionId),
    /// List what is in flight on this connection among the requests cut.
    Cut(ConnectionId),
    /// List a request of which this connection has received a part among the requests cut.
    CutHalf(ConnectionId),
    /// Tell the peer of this HTTP/2 connection that what is in flight is cut, behind that send FIN, then read and discard
    /// until the peer closes. [`Action::Destroy`] follows if it does not in time.
    CutSession(ConnectionId),
    /// Close this connection at once, whatever is under way on it.
    Destroy(ConnectionId),
    /// Call [`Drain::handle_turned`] after the event loop has polled for input once.
    AwaitTurn,
    /// The termination is over: [`Drain::report`] is final.
    Resolve,
}

/// What is worth telling in the course of a termination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// The termination has begun, and the listener still accepts.
    Delaying,
    /// The listener closes.
    Draining,
    /// Half of the timeout has passed.
    HalfTime,
    /// The timeout has passed: what is left is about to be destroyed.
    Deadline,
    /// The termination is over.
    Terminated,
}
