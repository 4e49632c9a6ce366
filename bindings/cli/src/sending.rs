//! What becomes of something that was said: shown, and waited for where that was asked for.

use std::time::Duration;

use sotto_core::Messenger;
use sotto_core::records::{Failure, Message, MessageState};

use crate::failed::Failed;
use crate::names::Names;
use crate::output::Output;

/// Shows what was said once a relay took it, waiting for that for at most so many seconds; without waiting, as it is.
pub(crate) async fn said(
    messenger: &Messenger,
    message: Message,
    wait: Option<u32>,
    output: &mut Output<'_>,
) -> Result<(), Failed> {
    let message = match wait {
        Some(seconds) => messenger.wait_sent(message.number, Duration::from_secs(seconds.into())).await?,
        None => message,
    };
    show(messenger, &message, output).await?;
    match message.state {
        MessageState::Queued | MessageState::Sending if wait.is_some() => {
            Err(Failed::new("not_sent_yet", "no relay has taken it yet: it stays queued"))
        }
        MessageState::Failed(Failure::Expired) => Err(Failed::new("message_failed", "its time was over")),
        MessageState::Failed(Failure::Removed) => Err(Failed::new("message_failed", "the contact was removed")),
        _ => Ok(()),
    }
}

/// Shows a message with the names of everybody in it.
pub(crate) async fn show(messenger: &Messenger, message: &Message, output: &mut Output<'_>) -> Result<(), Failed> {
    let mut names = Names::read(messenger).await?;
    names.meet(messenger, std::slice::from_ref(message)).await?;
    output.message(message, &names);
    Ok(())
}
