//! What is done to messages, each named by its number: answered, said otherwise, felt about, taken back, kept.

use clap::Subcommand;
use sotto_core::Messenger;
use sotto_core::records::NewText;

use crate::commands::account;
use crate::failed::Failed;
use crate::input::Lines;
use crate::output::Output;
use crate::sending;

#[derive(Subcommand, Debug)]
pub(crate) enum Deed {
    /// Answers a message. Returns once it is stored and queued, offline too.
    Reply {
        /// Its number.
        message: i64,
        /// What; `-` reads a line of standard input.
        #[arg(allow_hyphen_values = true)]
        text: String,
        /// Wait until a relay took it, for at most so many seconds.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60")]
        wait: Option<u32>,
    },
    /// Says to somebody what was said elsewhere.
    Forward {
        /// Its number.
        message: i64,
        /// To whom.
        who: String,
        /// Wait until a relay took it, for at most so many seconds.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60")]
        wait: Option<u32>,
    },
    /// Nudges somebody: look here, and no words.
    Nudge {
        /// Whom.
        who: String,
    },
    /// Says a message of yours otherwise; what it said before stays in its history.
    Edit {
        /// Its number.
        message: i64,
        /// How; `-` reads a line of standard input.
        #[arg(allow_hyphen_values = true)]
        text: String,
    },
    /// Says what you feel about a message: one emoji, or a short word.
    React {
        /// Its number.
        message: i64,
        /// What.
        #[arg(required_unless_present = "take_back", conflicts_with = "take_back")]
        emoji: Option<String>,
        /// Nothing any more.
        #[arg(long)]
        take_back: bool,
    },
    /// Takes messages of yours back, for everyone.
    Delete {
        /// Their numbers, of one conversation.
        #[arg(required = true)]
        messages: Vec<i64>,
        /// Only from your own view, whoever said them.
        #[arg(long)]
        for_me: bool,
    },
    /// Keeps a message where both sides find it.
    Pin {
        /// Its number.
        message: i64,
    },
    /// No longer keeps it there.
    Unpin {
        /// Its number.
        message: i64,
    },
    /// Tries once more to send a message that has failed.
    Retry {
        /// Its number.
        message: i64,
    },
}

/// Does it, and shows what it was done to.
pub(crate) async fn run(
    messenger: &Messenger,
    deed: &Deed,
    input: &mut impl Lines,
    output: &mut Output<'_>,
) -> Result<(), Failed> {
    match deed {
        Deed::Reply { message, text, wait } => {
            let to = messenger.said_with(*message).await?;
            let text = NewText { reply_to: Some(*message), ..input.typed(text).await?.into() };
            let said = messenger.send_text(to, text).await?;
            sending::said(messenger, said, *wait, output).await
        }
        Deed::Forward { message, who, wait } => {
            let to = account(messenger, who).await?;
            let said = messenger.forward(*message, to).await?;
            sending::said(messenger, said, *wait, output).await
        }
        Deed::Nudge { who } => {
            let to = account(messenger, who).await?;
            sending::show(messenger, &messenger.nudge(to).await?, output).await
        }
        Deed::Edit { message, text } => {
            let text = input.typed(text).await?;
            let ranges = Vec::new();
            let edited = messenger.edit(*message, NewText { body: text, ranges, reply_to: None }).await?;
            sending::show(messenger, &edited, output).await
        }
        Deed::React { message, emoji, take_back: _ } => {
            sending::show(messenger, &messenger.react(*message, emoji.clone()).await?, output).await
        }
        Deed::Delete { messages, for_me: true } => Ok(messenger.delete_for_me(messages.clone()).await?),
        Deed::Delete { messages, for_me: false } => {
            messenger.delete_for_everyone(messages.clone()).await?;
            for number in messages {
                sending::show(messenger, &messenger.message(*number).await?, output).await?;
            }
            Ok(())
        }
        Deed::Pin { message } => sending::show(messenger, &messenger.pin(*message, true).await?, output).await,
        Deed::Unpin { message } => sending::show(messenger, &messenger.pin(*message, false).await?, output).await,
        Deed::Retry { message } => sending::show(messenger, &messenger.retry(*message).await?, output).await,
    }
}
