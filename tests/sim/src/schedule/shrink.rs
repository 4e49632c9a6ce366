//! A shorter schedule that fails the same way: delta debugging over the steps.

use super::Schedule;

/// Plays at most: a minute or two.
const PLAYS_MAX: usize = 400;

/// What is left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk {
    /// The schedule.
    pub schedule: Schedule,
    /// How often something was played for it.
    pub plays: usize,
}

/// Leaves out steps, first many at once and then single ones, for as long as what is left still fails. `fails` says whether it does so in
/// the same way.
pub fn shrink(schedule: &Schedule, fails: impl Fn(&Schedule) -> bool) -> Shrunk {
    let mut left = schedule.clone();
    let mut plays = 0;
    let mut size = left.steps.len().div_ceil(2);
    while size > 0 && plays < PLAYS_MAX {
        let mut from = 0;
        let mut has_shrunk = false;
        while from < left.steps.len() && plays < PLAYS_MAX {
            let mut shorter = left.clone();
            shorter.steps.drain(from..(from + size).min(left.steps.len()));
            plays += 1;
            if fails(&shorter) {
                left = shorter;
                has_shrunk = true;
            } else {
                from += size;
            }
        }
        // A step that could not go alone before may go now.
        size = match size {
            1 if has_shrunk => 1,
            size => size / 2,
        };
    }
    Shrunk { schedule: left, plays }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_difference_goes_and_what_does_stays() {
        let long = Schedule::of_seed(3);
        let needed = [long.places()[1], *long.places().last().unwrap()];
        let fails = |schedule: &Schedule| needed.iter().all(|place| schedule.places().contains(place));
        let shrunk = shrink(&long, fails);
        assert_eq!(shrunk.schedule.places(), needed);
        assert_eq!(shrunk.schedule, long.only(&needed), "and can be had from the seed and the places");
    }
}
