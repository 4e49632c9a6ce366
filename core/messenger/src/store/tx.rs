//! One write transaction, and the one place through which every write goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::{Connection, Params, Row, Transaction, TransactionBehavior};

use super::StoreError;

/// A step of a database, where a device can die.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreStep<'a> {
    /// Before this statement writes.
    Write(&'a str),
    /// Before a transaction is committed.
    Commit,
    /// After it.
    Committed,
}

/// Hears of every step, and says whether the device lives on.
pub type StepHook = Arc<dyn Fn(StoreStep<'_>) -> bool + Send + Sync>;

/// Counts writes and can make one of them fail, so that a test can walk through every step of an operation.
#[derive(Clone, Default)]
pub(crate) struct FailAt {
    inner: Arc<FailAtInner>,
    hook: Option<StepHook>,
}

#[derive(Default)]
struct FailAtInner {
    steps: AtomicU64,
    fail_at: AtomicU64,
    /// Whether everything after that step fails too.
    for_good: AtomicBool,
}

impl FailAt {
    /// With somebody who hears of every step.
    pub(crate) fn heard_by(hook: Option<StepHook>) -> Self {
        Self { hook, ..Self::default() }
    }

    /// The `step`th write from now fails as a full disk would; 0: none does.
    pub(crate) fn arm(&self, step: u64) {
        self.inner.steps.store(0, Ordering::SeqCst);
        self.inner.fail_at.store(step, Ordering::SeqCst);
        self.inner.for_good.store(false, Ordering::SeqCst);
    }

    /// The `step`th write from now fails, and all that come after it.
    pub(crate) fn arm_for_good(&self, step: u64) {
        self.arm(step);
        self.inner.for_good.store(true, Ordering::SeqCst);
    }

    /// Writes since [`FailAt::arm`].
    pub(crate) fn steps(&self) -> u64 {
        self.inner.steps.load(Ordering::SeqCst)
    }

    pub(super) fn step(&self, what: StoreStep<'_>) -> Result<(), StoreError> {
        self.tell(what)?;
        let step = self.inner.steps.fetch_add(1, Ordering::SeqCst) + 1;
        let fail_at = self.inner.fail_at.load(Ordering::SeqCst);
        let fails = step == fail_at || (fail_at != 0 && step > fail_at && self.inner.for_good.load(Ordering::SeqCst));
        if fails { Err(StoreError::DiskFull) } else { Ok(()) }
    }

    fn tell(&self, what: StoreStep<'_>) -> Result<(), StoreError> {
        if self.hook.as_ref().is_none_or(|hook| hook(what)) { Ok(()) } else { Err(StoreError::DiskFull) }
    }
}

/// One write transaction. Dropping it without [`Tx::commit`] undoes everything.
pub(crate) struct Tx<'a> {
    transaction: Transaction<'a>,
    fail_at: FailAt,
    changes_own: bool,
    changes_live: bool,
    changes_shown: Arc<AtomicBool>,
}

/// Tables of which screens show rows.
const SHOWN: [&str; 4] = ["message", "conversation", "contact", "deed"];

impl<'a> Tx<'a> {
    pub(super) fn begin(connection: &'a mut Connection, fail_at: &FailAt) -> Result<Self, StoreError> {
        let changes_shown = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&changes_shown);
        // In the place of that of the transaction before.
        connection.update_hook(Some(move |_, _: &str, table: &str, _| {
            if SHOWN.contains(&table) {
                noted.store(true, Ordering::Relaxed);
            }
        }))?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Self { transaction, fail_at: fail_at.clone(), changes_own: false, changes_live: false, changes_shown })
    }

    pub(super) fn commit(self) -> Result<(), StoreError> {
        self.fail_at.step(StoreStep::Commit)?;
        self.transaction.commit()?;
        self.fail_at.tell(StoreStep::Committed)
    }

    /// Runs one writing statement and returns how many rows it touched.
    pub(crate) fn execute(&mut self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        self.fail_at.step(StoreStep::Write(sql))?;
        Ok(self.transaction.prepare_cached(sql)?.execute(params)?)
    }

    /// As [`Tx::execute`] for one inserted row, of which it returns the id.
    pub(crate) fn insert(&mut self, sql: &str, params: impl Params) -> Result<i64, StoreError> {
        self.execute(sql, params)?;
        Ok(self.transaction.last_insert_rowid())
    }

    /// What this device is, or where it reads, changes here: whoever works with what was read of it reads it again after the commit.
    pub(crate) fn changes_own(&mut self) {
        self.changes_own = true;
    }

    /// Whether [`Self::changes_own`] was said.
    pub(crate) const fn has_changed_own(&self) -> bool {
        self.changes_own
    }

    /// What is told and seen only while it holds is switched here: it is heeded from the commit on.
    pub(crate) fn changes_live(&mut self) {
        self.changes_live = true;
    }

    /// Whether [`Self::changes_live`] was said.
    pub(crate) const fn has_changed_live(&self) -> bool {
        self.changes_live
    }

    /// Whether rows changed that screens show.
    pub(crate) fn has_changed_shown(&self) -> bool {
        self.changes_shown.load(Ordering::Relaxed)
    }

    /// What this transaction sees.
    pub(crate) fn view(&self) -> &rusqlite::Connection {
        &self.transaction
    }
}

/// Reading in the shapes that the modules need, on a transaction of either kind.
pub(crate) trait Query {
    /// The only row, or none.
    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError>;

    /// All rows.
    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError>;
}

impl Query for rusqlite::Connection {
    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        use rusqlite::OptionalExtension as _;
        Ok(self.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.prepare_cached(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Query for Tx<'_> {
    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.view().one(sql, params, read)
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.view().all(sql, params, read)
    }
}
