//! `sotto info`: all that is known of one message.

use serde_json::{Value, json};
use sotto_core::Messenger;
use sotto_core::records::{Delivery, DeliveryState, Message, Version};

use crate::date;
use crate::failed::Failed;
use crate::message;
use crate::names::{ID_SHOWN, Names};
use crate::output::Output;
use crate::readable;

/// Versions of a message that are shown: of very many the first, and the last ones.
const VERSIONS_MAX: u32 = 100;

/// Shows it.
pub(crate) async fn run(messenger: &Messenger, number: i64, output: &mut Output<'_>) -> Result<(), Failed> {
    let said = messenger.message(number).await?;
    let history = messenger.history(number, VERSIONS_MAX).await?;
    let deliveries = messenger.deliveries(number).await?;
    let with = messenger.said_with(number).await?;
    let mut names = Names::read(messenger).await?;
    names.meet(messenger, std::slice::from_ref(&said)).await?;
    let with_name = names.of(messenger, &with).await?;
    let mut object = message::object(&said, &names);
    object["with"] = with.to_string().into();
    object["with_name"] = with_name.as_str().into();
    object["history"] = history.iter().map(version).collect();
    object["deliveries"] = deliveries.iter().map(delivery).collect();
    output.show(&object, &human(&said, &history, &deliveries, &names));
    Ok(())
}

fn version(version: &Version) -> Value {
    json!({ "text": version.text, "said_at": version.said_at.as_ms() })
}

fn delivery(delivery: &Delivery) -> Value {
    json!({
        "device": delivery.device.to_string(),
        "own": delivery.is_own,
        "state": delivery_name(delivery.state),
        "at": delivery.at.map(|at| at.as_ms()),
        "relay": delivery.relay.as_ref().map(ToString::to_string),
    })
}

fn human(said: &Message, history: &[Version], deliveries: &[Delivery], names: &Names) -> String {
    let mut lines = vec![message::human(said, names)];
    lines.push(format!("      said {}, here since {}", date::minute(said.sent_at), date::minute(said.received_at)));
    if history.len() > 1 {
        for version in history {
            lines.push(format!("      {}: {}", date::minute(version.said_at), readable::lines(&version.text)));
        }
    }
    for delivery in deliveries {
        let whose = if delivery.is_own { "your device" } else { "device" };
        let at = delivery.at.map(|at| format!(", {}", date::minute(at))).unwrap_or_default();
        let relay = delivery.relay.as_ref().map(|relay| format!(", by {relay}")).unwrap_or_default();
        let device = delivery.device.to_string();
        let state = delivery_name(delivery.state);
        lines.push(format!("      {whose} {}…: {state}{at}{relay}", &device[..ID_SHOWN]));
    }
    lines.join("\n")
}

const fn delivery_name(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Waiting => "waiting",
        DeliveryState::Accepted => "accepted",
        DeliveryState::Confirmed => "confirmed",
        DeliveryState::Failed => "failed",
    }
}
