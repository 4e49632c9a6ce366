//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::deeds::Deed;
use crate::export::Export;
use crate::find::Search;
use crate::own::{Salvage, Shown};
use crate::proxy::Way;
use crate::settings::Setting;

/// Sotto: messages for the one beside you.
///
/// WHO is a contact's name, an account id, or the beginning of one; `me` is yourself. A message is named by its number on this device,
/// the #7 beside what it says.
#[derive(Parser, Debug)]
#[command(name = "sotto", version)]
pub(crate) struct Arguments {
    /// The profile's directory, one per device: $XDG_DATA_HOME/sotto or ~/.local/share/sotto unless given. No other user may write in
    /// it, or in a directory above it up to your home; one like /tmp, where nobody renames what is another's, may be above it.
    #[arg(long, global = true, env = "SOTTO_PROFILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Results as JSON, one object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Connect to nothing but a SOCKS 5 proxy, which looks up the names of relays too: socks5://[NAME:PASSWORD@]HOST:PORT. The profile that
    /// `init` makes keeps it; `sotto proxy` changes it.
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) proxy: Option<Way>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Longer than any process stays.
const YEAR: u64 = 366 * 86_400;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Makes an account with an inbox at each relay.
    Init {
        /// Where its inboxes are, the preferred relay first; up to four.
        #[arg(long, required = true, num_args = 1..)]
        relay: Vec<String>,
        /// What others see.
        #[arg(long)]
        name: String,
        /// What a relay's operator gave you, where it asks for that; with several relays one for each, in their order.
        #[arg(long = "relay-code", value_name = "CODE", num_args = 1..)]
        relay_codes: Vec<String>,
        /// Protect the profile's keys by a passphrase (asked for, or from SOTTO_PASSPHRASE).
        #[arg(long)]
        passphrase: bool,
    },
    /// Makes an invite link.
    Invite {
        /// How many may use it.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// How long it holds, from 1h to 30d: 90m, 12h, 7d.
        #[arg(long, default_value = "7d", value_parser = duration)]
        expires: Duration,
        /// Accept whoever uses it.
        #[arg(long)]
        auto_accept: bool,
        /// Show it as a QR code too.
        #[arg(long)]
        qr: bool,
    },
    /// Asks the maker of an invite to become a contact.
    Join {
        /// The link; `-` reads it from standard input, where no other user of this machine can see it.
        link: String,
    },
    /// Lists contacts, or changes one.
    Contacts {
        #[command(subcommand)]
        change: Option<ContactChange>,
    },
    /// Lists the relays where you read, or changes them.
    Relay {
        #[command(subcommand)]
        change: Option<RelayChange>,
    },
    /// Says something. Returns once it is stored and queued, offline too.
    Send {
        /// To whom.
        who: String,
        /// What; `-` reads lines from standard input, a message each, as they come.
        #[arg(allow_hyphen_values = true)]
        text: String,
        /// Wait until a relay took it, for at most so many seconds.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60")]
        wait: Option<u32>,
    },
    #[command(flatten)]
    Deed(Deed),
    #[command(flatten)]
    Setting(Setting),
    /// Sends what waits and fetches what came; shows what came.
    Sync {
        /// Stay for so many seconds, at most a year.
        #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=YEAR))]
        seconds: Option<u64>,
    },
    /// Lists conversations, the latest first.
    Chats,
    /// Shows what was said.
    Messages {
        /// With whom.
        who: String,
        /// Those around this one, by its number, and not the last.
        #[arg(long, value_name = "MESSAGE", conflicts_with = "pinned")]
        around: Option<i64>,
        /// Those that are pinned, and no others.
        #[arg(long)]
        pinned: bool,
        /// So many at most.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Finds what was said, the newest first.
    Search(Search),
    /// Shows all that is known of a message: what it said before, and which devices have it.
    Info {
        /// Its number.
        message: i64,
    },
    /// Writes one conversation down, to be read in a browser or by programs.
    Export(Export),
    /// Shows a conversation on the whole terminal, to write and to read in: F1 shows the keys.
    Chat {
        /// With whom.
        who: String,
    },
    /// Marks everything as read.
    Read {
        /// With whom.
        who: String,
    },
    /// Sixty digits to compare with a contact.
    SafetyNumber {
        /// With whom.
        who: String,
        /// Show a QR code too, for them to scan.
        #[arg(long)]
        qr: bool,
    },
    /// Shows what contacts see of you, or changes it.
    Profile(Shown),
    /// A report for whoever helps: what waits and what fails, and nothing of what anybody said, of whom, or where.
    Diagnostics,
    /// Saves what can be read of the messages of a profile that does not open: a JSON object a line.
    Salvage(Salvage),
    /// Shows the proxy that all connections go through, or sets it.
    Proxy {
        /// Its address, or `none`; `-` reads it from standard input, where no other user of this machine can see it.
        address: Option<String>,
    },
    /// Does what a program asks for, over standard input and output: JSON-RPC 2.0, one object a line, until its input ends.
    Daemon,
    /// Plays a conversation between two devices over a relay that is killed on the way.
    Demo {
        /// A script of your own.
        #[arg(long)]
        script: Option<PathBuf>,
    },
}

