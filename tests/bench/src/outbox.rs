//! A send while many others wait for a relay that is away: it costs what the first one did.

use crate::meter::{Meter, median, us};
use crate::people::{TEXT, alone};
use crate::report::{Budget, Report};
use crate::{Outcome, Size};

pub(crate) async fn measure(size: Size, report: &mut Report) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let (alice, to) = alone(directory.path()).await?;
    let (all, run) = (size.pick(100_000, 400), size.pick(1_000, 50));
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for at in 0..all + run {
        let meter = Meter::start();
        alice.messenger.send_text(to, TEXT.to_owned()).await?;
        let cpu = us(meter.stop().cpu);
        if at < run {
            first.push(cpu);
        } else if at >= all {
            last.push(cpu);
        }
    }
    alice.messenger.shut_down();
    let (first, last) = (median(first), median(last));
    report.table("send() behind an outbox of 100,000 rows");
    report.row("CPU, median of the first 1,000", first, "us", Budget::None);
    report.row("CPU, median of the 1,000 behind 100,000", last, "us", Budget::None);
    report.row("the last against the first", last / first, "x", Budget::AtMost(1.25));
    report.note(format!("The relay is away. {} letters wait in the end.", all + run));
    Ok(())
}
