//! A step of a chore: it passes, fails or is skipped, and it takes time.
//!
//! All steps run even if one fails, because the second failure is often the one that explains the first. The summary comes last, so
//! that it is what a terminal and a log end with.

use std::fmt;
use std::time::{Duration, Instant};

use crate::checkout::Checkout;

/// What went wrong, in words for whoever reads the terminal.
#[derive(Debug, PartialEq)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How a step ended if it did not fail.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    /// It could not run here, and why.
    Skipped(String),
}

/// One row of the summary.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Checkout) -> Result<Outcome, Failure>,
    /// What it runs, if that is not Rust.
    pub(crate) script: Option<&'static str>,
}

/// Runs the steps in order and sums up.
pub(crate) fn run_all(checkout: &Checkout, steps: &[Step]) -> Result<(), Failure> {
    let mut results = Vec::new();
    for step in steps {
        println!("\n=== {} ===", step.name);
        let started = Instant::now();
        let result = match step.script {
            Some(script) if !checkout.has(script) => Err(Failure(format!("{script} is gone"))),
            _ => (step.run)(checkout),
        };
        match &result {
            Ok(Outcome::Passed) => {}
            Ok(Outcome::Skipped(reason)) => println!("skipped: {reason}"),
            Err(failure) => println!("failed: {failure}"),
        }
        results.push((step.name, started.elapsed(), result));
    }
    let (table, failed) = summary(&results);
    println!("\n{table}");
    if failed == 0 { Ok(()) } else { Err(Failure(format!("{failed} of {} steps", results.len()))) }
}

type Row = (&'static str, Duration, Result<Outcome, Failure>);

/// The table of minutes and results, ending in one line of counts, and the number of failures.
fn summary(results: &[Row]) -> (String, usize) {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut table = String::from("minutes  result   step\n");
    for (name, elapsed, result) in results {
        let (word, remark) = match result {
            Ok(Outcome::Passed) => ("passed", String::new()),
            Ok(Outcome::Skipped(reason)) => ("skipped", format!(": {reason}")),
            Err(failure) => ("FAILED", format!(": {failure}")),
        };
        match result {
            Ok(Outcome::Passed) => passed += 1,
            Ok(Outcome::Skipped(_)) => skipped += 1,
            Err(_) => failed += 1,
        }
        table += &format!("{:>7.1}  {word:<7}  {name}{remark}\n", elapsed.as_secs_f64() / 60.0);
    }
    let total = results.iter().map(|(_, elapsed, _)| *elapsed).sum::<Duration>();
    table += &format!("{:>7.1}  in all\n\n", total.as_secs_f64() / 60.0);
    table += &format!("{passed} passed, {failed} failed, {skipped} skipped");
    (table, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [Row; 3] {
        [
            ("one", Duration::from_secs(90), Ok(Outcome::Passed)),
            ("two", Duration::from_secs(6), Ok(Outcome::Skipped("no Python".into()))),
            ("three", Duration::from_secs(0), Err(Failure("exit status 1".into()))),
        ]
    }

    #[test]
    fn the_summary_names_minutes_skips_and_failures_and_ends_in_counts() {
        let (table, failed) = summary(&rows());
        let lines = table.lines().collect::<Vec<_>>();
        assert_eq!(failed, 1);
        assert_eq!(lines[1], "    1.5  passed   one");
        assert_eq!(lines[2], "    0.1  skipped  two: no Python");
        assert_eq!(lines[3], "    0.0  FAILED   three: exit status 1");
        assert_eq!(*lines.last().unwrap(), "1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_failed_step_fails_the_chore_and_does_not_stop_the_next() {
        let steps = [
            Step { name: "fails", run: |_| Err(Failure("on purpose".into())), script: None },
            Step { name: "runs all the same", run: |_| Ok(Outcome::Passed), script: None },
        ];
        assert_eq!(run_all(&Checkout::here(), &steps), Err(Failure("1 of 2 steps".into())));
    }

    #[test]
    fn a_step_whose_script_is_gone_fails() {
        let steps = [Step { name: "deleted", run: |_| Ok(Outcome::Passed), script: Some("no/such/script.py") }];
        assert_eq!(run_all(&Checkout::here(), &steps), Err(Failure("1 of 1 steps".into())));
    }

    #[test]
    fn a_skipped_step_does_not_fail_the_chore() {
        let steps = [Step { name: "cannot run here", run: |_| Ok(Outcome::Skipped("no Python".into())), script: None }];
        assert_eq!(run_all(&Checkout::here(), &steps), Ok(()));
    }
}
