//! A send, from the call to its return after the commit, against a bare commit of the same rows.

use std::fs;
use std::path::Path;

use crate::floor::Floor;
use crate::meter::{Meter, Spent, median, ms, quantile, us};
use crate::people::{TEXT, alone};
use crate::report::{Budget, Report};
use crate::{Outcome, Size};

/// Engine and floor take turns in runs of so many, so that a busy moment of the machine meets both.
const RUN: usize = 25;

pub(crate) async fn measure(size: Size, report: &mut Report) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    // Nothing leaves while it is measured: the cost of the call, not of what follows it.
    let (alice, to) = alone(directory.path()).await?;
    let mut floor = Floor::create(directory.path(), 1)?;
    let (mut sends, mut commits) = (Vec::new(), Vec::new());
    for run in 0..size.pick(40, 2) {
        for _ in 0..RUN {
            let meter = Meter::start();
            alice.messenger.send_text(to, TEXT.to_owned()).await?;
            sends.push(meter.stop());
        }
        for at in 0..RUN {
            let meter = Meter::start();
            floor.send(i64::try_from(run * RUN + at)?, TEXT)?;
            commits.push(meter.stop());
        }
    }
    let log = alice.directory().join("sotto.db-wal");
    let (mut pages, mut transactions) = (Vec::new(), Vec::new());
    for _ in 0..RUN {
        let before = Log::read(&log)?;
        alice.messenger.send_text(to, TEXT.to_owned()).await?;
        let after = Log::read(&log)?;
        // A checkpoint began the log anew in between: this one does not count.
        if before.salt == after.salt {
            pages.push(f64::from(after.pages - before.pages));
            transactions.push(f64::from(after.commits - before.commits));
        }
    }
    alice.messenger.shut_down();

    let cpu = |spent: &[Spent]| median(spent.iter().map(|one| us(one.cpu)));
    let over = cpu(&sends) - cpu(&commits);
    report.table("send(): from the call to its return, after the commit");
    report.row("CPU over a bare SQLCipher FULL commit of the same rows, median", over, "us", Budget::AtMost(150.0));
    report.row("CPU, median", cpu(&sends), "us", Budget::None);
    report.row("CPU of the bare commit, median", cpu(&commits), "us", Budget::None);
    report.row("wall, median", median(sends.iter().map(|one| ms(one.wall))), "ms", Budget::None);
    report.row("wall, 95 of 100", quantile(sends.iter().map(|one| ms(one.wall)), 0.95), "ms", Budget::None);
    report.row("wall of the bare commit, median", median(commits.iter().map(|one| ms(one.wall))), "ms", Budget::None);
    report.row("commits per send, each one sync of the log", median(transactions), "", Budget::AtMost(1.0));
    report.row("pages written to the log per send, median", median(pages.iter().copied()), "", Budget::AtMost(12.0));
    report.row("pages written to the log per send, most", quantile(pages, 1.0), "", Budget::None);
    report.note(
        "The relay is down meanwhile. CPU is that of the whole process, so it includes handing the work to the writer's thread and \
         waking the couriers.",
    );
    Ok(())
}

/// What stands in a write-ahead log. Its frames' heads are not encrypted.
struct Log {
    salt: [u8; 8],
    pages: u32,
    commits: u32,
}

impl Log {
    const HEAD: usize = 32;
    const FRAME_HEAD: usize = 24;

    fn read(path: &Path) -> Outcome<Self> {
        let bytes = fs::read(path)?;
        let word = |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
        let page_bytes = usize::try_from(word(8).ok_or("an empty log")?)?;
        let salt: [u8; 8] = bytes.get(16..24).ok_or("an empty log")?.try_into()?;
        let mut log = Self { salt, pages: 0, commits: 0 };
        let frames = bytes.get(Self::HEAD..).unwrap_or_default().chunks_exact(Self::FRAME_HEAD + page_bytes);
        // Behind the newest frame stand those of the log before it, under another salt.
        for frame in frames.take_while(|frame| frame[8..16] == salt) {
            log.pages += 1;
            log.commits += u32::from(frame[4..8] != [0; 4]);
        }
        Ok(log)
    }
}