impl Command {
    /// Whether it only shows what is stored.
    pub(crate) const fn only_reads(&self) -> bool {
        match self {
            Self::Contacts { change: None }
            | Self::Relay { change: None | Some(RelayChange::List) }
            | Self::Chats
            | Self::Messages { .. }
            | Self::Search(_)
            | Self::Info { .. }
            | Self::Export(_)
            | Self::Diagnostics
            | Self::Proxy { address: None }
            | Self::SafetyNumber { .. } => true,
            Self::Profile(shown) => shown.only_shows(),
            Self::Init { .. }
            | Self::Salvage(_)
            | Self::Invite { .. }
            | Self::Join { .. }
            | Self::Contacts { change: Some(_) }
            | Self::Relay { .. }
            | Self::Send { .. }
            | Self::Deed(_)
            | Self::Setting(_)
            | Self::Sync { .. }
            | Self::Chat { .. }
            | Self::Read { .. }
            | Self::Proxy { .. }
            | Self::Daemon
            | Self::Demo { .. } => false,
        }
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum ContactChange {
    /// Accepts a request.
    Accept {
        /// Whose.
        who: String,
    },
    /// Calls a contact by another name, here only.
    Rename {
        /// Whom.
        who: String,
        /// How; empty for their own name.
        name: String,
    },
    /// Blocks: nothing of theirs arrives any more.
    Block {
        /// Whom.
        who: String,
    },
    /// Takes a blocking back.
    Unblock {
        /// Whom.
        who: String,
    },
    /// Removes a contact; what was said stays.
    Remove {
        /// Whom.
        who: String,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum RelayChange {
    /// Shows them, the preferred first.
    List,
    /// Reads at one more, behind the others; four at most.
    Add {
        /// Its address.
        relay: String,
        /// What its operator gave you, where it asks for that.
        #[arg(long = "relay-code", value_name = "CODE", default_value = "")]
        relay_code: String,
    },
    /// Leaves one, also one that is gone for good. What is still put there is fetched for 37 days.
    Remove {
        /// Its address.
        relay: String,
    },
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).ok_or("a number and a unit: 90m, 12h, 7d")?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "not a number")?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("the unit is m, h or d".to_owned()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(duration("90m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "7", "d", "7w", "30s", "-1d", "99999999999999999999d", "999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_said_may_begin_with_a_hyphen_and_what_is_known_is_still_heard() {
        let read = |words: &[&str]| Arguments::try_parse_from(std::iter::once(&"sotto").chain(words));
        let said = |words: &[&str]| match read(words).unwrap().command {
            Command::Send { who, text, wait } => (who, text, wait),
            other => panic!("{other:?}"),
        };
        assert_eq!(said(&["send", "bob", "-5"]), ("bob".into(), "-5".into(), None));
        assert_eq!(said(&["send", "bob", "--", "--json"]), ("bob".into(), "--json".into(), None));
        assert_eq!(said(&["send", "--wait", "bob", "-"]), ("bob".into(), "-".into(), Some(60)));
        assert_eq!(said(&["send", "bob", "hi", "--wait=5"]), ("bob".into(), "hi".into(), Some(5)));
        assert!(read(&["sync", "--for", "18446744073709551615"]).is_err());
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
