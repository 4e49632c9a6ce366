//! The log: what this library says of its own working, for the app to write down or to hand in with a report.
//!
//! ```text
//! event of one of our crates --> queue of 1,024, which nobody waits for --> a thread of the sink's own --> the sink
//! ```
//! What finds no room is dropped and counted, and so is what the sink fails at: the next record that it takes says how many.
//! Invariants: nobody who logs waits for the sink, or fails with it; once a sink was replaced it is given nothing new; no text, name, key, id or
//! address is in any record (which is decided where it is logged, and held by a test).
//! Not here: what other people's crates log, who may name hosts.

use std::fmt::{Debug, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, callsite};

use crate::error::SottoError;

/// Records that wait for a sink: some hundred kilobytes, and more than a slow one falls behind by while nothing is wrong.
const WAITING_MAX: usize = 1_024;

/// What the crates are called that log in here.
const OURS: &str = "sotto_";

/// How much is said. Each says what those before it say, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, uniffi::Enum)]
pub enum LogLevel {
    /// A mistake of ours, or a device in trouble.
    Error,
    /// What should not happen, and is dealt with.
    Warn,
    /// What happens seldom.
    Info,
    /// What happens while something is looked for.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }
}

/// Something that was logged.
#[derive(Clone, PartialEq, Eq, Debug, uniffi::Record)]
pub struct LogRecord {
    /// How bad it is.
    pub level: LogLevel,
    /// When, by this device's clock.
    pub at_ms: u64,
    /// Which part of the library.
    pub target: String,
    /// What, in a sentence, with codes behind it.
    pub message: String,
    /// Records before this one that found no room, or at which the sink failed.
    pub dropped: u64,
}

/// Takes what is logged, one record at a time, on a thread that does nothing else.
#[uniffi::export(with_foreign)]
pub trait LogSink: Send + Sync {
    /// A record. Whatever is thrown is survived: the record counts as dropped.
    ///
    /// # Errors
    /// [`LogSinkError`].
    fn log(&self, record: LogRecord) -> Result<(), LogSinkError>;
}

/// Why a sink did not take a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, uniffi::Error)]
pub enum LogSinkError {
    /// It cannot be written down now.
    #[error("the sink failed")]
    Failed,
}

impl From<uniffi::UnexpectedUniFFICallbackError> for LogSinkError {
    fn from(_: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed
    }
}

/// From now on `sink` is given what is logged, up to a level, in the place of whoever was before; none: nobody. One sink for all accounts of the
/// process. What waits for the sink before is not given to it any more, but for the record that it is busy with.
///
/// # Errors
/// [`SottoError::Device`]: there is no thread for it. [`SottoError::Internal`]: somebody else listens to what this process logs. All stays as it was then.
#[uniffi::export]
pub fn set_log_sink(sink: Option<Arc<dyn LogSink>>, level: LogLevel) -> Result<(), SottoError> {
    static IS_HEARD: OnceLock<bool> = OnceLock::new();
    if !IS_HEARD.get_or_init(|| tracing::subscriber::set_global_default(Ear).is_ok()) {
        return Err(SottoError::log_taken());
    }
    let listener = sink.map(|sink| Listener::new(sink, level)).transpose()?;
    // Dropped behind the lock: its thread ends with it.
    let before = std::mem::replace(&mut *LISTENER.write().unwrap_or_else(PoisonError::into_inner), listener);
    drop(before);
    // What is logged where is remembered there: it is asked for anew.
    callsite::rebuild_interest_cache();
    Ok(())
}

/// Who listens.
static LISTENER: RwLock<Option<Listener>> = RwLock::new(None);

