//! Probe servers, each named by a key, and what they are told of the process.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;

use napi::bindgen_prelude::Either;
use napi::{Env, Error, Result, Status};
use napi_derive::napi;
use slab::Slab;

use super::{Refusal, milliseconds, to_u32, with_driver};
use crate::clock::now;
use crate::driver::Driver;
use crate::probe::health::{Check, Health, Open, Outcome, Server};
use crate::probe::server::ProbeServer;
use crate::probe::site::{Endpoint, Site};

thread_local! {
    // One table for each JavaScript thread, as of the drivers.
    static SERVERS: RefCell<Slab<ProbeServer>> = const { RefCell::new(Slab::new()) };
    /// Whether they are sure to be closed when the environment ends.
    static SERVERS_END: Cell<bool> = const { Cell::new(false) };
}

/// What a path of a probe server asks for; see `Endpoint` in the crate's `probe` module.
#[napi]
pub enum ProbeEndpoint {
    /// Whether the process should be restarted.
    Live,
    /// Whether the process should get requests.
    Ready,
    /// Whether the process has started.
    Startup,
    /// All of these.
    Health,
    /// The metrics.
    Metrics,
}

impl From<ProbeEndpoint> for Endpoint {
    fn from(endpoint: ProbeEndpoint) -> Self {
        match endpoint {
            ProbeEndpoint::Live => Self::Live,
            ProbeEndpoint::Ready => Self::Ready,
            ProbeEndpoint::Startup => Self::Startup,
            ProbeEndpoint::Health => Self::Health,
            ProbeEndpoint::Metrics => Self::Metrics,
        }
    }
}

/// A path of a probe server.
#[napi(object, object_to_js = false)]
pub struct ProbePath {
    /// The path, beginning with a slash.
    pub path: String,
    /// What it asks for.
    pub endpoint: ProbeEndpoint,
}

/// A server whose driver a probe server watches.
#[napi(object, object_to_js = false)]
pub struct ProbedServer {
    /// Names its driver.
    pub key: u32,
    /// `http`, `https` or `http2`.
    pub protocol: String,
}

/// What a probe server is to be.
#[napi(object, object_to_js = false)]
pub struct ProbeServerPlan {
    /// The address to listen on.
    pub host: String,
    /// The port to listen on; 0 for any that is free.
    pub port: u16,
    /// How often `beat` is called, in milliseconds.
    pub heartbeat: f64,
    /// How long the event loop may be stalled, in milliseconds, for which there may be no limit.
    pub stall_threshold: f64,
    /// What there is to ask for.
    pub paths: Vec<ProbePath>,
    /// The names of the checks, each as a JSON string.
    pub checks: Vec<String>,
    /// The servers to watch.
    pub servers: Vec<ProbedServer>,
}

/// A probe server that is open.
#[napi(object, object_from_js = false)]
pub struct OpenProbeServer {
    /// Names it until `close_probe_server`.
    pub key: u32,
    /// The address that it listens on.
    pub host: String,
    /// The port that it listens on.
    pub port: u16,
}

/// Opens a probe server, which answers from now on.
#[napi(catch_unwind)]
pub fn open_probe_server(env: Env, plan: ProbeServerPlan) -> Result<Either<OpenProbeServer, Refusal>> {
    let host = plan.host.parse().map_err(|_| Error::new(Status::InvalidArg, "the host is no address"))?;
    let mut servers = Vec::new();
    for ProbedServer { key, protocol } in plan.servers {
        servers.push(Server::new(protocol, with_driver(key, Driver::watch)?));
    }
    let checks = plan.checks.into_iter().map(Check::new).collect();
    let heartbeat = milliseconds(plan.heartbeat).unwrap_or_default();
    let health = Arc::new(Health::new(heartbeat, milliseconds(plan.stall_threshold), checks, servers, now()));
    let endpoints = plan.paths.into_iter().map(|ProbePath { path, endpoint }| (path, endpoint.into())).collect();
    close_probe_servers_with(&env)?;
    match ProbeServer::open(SocketAddr::new(host, plan.port), Site { health, endpoints }) {
        Ok(server) => {
            let address = server.address();
            let key = SERVERS.with_borrow_mut(|servers| to_u32(servers.insert(server)));
            Ok(Either::A(OpenProbeServer { key, host: address.ip().to_string(), port: address.port() }))
        }
        Err(error) => Ok(Either::B(error.into())),
    }
}

/// A thread of ours must not outlive the environment: what it runs may be unloaded with it.
fn close_probe_servers_with(env: &Env) -> Result<()> {
    if !SERVERS_END.get() {
        env.add_env_cleanup_hook((), |()| {
            SERVERS_END.set(false);
            drop(SERVERS.take());
        })?;
        SERVERS_END.set(true);
    }
    Ok(())
}

/// Closes a probe server. When this returns, its port is free.
#[napi(catch_unwind)]
pub fn close_probe_server(key: u32) {
    drop(SERVERS.with_borrow_mut(|servers| servers.try_remove(key as usize)));
}

/// The process can take requests, or can't.
#[napi(catch_unwind)]
pub fn signal_ready(key: u32, ready: bool) -> Result<()> {
    with_health(key, |health| health.signal_ready(ready))
}

/// The process has started.
#[napi(catch_unwind)]
pub fn signal_started(key: u32) -> Result<()> {
    with_health(key, Health::signal_started)
}

/// The process is about to go, and never ready again.
#[napi(catch_unwind)]
pub fn leaving(key: u32) -> Result<()> {
    with_health(key, Health::note_leaving)
}

/// The event loop turns.
#[napi(catch_unwind)]
pub fn beat(key: u32) -> Result<()> {
    with_health(key, |health| health.beat(now()))
}

/// A check, named by its place, has passed or not.
#[napi(catch_unwind)]
pub fn checked(key: u32, place: u32, passed: bool) -> Result<()> {
    with_health(key, |health| {
        health.note_check(place as usize, if passed { Outcome::Passed } else { Outcome::Failed });
    })
}

/// What is open on a server, named by its place.
#[napi(catch_unwind)]
pub fn counted(key: u32, place: u32, idle: u32, active: u32, upgraded: u32, requests: u32) -> Result<()> {
    with_health(key, |health| health.note_open(place as usize, Open { idle, active, upgraded, requests }))
}

fn with_health<T>(key: u32, use_it: impl FnOnce(&Health) -> T) -> Result<T> {
    SERVERS.with_borrow(|servers| match servers.get(key as usize) {
        Some(server) => Ok(use_it(&server.site.health)),
        None => Err(Error::new(Status::InvalidArg, format!("no probe server has the key {key}"))),
    })
}
