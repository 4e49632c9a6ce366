//! What the proving ground costs: how many messages a core plays in a minute decides how many seeds anybody plays.

use sotto_sim::play::play;
use sotto_sim::schedule::Schedule;

use crate::meter::{Meter, count, ms};
use crate::report::{Budget, Report};
use crate::{Outcome, Size};

pub(crate) fn measure(size: Size, report: &mut Report) -> Outcome<()> {
    let seeds = size.pick(100, 2);
    let (meter, mut texts) = (Meter::start(), 0);
    for seed in (1..).take(seeds) {
        let played = play(&Schedule::of_seed(seed));
        if let Some(broken) = played.violation {
            return Err(format!("seed {seed}: {broken}").into());
        }
        texts += played.texts;
    }
    let spent = meter.stop();
    report.table("The simulation: seeds 1 to 100, one after the other");
    report.row("CPU a message", ms(spent.cpu) / count(texts), "ms", Budget::None);
    report.row("CPU a seed", ms(spent.cpu) / count(seeds), "ms", Budget::None);
    report.row("messages", count(texts), "", Budget::None);
    report.note(
        "Everything is counted that a seed does: accounts are made, people meet, relays and devices die and come back, every device is opened \
         anew, and all promises are checked after each step.",
    );
    Ok(())
}
