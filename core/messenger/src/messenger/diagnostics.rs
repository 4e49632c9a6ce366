//! A report for whoever helps when something does not work: what the engine is at and how much there is of what, and nothing of what anybody
//! said, of whom, or where.
//!
//! Nothing in it is a text, a name, an id, a key, an address or a time of day. Queues are counted; what would tell how somebody lives,
//! how many they know and how much they talk, is told by its magnitude alone. Relays are numbered in the order of the account's list.

use rusqlite::Connection;

use super::Messenger;
use crate::engine::Engine;
use crate::error::Error;
use crate::search::{self, Rest};
use crate::status::{Doing, State};
use crate::store::{Query, SCHEMA_VERSION, StoreError};

/// Counted as they are: what waits, and what went wrong.
const QUEUES: [(&str, &str); 8] = [
    ("letters queued", "SELECT count(*) FROM outbox WHERE state < 2"),
    ("letters unconfirmed", "SELECT count(*) FROM outbox WHERE state = 2"),
    ("letters failed", "SELECT count(*) FROM outbox WHERE state = 4"),
    ("relay calls waiting", "SELECT count(*) FROM relay_task"),
    ("envelopes that cannot be opened yet", "SELECT count(*) FROM waiting"),
    ("letters that could not be opened", "SELECT count(*) FROM unopened"),
    ("receipts to tell", "SELECT count(*) FROM to_tell"),
    ("contacts with several lists", "SELECT count(*) FROM contact WHERE trust != 0"),
];

/// Told by their magnitude.
const LIVES: [(&str, &str); 5] = [
    ("contacts", "SELECT count(*) FROM contact WHERE id != 0"),
    ("their devices", "SELECT count(*) FROM peer_device WHERE contact != 0"),
    ("conversations", "SELECT count(*) FROM conversation"),
    ("messages", "SELECT max(id) FROM message"),
    ("bytes of the database", "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"),
];

impl Messenger {
    /// That report, a line for each fact, in English: for a file that its user looks at before they send it to anybody.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Paused`].
    pub async fn diagnostics(&self) -> Result<String, Error> {
        let lines = self.engine().read(|engine, view| Ok::<_, Error>(report(engine, view)?)).await?;
        Ok(lines.into_iter().map(|(what, how)| format!("{what}: {how}\n")).collect())
    }
}

type Line = (String, String);

fn report(engine: &Engine, view: &Connection) -> Result<Vec<Line>, StoreError> {
    let line = |what: &str, how: String| (what.to_owned(), how);
    let mut lines = vec![
        line("sotto", env!("CARGO_PKG_VERSION").to_owned()),
        line("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        line("schema", SCHEMA_VERSION.to_string()),
        line("seconds between our clock and the network's", clock_error(engine)),
        line("rolled back", engine.is_rolled_back().to_string()),
        line("search index", of_search(search::rest(view)?).to_owned()),
    ];
    for (what, sql) in QUEUES {
        lines.push(line(what, count(view, sql)?.to_string()));
    }
    for (what, sql) in LIVES {
        lines.push(line(what, magnitude(count(view, sql)?)));
    }
    // Codes of refusals are words of the program's.
    let refusals = view.all("SELECT code, count FROM refusal ORDER BY code", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    })?;
    lines.extend(refusals.into_iter().map(|(code, count)| line(&format!("refused as {code}"), count.to_string())));
    let live = engine.live.refusals().into_iter();
    lines.extend(
        live.map(|(code, count)| line(&format!("of what holds for a moment, refused as {code}"), count.to_string())),
    );
    lines.extend(of_relays(engine));
    Ok(lines)
}

fn count(view: &Connection, sql: &str) -> Result<i64, StoreError> {
    Ok(view.one(sql, [], |row| row.get::<_, Option<i64>>(0))?.flatten().unwrap_or(0))
}

/// How many digits a number has, told as the smallest such number.
fn magnitude(count: i64) -> String {
    match u64::try_from(count).unwrap_or(0).checked_ilog10() {
        None => "none".to_owned(),
        Some(0) => "some".to_owned(),
        Some(digits) => format!("{} or more", 10_u64.pow(digits)),
    }
}

fn clock_error(engine: &Engine) -> String {
    if !engine.client.has_heard_the_time() {
        return "not known".to_owned();
    }
    let (network, own) = (engine.network_now(), engine.clock.now());
    // One of them is none.
    format!("{}", network.since(own).as_secs().max(own.since(network).as_secs()))
}

const fn of_search(rest: Rest) -> &'static str {
    match rest {
        Rest::None => "complete",
        Rest::Little => "a little behind",
        Rest::Much => "being filled",
    }
}

fn of_relays(engine: &Engine) -> Vec<Line> {
    let own = engine.own();
    let mut lines = Vec::new();
    for (number, inbox) in own.inboxes.iter().enumerate() {
        for (task, doing) in
            [("stream", Doing::Stream(inbox.relay.clone())), ("calls", Doing::Clerk(inbox.relay.clone()))]
        {
            let state = match engine.status.of(&doing) {
                None => "at rest",
                Some(State::Working) => "working",
                Some(State::Drained) => "drained",
                Some(State::Failing(code)) => code,
            };
            lines.push((format!("relay {}, {task}", number + 1), state.to_owned()));
        }
    }
    let mut codes: Vec<_> = engine.status.snapshot().failing_devices().into_iter().map(|(_, code)| code).collect();
    codes.sort_unstable();
    for run in codes.chunk_by(|one, other| one == other) {
        lines.push((format!("contacts' devices not reached, {}", run[0]), run.len().to_string()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::magnitude;

    #[test]
    fn a_magnitude_tells_no_more_than_how_many_digits_there_are() {
        let told = [0, 1, 9, 10, 99, 100, 12_345].map(magnitude);
        assert_eq!(told, ["none", "some", "some", "10 or more", "10 or more", "100 or more", "10000 or more"]);
    }
}