/// A sink with the queue before it.
struct Listener {
    level: LevelFilter,
    waiting: SyncSender<LogRecord>,
    dropped: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Listener {
    fn new(sink: Arc<dyn LogSink>, level: LogLevel) -> Result<Self, SottoError> {
        let (waiting, records) = sync_channel(WAITING_MAX);
        let (dropped, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let listener = Self { level: level.into(), waiting, dropped: dropped.clone(), is_over: is_over.clone() };
        let thread = thread::Builder::new().name("sotto-log".to_owned());
        let giving = thread.spawn(move || give(&*sink, &records, &dropped, &is_over));
        giving.map(|_| listener).map_err(|_| SottoError::without_threads())
    }

    fn offer(&self, record: LogRecord) {
        if self.waiting.try_send(record).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

/// Gives the sink what waits for it, until somebody else listens.
fn give(sink: &dyn LogSink, records: &Receiver<LogRecord>, dropped: &AtomicU64, is_over: &AtomicBool) {
    for mut record in records {
        if is_over.load(Ordering::Acquire) {
            return;
        }
        record.dropped = dropped.swap(0, Ordering::Relaxed);
        let missed = record.dropped + 1;
        let taken = catch_unwind(AssertUnwindSafe(|| sink.log(record)));
        if !matches!(taken, Ok(Ok(()))) {
            dropped.fetch_add(missed, Ordering::Relaxed);
        }
    }
}

/// Hears everything that is logged in this process. Spans are nothing to it: our crates have none.
struct Ear;

impl Ear {
    fn level() -> LevelFilter {
        LISTENER.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(LevelFilter::OFF, |it| it.level)
    }
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(OURS) && *metadata.level() <= Self::level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Self::level())
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message::default();
        event.record(&mut message);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = LogRecord {
            level: (*event.metadata().level()).into(),
            at_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
            target: event.metadata().target().to_owned(),
            message: message.0,
            dropped: 0,
        };
        if let Some(listener) = &*LISTENER.read().unwrap_or_else(PoisonError::into_inner) {
            listener.offer(record);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The sentence, and behind it what it names: `a relay refuses a call of ours code=full`.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A string takes everything.
        let _ = match field.name() {
            "message" => {
                let behind = std::mem::take(&mut self.0);
                write!(self.0, "{value:?}{behind}")
            }
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// What a sink is told to do with a record.
    type Order = fn() -> Result<(), LogSinkError>;

    /// Tells what it was given, and then does what it is told to do.
    struct Told {
        given: Mutex<Sender<(String, u64)>>,
        then: Mutex<Receiver<Order>>,
    }

    impl LogSink for Told {
        fn log(&self, record: LogRecord) -> Result<(), LogSinkError> {
            self.given.lock().unwrap().send((record.message, record.dropped)).unwrap();
            let then = self.then.lock().unwrap().recv().unwrap();
            then()
        }
    }

    fn listener() -> (Listener, Receiver<(String, u64)>, Sender<Order>) {
        let ((given, is_given), (orders, then)) = (channel(), channel());
        let told = Told { given: Mutex::new(given), then: Mutex::new(then) };
        (Listener::new(Arc::new(told), LogLevel::Trace).unwrap(), is_given, orders)
    }

    fn record(message: impl ToString) -> LogRecord {
        let (target, message) = (String::new(), message.to_string());
        LogRecord { level: LogLevel::Info, at_ms: 0, target, message, dropped: 0 }
    }

    #[test]
    fn a_slow_sink_holds_up_nobody_and_hears_how_much_it_missed() {
        let (listener, given, orders) = listener();
        listener.offer(record("first"));
        assert_eq!(given.recv().unwrap(), ("first".to_owned(), 0));
        // It is busy with that one: so many wait, and seven find no room.
        (0..WAITING_MAX + 7).for_each(|number| listener.offer(record(number)));
        orders.send(|| Ok(())).unwrap();
        assert_eq!(given.recv().unwrap(), ("0".to_owned(), 7));
        for number in 1..WAITING_MAX {
            orders.send(|| Ok(())).unwrap();
            assert_eq!(given.recv().unwrap(), (number.to_string(), 0));
        }
    }

    #[test]
    fn a_sink_that_fails_or_panics_is_survived_and_hears_what_it_missed() {
        let (listener, given, orders) = listener();
        (0..4).for_each(|number| listener.offer(record(number)));
        orders.send(|| Err(LogSinkError::Failed)).unwrap();
        orders.send(|| panic!("a bug in the app")).unwrap();
        orders.send(|| Ok(())).unwrap();
        orders.send(|| Ok(())).unwrap();
        let given: Vec<_> = given.iter().take(4).collect();
        assert_eq!(given, [("0", 0), ("1", 1), ("2", 2), ("3", 0)].map(|(it, missed)| (it.to_owned(), missed)));
    }

    #[test]
    fn a_sink_that_was_replaced_is_given_nothing_new() {
        let (listener, given, orders) = listener();
        (0..3).for_each(|number| listener.offer(record(number)));
        assert_eq!(given.recv().unwrap().0, "0");
        drop(listener);
        orders.send(|| Ok(())).unwrap();
        // Its thread is over, and has let go of it.
        assert!(given.recv().is_err());
    }
}
