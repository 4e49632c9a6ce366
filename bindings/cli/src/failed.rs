//! Why a command failed: a stable code, words, an exit status, and for people what to do about it.

use sotto_core::Error;

use crate::signals::Caught;

/// Why a command failed, as it is shown.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: String,
    pub(crate) message: String,
    /// Whether the same may succeed later, unchanged.
    pub(crate) is_retryable: bool,
    exit_code: u8,
}

impl Failed {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), is_retryable: false, exit_code: 1 }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(error: &clap::Error) -> Self {
        let message = error.to_string();
        Self { exit_code: 2, ..Self::new("usage", message.trim_start_matches("error: ").trim()) }
    }

    /// A signal ended the command.
    pub(crate) fn interrupted(caught: Caught) -> Self {
        Self { exit_code: caught.exit_code(), ..Self::new("interrupted", "interrupted before it was done") }
    }

    /// Another process began the command and did not end it.
    pub(crate) fn broken_off() -> Self {
        let message = "the process that has the profile open ended while it ran this: it may be done, or not";
        Self::new("broken_off", message)
    }

    /// What to do now, where there is something.
    pub(crate) fn remedy(&self) -> Option<&'static str> {
        remedy(&self.code)
    }

    pub(crate) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { is_retryable: error.is_retryable(), ..Self::new(error.code(), error.to_string()) }
    }
}

fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "no_profile" => "Make one: sotto init --relay ADDRESS --name NAME. Or say where it is: --profile DIR.",
        "profile_exists" => "Use it, or choose another directory: --profile DIR.",
        "profile_not_private" => {
            "Somebody may have put something there, or may yet. Look who could; if it is yours alone: chmod go-w DIR. Or choose another: --profile DIR."
        }
        "no_home" => "Say where the profile is: --profile DIR.",
        "profile_in_use" => "Another process has it open and does not answer. Wait for it to end, or end it.",
        "rolled_back" => {
            "It becomes a device of its own as soon as the relay of your account's list lets it: sotto sync tries again now."
        }
        "home_away" => {
            "Is that relay coming back? Then wait: sotto sync tries again now. If it is gone for good, and this device holds the root key: sotto relay remove ADDRESS."
        }
        "device_replaced" => "Use that copy. What is here can still be read.",
        "no_terminal" => "Scripts use sotto send, sotto messages and sotto sync.",
        "not_sent_yet" => "It leaves by itself while sotto runs: sotto sync.",
        "relay_asks_for_code" => "Ask who runs it, and give it: --relay-code CODE.",
        "relay_refused" => "It takes nobody new, the code is wrong, or it does not know you any more: ask who runs it.",
        "out_of_range" => "An invite has 1 to 1,000 uses and holds 1h to 30d; an account has 1 to 4 relays.",
        "too_many" => "Wait until some have ended, or make one that more people can use: sotto invite --uses N.",
        "database_busy" => "Repeat it in a moment.",
        "broken_off" => "Look whether it is done before you repeat it: sotto messages WHO.",
        "keystore_locked" => "Type the passphrase in a terminal, or set SOTTO_PASSPHRASE.",
        "wrong_passphrase" => "Try again. Nothing was changed.",
        "wrong_key" | "database_damaged" => "Do not write to it. Bring the directory back from a copy of the disk.",
        "disk_full" => "Nothing was changed. Make room and repeat it.",
        "bad_relay_address" => "It looks like https://relay.example, https://KEY@host:port, or http://127.0.0.1:port.",
        "relay_unreachable" | "relay_timed_out" | "relay_broken" => {
            "Is it running, and is the address right? What was queued leaves by itself; sotto sync tries again now."
        }
        "upgrade_required" => "Install a newer sotto: this one is too old for that relay. What is queued waits for it.",
        "relay_outdated" => "Ask who runs it to bring it up to date. What is queued waits.",
        "relay_certificate" => "Somebody may stand in between, or the relay has a new key: ask who runs it.",
        "clocks_apart" => {
            "Set this device's clock, or tell who runs the relay that its clock is wrong. Nothing was made."
        }
        "relay_malformed" => "This does not look like a Sotto relay. Is the address right?",
        "relay_unproven" => {
            "It says that more of your mail was fetched than this device has. Either it does not tell the truth, or somebody runs a copy of this profile and took that mail."
        }
        "invite_garbage" => "Copy the whole link, from https:// to its end, and put it between quotes.",
        "invite_expired" | "invite_used_up" => "Ask for a new invite.",
        "already_contact" => "See sotto contacts.",
        "not_found" => "See sotto contacts for names and ids, and sotto messages WHO for the numbers of messages.",
        "ambiguous" => "Give more of the id, as sotto contacts shows it.",
        "control_character" | "hidden_character" => {
            "Leave out what cannot be seen: it may have come along when the name was copied."
        }
        "proxy_differs" => "Wait for it to end, or end it: sotto proxy says which way is kept.",
        "proxy_unreadable" => "Nothing was connected to. Set it again: sotto proxy ADDRESS, or sotto proxy none.",
        "keys_changed" => {
            "Compare: sotto safety-number WHO. If all is well: sotto accept-keys WHO. If not: sotto contacts remove WHO."
        }
        "wrong_code" => {
            "It is not them, or not the code that they show to you. Compare the digits: sotto safety-number WHO."
        }
        "file_exists" => "Choose another name, or remove it.",
        "usage" => "See sotto help.",
        _ => return None,
    })
}
