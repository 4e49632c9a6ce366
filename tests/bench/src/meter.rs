//! CPU and wall time of a piece of work, CPU and memory of another process.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;

/// What a piece of work took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    /// By the clock on the wall.
    pub(crate) wall: Duration,
    /// On all cores, by all threads of this process.
    pub(crate) cpu: Duration,
}

/// Counts from its start.
pub(crate) struct Meter {
    started: Instant,
    cpu: Duration,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), cpu: own_cpu() }
    }

    pub(crate) fn stop(&self) -> Spent {
        Spent { wall: self.started.elapsed(), cpu: own_cpu().saturating_sub(self.cpu) }
    }
}

fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// CPU that a process has used, in the kernel's ticks of 10 ms: loads are long enough for that.
pub(crate) fn cpu_of(process: u32) -> Outcome<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name may hold spaces; what follows it does not.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).ok_or("no such field");
    Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

/// The same once the process has nothing left to do: two readings a few ticks apart that agree.
pub(crate) async fn cpu_at_rest(process: u32) -> Outcome<Duration> {
    let mut before = cpu_of(process)?;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = cpu_of(process)?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
}

/// Memory of a process that is in RAM, in KiB.
pub(crate) fn resident_kib(process: u32) -> Outcome<f64> {
    status_kib(process, "VmRSS:")
}

/// The part of it that no file holds, in KiB.
pub(crate) fn anonymous_kib(process: u32) -> Outcome<f64> {
    status_kib(process, "RssAnon:")
}

fn status_kib(process: u32, name: &str) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// Microseconds.
pub(crate) fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The value that half of the others stay below.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value that a share of the others stays below.
pub(crate) fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a short list"
    )]
    let place = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// A count as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) const fn count(count: usize) -> f64 {
    count as f64
}
