//! What is answered to a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::health::{Health, Reason};
use super::metrics;

/// An answer with its whole body.
pub type Answer = Response<Full<Bytes>>;

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
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

/// Which paths there are, and what they tell of.
#[derive(Debug)]
pub struct Site {
    /// What is known.
    pub health: Arc<Health>,
    /// What each path asks for.
    pub endpoints: HashMap<String, Endpoint>,
}

impl Site {
    /// Answers, whatever is asked. Nothing of the request is repeated in the answer.
    pub fn answer(&self, request: &Request<impl Body>, now: Instant) -> Answer {
        let Some(&endpoint) = self.endpoints.get(request.uri().path()) else {
            return closing_if_unread(request, error(StatusCode::NOT_FOUND, "not found"));
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return closing_if_unread(request, answer);
        }
        if !request.body().is_end_stream() {
            return closing_if_unread(request, error(StatusCode::PAYLOAD_TOO_LARGE, "no body is taken"));
        }
        let reasons = match endpoint {
            Endpoint::Live => self.health.not_live(now),
            Endpoint::Ready => self.health.not_ready(now),
            Endpoint::Startup => self.health.not_started(),
            Endpoint::Health => self.health.not_healthy(now),
            Endpoint::Metrics => {
                return match metrics::encode(&self.health, now) {
                    Ok(text) => respond(StatusCode::OK, metrics::MEDIA_TYPE, text),
                    Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "no metrics"),
                };
            }
        };
        let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let details = if asks_for_details(request.uri().query()) { self.details(now) } else { String::new() };
        respond(status, "application/json", describe(&reasons, &details))
    }

    /// Members of a JSON object, with a comma before each.
    fn details(&self, now: Instant) -> String {
        let health = &self.health;
        let checks: Vec<_> =
            health.checks().iter().map(|check| format!(r#"{}:"{}""#, check.name, check.outcome().name())).collect();
        format!(
            r#","state":"{}","ready":{},"started":{},"stalledMs":{},"checks":{{{}}}"#,
            health.state(),
            health.is_ready(),
            health.is_started(),
            health.stalled_for(now).as_millis(),
            checks.join(",")
        )
    }
}

fn asks_for_details(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose=")))
}

fn describe(reasons: &[Reason], details: &str) -> String {
    if reasons.is_empty() {
        return format!(r#"{{"status":"ok"{details}}}"#);
    }
    let names: Vec<_> = reasons.iter().map(|reason| format!(r#""{}""#, reason.name())).collect();
    format!(r#"{{"status":"unavailable","reasons":[{}]{details}}}"#, names.join(","))
}

fn error(status: StatusCode, what: &str) -> Answer {
    respond(status, "application/json", format!(r#"{{"error":"{what}"}}"#))
}

fn respond(status: StatusCode, media_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A body that is not read makes the connection useless for another request.
fn closing_if_unread(request: &Request<impl Body>, mut answer: Answer) -> Answer {
    if !request.body().is_end_stream() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}
