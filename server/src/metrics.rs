//! Counters for the operator. No id, no address, nothing per inbox: labels come from closed sets.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sotto_protocol::request::path;

use crate::store::PutOutcome;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// See the file's story.
pub struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    items: Family<OutcomeLabels, Counter>,
    deliveries: Counter,
    shed: Family<ReasonLabels, Counter>,
    connections: Gauge,
    streams: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sotto_relay");
        let calls = Family::default();
        registry.register("calls", "Calls by path and status", calls.clone());
        let items = Family::default();
        registry.register("items", "Items of sends by outcome", items.clone());
        let deliveries = Counter::default();
        registry.register("deliveries", "Envelopes handed to attached devices", deliveries.clone());
        let shed = Family::default();
        registry.register("shed", "Connections closed by a limit", shed.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let streams = Gauge::default();
        registry.register("streams", "Open streams", streams.clone());
        Self { registry, calls, items, deliveries, shed, connections, streams }
    }
}

impl Metrics {
    /// All of them, in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    pub(crate) fn answered(&self, path: &str, status: u16) {
        self.calls.get_or_create(&CallLabels { call: call_name(path), status }).inc();
    }

    pub(crate) fn sent(&self, outcomes: &[PutOutcome]) {
        for outcome in outcomes {
            let outcome = match outcome {
                PutOutcome::Accepted => "accepted",
                PutOutcome::Passed(_) => "ephemeral",
                PutOutcome::Refused => "refused",
                PutOutcome::Full => "full",
                PutOutcome::Stale => "stale",
                PutOutcome::Busy => "busy",
                PutOutcome::RateLimited { .. } => "rate_limited",
            };
            self.items.get_or_create(&OutcomeLabels { outcome }).inc();
        }
    }

    pub(crate) fn delivered(&self, count: usize) {
        self.deliveries.inc_by(count as u64);
    }

    pub(crate) fn shed(&self, reason: &'static str) {
        self.shed.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) const fn connections(&self) -> &Gauge {
        &self.connections
    }

    pub(crate) const fn streams(&self) -> &Gauge {
        &self.streams
    }
}

/// A path from the closed set, or the one word for all others: a stranger must not be able to make up labels.
fn call_name(path: &str) -> &'static str {
    const CALLS: [&str; 15] = [
        path::INBOX_CREATE,
        path::INBOX_DELETE,
        path::INBOX_MANAGE_KEY,
        path::INBOX_PEEK,
        path::TOKEN_PUT,
        path::TOKEN_DROP,
        path::PREKEY_PUT,
        path::PREKEY_CLAIM,
        path::CHAIN_APPEND,
        path::CHAIN_COMPACT,
        path::CHAIN_DELETE,
        path::CHAIN_READ,
        path::SEND,
        path::STREAM,
        path::WELL_KNOWN,
    ];
    CALLS.into_iter().find(|call| *call == path).unwrap_or("unknown")
}
