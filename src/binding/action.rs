//! What JavaScript is asked to do, as plain integers.

use napi_derive::napi;

use super::to_u32;
use crate::drain::{self, Action};

/// Kind and id of each action, one after the other.
pub type Actions = Option<Vec<u32>>;

/// What JavaScript is asked to do; see `Action` in the crate's `drain` module for each one's meaning.
#[napi]
pub enum ActionKind {
    /// Tell whoever observes of a milestone, whose number is in place of an id.
    Announce,
    /// Look at quiet connections, as many as one turn may take, and call `surveyed`. In place of an id, how many
    /// milliseconds old the last request of a connection may be for it to be found.
    Survey,
    /// The same for all of them, and what the kernel holds counts as received, since nothing is going to be read any
    /// more.
    LastSurvey,
    /// Call `watchListener`, or tell how many connections wait to be accepted in another way.
    WatchListener,
    /// Call `holdListener`, unless the listener may be shared.
    HoldListener,
    /// Stop listening.
    CloseServer,
    /// Let the last answer in flight on a connection say `Connection: close`.
    SayClose,
    /// Let no answer in flight on a connection say close.
    SayKeepAlive,
    /// Close an idle connection unless bytes have come on it.
    Close,
    /// The same under TLS, with a `close_notify`.
    CloseNotify,
    /// Close some quiet connections, whose number is in place of an id.
    CloseQuiet,
    /// Close all quiet connections at once.
    DestroyQuiet,
    /// Call `lookUnsent`.
    LookUnsent,
    /// Close a connection after the last byte written to it.
    End,
    /// The same under TLS, with a `close_notify`.
    EndNotify,
    /// Send FIN after the last byte, then read and discard.
    Linger,
    /// Call `bodyEnded` when the body has come whose request has been answered.
    HearBody,
    /// Let Node close a connection, and read and discard below it what still comes.
    HearOut,
    /// Send a PING on an HTTP/2 connection.
    Ping,
    /// Send GOAWAY and close an HTTP/2 connection when its streams have ended.
    CloseSession,
    /// List what is in flight on a connection among the requests cut.
    Cut,
    /// List half a request among them.
    CutHalf,
    /// Tell an HTTP/2 client that its streams are cut, and read on until it closes.
    CutSession,
    /// Close a connection at once.
    Destroy,
    /// Report when the event loop has polled for input once.
    AwaitTurn,
    /// The termination is over.
    Resolve,
}

/// What is worth telling in the course of a termination.
#[napi]
pub enum Milestone {
    /// It has begun, and the listener still accepts.
    Delaying,
    /// The listener closes.
    Draining,
    /// Half of the timeout has passed.
    HalfTime,
    /// The timeout has passed.
    Deadline,
    /// It is over.
    Terminated,
}

impl From<drain::Milestone> for Milestone {
    fn from(milestone: drain::Milestone) -> Self {
        match milestone {
            drain::Milestone::Delaying => Self::Delaying,
            drain::Milestone::Draining => Self::Draining,
            drain::Milestone::HalfTime => Self::HalfTime,
            drain::Milestone::Deadline => Self::Deadline,
            drain::Milestone::Terminated => Self::Terminated,
        }
    }
}

/// Nothing if nothing is to be done, which is the usual case.
pub(super) fn encode(actions: Vec<Action>) -> Actions {
    if actions.is_empty() { None } else { Some(actions.into_iter().flat_map(kind_and_id).collect()) }
}

fn kind_and_id(action: Action) -> [u32; 2] {
    let (kind, id) = match action {
        Action::Announce(milestone) => (ActionKind::Announce, Milestone::from(milestone) as usize),
        Action::Survey(horizon) => (ActionKind::Survey, horizon.as_millis() as usize),
        Action::LastSurvey(horizon) => (ActionKind::LastSurvey, horizon.as_millis() as usize),
        Action::WatchListener => (ActionKind::WatchListener, 0),
        Action::HoldListener => (ActionKind::HoldListener, 0),
        Action::CloseServer => (ActionKind::CloseServer, 0),
        Action::SayClose(id) => (ActionKind::SayClose, id),
        Action::SayKeepAlive(id) => (ActionKind::SayKeepAlive, id),
        Action::Close(id) => (ActionKind::Close, id),
        Action::CloseNotify(id) => (ActionKind::CloseNotify, id),
        Action::CloseQuiet(count) => (ActionKind::CloseQuiet, count as usize),
        Action::DestroyQuiet => (ActionKind::DestroyQuiet, 0),
        Action::LookUnsent(id) => (ActionKind::LookUnsent, id),
        Action::End(id) => (ActionKind::End, id),
        Action::EndNotify(id) => (ActionKind::EndNotify, id),
        Action::Linger(id) => (ActionKind::Linger, id),
        Action::HearBody(id) => (ActionKind::HearBody, id),
        Action::HearOut(id) => (ActionKind::HearOut, id),
        Action::Ping(id) => (ActionKind::Ping, id),
        Action::CloseSession(id) => (ActionKind::CloseSession, id),
        Action::Cut(id) => (ActionKind::Cut, id),
        Action::CutHalf(id) => (ActionKind::CutHalf, id),
        Action::CutSession(id) => (ActionKind::CutSession, id),
        Action::Destroy(id) => (ActionKind::Destroy, id),
        Action::AwaitTurn => (ActionKind::AwaitTurn, 0),
        Action::Resolve => (ActionKind::Resolve, 0),
    };
    [kind as u32, to_u32(id)]
}
