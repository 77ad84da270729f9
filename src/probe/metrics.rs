//! The metrics, in the text format of Prometheus.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::drain::Phase;

use super::health::Health;

/// The media type of what [`encode`] gives.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One of each name, in the order of their course.
const STATES: [Phase; 4] = [Phase::Serving, Phase::Delaying, Phase::Draining, Phase::Terminated];

/// Everything that is measured, as it is at `now`.
///
/// # Errors
///
/// Never: a string takes whatever is written to it.
pub fn encode(health: &Arc<Health>, now: Instant) -> Result<String, fmt::Error> {
    // Nothing is kept from one time to the next: what is measured is kept where it is counted.
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Measured { health: Arc::clone(health), now }));
    let mut text = String::new();
    // Without the mark at the end that OpenMetrics asks for, this is what every Prometheus reads.
    encode_registry(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Measured {
    health: Arc<Health>,
    now: Instant,
}

impl Collector for Measured {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let Self { health, now } = self;
        let mut encoder = Families(encoder);

        let state = health.state();
        encoder.gauges(
            "http_terminator_state",
            "Which of its states the server is in: 1 for that one, 0 for the others",
            STATES.map(Phase::name).map(|name| ([("state", name)], u32::from(name == state))),
        )?;

        let open: Vec<_> = health.servers().iter().map(|server| (server.protocol.as_str(), server.open())).collect();
        let mut protocols: Vec<_> = open.iter().map(|(protocol, _)| *protocol).collect();
        protocols.sort_unstable();
        protocols.dedup();
        let connections = protocols.into_iter().flat_map(|protocol| {
            let of_protocol = || open.iter().filter(move |(other, _)| *other == protocol).map(|(_, open)| open);
            [
                ("idle", of_protocol().map(|open| open.idle).sum::<u32>()),
                ("active", of_protocol().map(|open| open.active).sum()),
                ("upgraded", of_protocol().map(|open| open.upgraded).sum()),
            ]
            .map(|(state, count)| ([("protocol", protocol), ("state", state)], count))
        });
        encoder.gauges(
            "http_terminator_connections",
            "Connections that are open, as of at most a second ago if the event loop turns",
            connections,
        )?;
        encoder.gauge(
            "http_terminator_active_requests",
            "Requests in flight, as of at most a second ago if the event loop turns",
            open.iter().map(|(_, open)| open.requests).sum::<u32>(),
        )?;

        let seen: Vec<_> = health.servers().iter().map(super::health::Server::seen).collect();
        encoder.counters(
            "http_terminator_connections_closed_total",
            "Connections closed by a termination: with nothing under way on them, after what was under way had ended, or by force at the deadline",
            [
                ("idle", seen.iter().map(|seen| seen.connections.idle).sum::<u32>()),
                ("drained", seen.iter().map(|seen| seen.connections.drained).sum()),
                ("forced", seen.iter().map(|seen| seen.connections.forced).sum()),
            ]
            .map(|(reason, count)| ([("reason", reason)], count)),
        )?;
        encoder.counters(
            "http_terminator_requests_during_drain_total",
            "Requests during a termination: answered whole and in flight when it began, answered whole and received since, or cut",
            [
                ("completed", seen.iter().map(|seen| seen.requests.completed).sum::<u32>()),
                ("late", seen.iter().map(|seen| seen.requests.late).sum()),
                ("cut", seen.iter().map(|seen| seen.requests.cut).sum()),
            ]
            .map(|(outcome, count)| ([("outcome", outcome)], count)),
        )?;
        encoder.gauge(
            "http_terminator_drain_duration_seconds",
            "How long the last termination took, or has been running",
            seen.iter().map(|seen| seen.drained_for(*now)).max().unwrap_or(Duration::ZERO).as_secs_f64(),
        )?;
        encoder.gauge(
            "nodejs_eventloop_lag_seconds",
            "By how much the event loop is late now, or was at its last heartbeat",
            health.lag(*now).as_secs_f64(),
        )
    }
}

/// Writes metric families.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<'l, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); LABELS], u32)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, values)
    }

    fn counters<'l, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); LABELS], u32)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, values)
    }

    fn family<'l, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); LABELS], u32)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, metric_type)?;
        for (labels, value) in values {
            // Counters, too: as a counter the crate would add `_total` to the samples but not to the family, which
            // is OpenMetrics, and in the text format of Prometheus a family without samples.
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}
