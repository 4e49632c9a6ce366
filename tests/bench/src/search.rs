//! Searching a large profile, and what being found costs on the disk.

use std::collections::BTreeMap;

use sotto_core::protocol::AccountId;
use sotto_core::records::SearchQuery;

use crate::Outcome;
use crate::large::Large;
use crate::meter::{Meter, median, ms, quantile};
use crate::report::{Budget, Report};
use crate::texts::Texts;

/// A screen of hits.
const PAGE: u32 = 30;
/// How often the whole mix is searched; the first time warms up.
const TURNS: usize = 11;
/// Searches that are reported one by one.
const SLOWEST: usize = 5;
/// Where a search looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Everything,
    /// The chat with a tenth of all messages.
    LongChat,
    /// One of the others.
    ShortChat,
}

/// What people look for. A name is a row of the report.
const MIX: &[(&str, In, &[&str])] = &[
    (
        "rare words",
        In::Everything,
        &["wombat", "Kierkegaard", "aardvark", "Zeppelin", "Schwiegermutter", "Quijote", "kangaroo stew", "черепаха"],
    ),
    ("common words", In::Everything, &["the", "nicht", "и", "que", "debian", "is", "the and of", "nie jest"]),
    (
        "common words beside rare ones",
        In::Everything,
        &["the wombat", "der die das Schwiegermutter", "a man Kierkegaard"],
    ),
    (
        "beginnings, as they are typed",
        In::Everything,
        &[
            "w",
            "wo",
            "wom",
            "womb",
            "t",
            "th",
            "thi",
            "thin",
            "think",
            "prog",
            "progr",
            "progra",
            "про",
            "прогр",
            "geschw",
        ],
    ),
    ("phrases", In::Everything, &["\"in the\"", "\"once upon a time\"", "half-baked", "\"не так\""]),
    ("one and two characters of Chinese", In::Everything, &["中国", "明月", "人生", "春风", "程序", "月", "我"]),
    ("longer runs of Chinese", In::Everything, &["床前明月光", "操作系统"]),
    ("inside the longest chat", In::LongChat, &["the", "wombat", "think", "明月", "и", "prog"]),
    ("inside a short chat", In::ShortChat, &["the", "wombat", "a", "nicht", "明月", "и"]),
];

/// Each of them once.
pub(crate) fn typed() -> impl Iterator<Item = &'static str> {
    MIX.iter().flat_map(|(_, _, words)| words.iter().copied())
}

pub(crate) async fn measure(large: Large, report: &mut Report) -> Outcome<Large> {
    let Large { closed, texts, messages, chats, longest } = large;
    let person = closed.open().await?;
    let short = person
        .messenger
        .conversations(sotto_core::records::Chats::Main, None, 2)
        .await?
        .pop()
        .and_then(|chat| chat.contact)
        .ok_or("no chat")?;
    let mut walls: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let (mut cpus, mut searches) = (Vec::new(), BTreeMap::<_, Vec<f64>>::new());
    for turn in 0..TURNS {
        for (name, place, words) in MIX {
            for typed in *words {
                let meter = Meter::start();
                let page = person.messenger.search(query(typed, *place, longest, short), None, PAGE).await?;
                let spent = meter.stop();
                if turn > 0 {
                    walls.entry(name).or_default().push(ms(spent.wall));
                    cpus.push(ms(spent.cpu));
                    searches.entry((*name, *typed)).or_default().push(ms(spent.cpu));
                }
                if !page.is_complete {
                    return Err("the index is not filled".into());
                }
            }
        }
    }
    let closed = person.shut_down().await?;
    let sizes = closed.sizes()?;
    report.table("Search: the first page of 30 hits with their snippets, warm");
    let all = || walls.values().flatten().copied();
    report.row("the whole mix: wall, 95 of 100", quantile(all(), 0.95), "ms", Budget::AtMost(5.0));
    report.row("the whole mix: wall, median", median(all()), "ms", Budget::None);
    report.row("the whole mix: CPU, 95 of 100", quantile(cpus.iter().copied(), 0.95), "ms", Budget::None);
    report.row("the whole mix: CPU, median", median(cpus), "ms", Budget::None);
    for (name, _, _) in MIX {
        let of = || walls.get(name).into_iter().flatten().copied();
        report.row(format!("{name}: wall, median"), median(of()), "ms", Budget::None);
        report.row(format!("{name}: wall, 95 of 100"), quantile(of(), 0.95), "ms", Budget::None);
    }
    let mut searches: Vec<_> = searches.into_iter().map(|(search, cpu)| (median(cpu), search)).collect();
    searches.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    for (cpu, (name, typed)) in searches.into_iter().take(SLOWEST) {
        report.row(format!("of the slowest searches: `{typed}` ({name}): CPU, median"), cpu, "ms", Budget::None);
    }
    let per_message = |bytes: u64| bytes as f64 / f64::from(messages);
    let index: u64 = sizes.iter().filter(|(table, _)| table.contains("search")).map(|(_, bytes)| bytes).sum();
    let whole: u64 = sizes.values().sum();
    report.row("the database, for each message", per_message(whole), "B", Budget::None);
    report.row("the same without the index", per_message(whole - index), "B", Budget::None);
    report.row("the texts themselves", texts_bytes(&texts, messages), "B", Budget::None);
    report.note(format!(
        "{messages} messages in {chats} chats over as many times 150 s: Debian's fortunes, {} sentences in ten languages, each said as often as the \
         others; a tenth of all in one chat. The searches are those of `tests/bench/src/search.rs`, each {} times, one after the other.",
        texts.count(),
        TURNS - 1
    ));
    Ok(Large { closed, texts, messages, chats, longest })
}

fn query(typed: &str, place: In, longest: AccountId, short: AccountId) -> SearchQuery {
    let conversation = match place {
        In::Everything => None,
        In::LongChat => Some(longest),
        In::ShortChat => Some(short),
    };
    SearchQuery { conversation, ..SearchQuery::from(typed) }
}

fn texts_bytes(texts: &Texts, messages: u32) -> f64 {
    (0..messages).map(|number| texts.of(number).len() as f64).sum::<f64>() / f64::from(messages)
}
