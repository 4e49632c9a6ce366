//! What an app waits for before the system may stop it: engines that pause at every step of what they do.

use std::time::Duration;

use sotto_pause::{Slice, Walked, frozen, walk};

use crate::meter::{median, ms};
use crate::report::{Budget, Report};
use crate::{Outcome, Size};

/// Pauses while a relay hangs.
const FROZEN: usize = 20;

pub(crate) async fn measure(size: Size, report: &mut Report) -> Outcome<()> {
    let every = u64::try_from(size.pick(1, 8))?;
    let (mut all, mut rows) = (Vec::new(), Vec::new());
    for Walked { scene, pauses, .. } in walk(Slice { every, seed: 0 }).await? {
        rows.push((format!("{scene}, {} steps: median", pauses.len()), median(pauses.iter().copied().map(ms))));
        all.extend(pauses);
    }
    let hung = frozen(u64::try_from(size.pick(FROZEN, 2))?).await?;
    report.table("pause() at every step: until no file of the profile and no socket is open");
    report.row("longest of all", longest(&all), "ms", Budget::AtMost(100.0));
    report.row("95 of 100", percentile(&mut all, 95), "ms", Budget::None);
    report.row("median of all", median(all.into_iter().map(ms)), "ms", Budget::None);
    for (what, median) in rows {
        report.row(what, median, "ms", Budget::None);
    }
    report.row("while the relay hangs: longest", longest(&hung), "ms", Budget::AtMost(100.0));
    report.note("From the moment at which the step that was met goes on: the transaction ends, its commit and the log's end are synced.");
    Ok(())
}

fn percentile(pauses: &mut [Duration], percent: usize) -> f64 {
    pauses.sort_unstable();
    pauses.get(pauses.len() * percent / 100).copied().map_or(0.0, ms)
}

fn longest(pauses: &[Duration]) -> f64 {
    pauses.iter().max().copied().map_or(0.0, ms)
}
