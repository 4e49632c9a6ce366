//! The one door to the database for everything that changes it.
//!
//! Every writing statement passes [`Tx::execute`] or [`Tx::take`], which count, and the beginning and the commit of each transaction
//! are counted with them (`commit.rs`): a test can make step k fail, or end the process
//! there, for every k, without anything being placed by hand.

use std::sync::Arc;

use rusqlite::{Connection, Params, Row, ffi};

/// What SQLite answers.
pub(crate) type Sql<T> = Result<T, rusqlite::Error>;

/// What a writing statement meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepFate {
    /// It runs.
    Run,
    /// The disk is full.
    DiskFull,
    /// The disk is broken.
    DiskBroken,
    /// It is a statement that SQLite refuses: a bug of ours.
    Wrong,
}

/// Decides the fate of each writing statement, beginning and commit by its number, counted from 1; 0 asks about a move of the log into
/// the main file, which is not counted: when it happens depends on more than the steps.
pub type StepHook = Arc<dyn Fn(u64) -> StepFate + Send + Sync>;

/// Counts writing statements.
#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) count: u64,
    pub(crate) hook: Option<StepHook>,
}

impl Steps {
    pub(crate) fn next(&mut self) -> Sql<()> {
        self.count += 1;
        self.meet(self.count)
    }

    pub(crate) fn checkpoint(&self) -> Sql<()> {
        self.meet(0)
    }

    fn meet(&self, number: u64) -> Sql<()> {
        let fate = self.hook.as_ref().map_or(StepFate::Run, |hook| hook(number));
        match fate {
            StepFate::Run => Ok(()),
            StepFate::DiskFull => Err(failure(ffi::SQLITE_FULL)),
            StepFate::DiskBroken => Err(failure(ffi::SQLITE_IOERR_FSYNC)),
            StepFate::Wrong => Err(failure(ffi::SQLITE_CONSTRAINT)),
        }
    }
}

fn failure(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

/// An open transaction.
pub(crate) struct Tx<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) steps: &'a mut Steps,
}

impl Tx<'_> {
    /// Runs a writing statement; answers with the number of rows it changed.
    pub(crate) fn execute(&mut self, sql: &str, parameters: impl Params) -> Sql<usize> {
        self.steps.next()?;
        self.connection.prepare_cached(sql)?.execute(parameters)
    }

    /// Runs an `INSERT`; answers with the number of the row.
    pub(crate) fn insert(&mut self, sql: &str, parameters: impl Params) -> Sql<i64> {
        self.execute(sql, parameters)?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Runs a `DELETE .. RETURNING`.
    pub(crate) fn take<T>(
        &mut self,
        sql: &str,
        parameters: impl Params,
        read: impl FnMut(&Row<'_>) -> Sql<T>,
    ) -> Sql<Vec<T>> {
        self.steps.next()?;
        rows(self.connection, sql, parameters, read)
    }

    /// Reads at most one row.
    pub(crate) fn row<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> Sql<T>,
    ) -> Sql<Option<T>> {
        row(self.connection, sql, parameters, read)
    }

    /// Reads every row.
    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnMut(&Row<'_>) -> Sql<T>,
    ) -> Sql<Vec<T>> {
        rows(self.connection, sql, parameters, read)
    }
}

/// Reads at most one row.
pub(crate) fn row<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl FnOnce(&Row<'_>) -> Sql<T>,
) -> Sql<Option<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(read).transpose()
}

/// Reads every row.
pub(crate) fn rows<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Sql<T>,
) -> Sql<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// SQLite's integers are signed; nothing here comes near the difference.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The other way; a negative number in a column that never holds one reads as 0.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
