//! From one list to another: what goes, what comes, what is otherwise.

use std::collections::HashMap;
use std::hash::Hash;

/// One difference. Each applies to the list that those before it have left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change<T> {
    /// All of it, in the place of whatever there was.
    Reset {
        /// The list.
        items: Vec<T>,
    },
    /// Something goes.
    Remove {
        /// Where it stood.
        index: u32,
    },
    /// Something comes.
    Insert {
        /// Where it stands.
        index: u32,
        /// What it is.
        item: T,
    },
    /// Something is otherwise, and stands where it stood.
    Update {
        /// Where.
        index: u32,
        /// How it is now.
        item: T,
    },
}

/// Applies differences, in their order. One that does not fit, which none does that was made for the list, changes nothing.
pub fn apply<T>(list: &mut Vec<T>, changes: impl IntoIterator<Item = Change<T>>) {
    for change in changes {
        match change {
            Change::Reset { items } => *list = items,
            Change::Remove { index } if (index as usize) < list.len() => drop(list.remove(index as usize)),
            Change::Insert { index, item } if index as usize <= list.len() => list.insert(index as usize, item),
            Change::Update { index, item } if (index as usize) < list.len() => list[index as usize] = item,
            Change::Remove { .. } | Change::Insert { .. } | Change::Update { .. } => {}
        }
    }
}

/// What makes one list of another. `key` tells what is the same, however it is: no two of one list have one. What stands in another order
/// goes and comes, but for as many as can stay.
pub(super) fn between<T: Clone + PartialEq, K: Eq + Hash>(
    before: &[T],
    after: &[T],
    key: impl Fn(&T) -> K,
) -> Vec<Change<T>> {
    let place_before: HashMap<K, usize> = before.iter().enumerate().map(|(place, item)| (key(item), place)).collect();
    let places: Vec<Option<usize>> = after.iter().map(|item| place_before.get(&key(item)).copied()).collect();
    let stays = longest_rising(&places);
    let kept: std::collections::HashSet<usize> = stays.iter().filter_map(|place| places[*place]).collect();
    let gone = (0..before.len()).rev().filter(|place| !kept.contains(place));
    let mut changes: Vec<Change<T>> = gone.map(|place| Change::Remove { index: number(place) }).collect();
    let mut stays = stays.into_iter().peekable();
    for (place, item) in after.iter().enumerate() {
        let index = number(place);
        if stays.next_if_eq(&place).is_none() {
            changes.push(Change::Insert { index, item: item.clone() });
        } else if places[place].is_some_and(|before_it| before[before_it] != *item) {
            changes.push(Change::Update { index, item: item.clone() });
        }
    }
    changes
}

/// Windows are bounded far below.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The places of a longest rising run of what is there.
fn longest_rising(values: &[Option<usize>]) -> Vec<usize> {
    // The place at which the best run of each length ends, and for each place the one before it in its run.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; values.len()];
    for (place, value) in values.iter().enumerate().filter_map(|(place, value)| value.map(|value| (place, value))) {
        let length = ends.partition_point(|end| values[*end] < Some(value));
        before[place] = length.checked_sub(1).map(|shorter| ends[shorter]);
        if length == ends.len() {
            ends.push(place);
        } else {
            ends[length] = place;
        }
    }
    let mut run: Vec<usize> = std::iter::successors(ends.last().copied(), |place| before[*place]).collect();
    run.reverse();
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items with a name and a look.
    fn list(items: &str) -> Vec<(char, char)> {
        items.split_whitespace().map(|item| (item.chars().next().unwrap(), item.chars().last().unwrap())).collect()
    }

    #[test]
    fn differences_make_one_list_of_another() {
        let lists =
            ["", "a", "a b c", "c b a", "a1 b c", "b a1 c2 d", "d c b a", "e a b c f", "x y z", "a b2 d c e1 f g"];
        for (before, after) in
            lists.iter().flat_map(|before| lists.iter().map(move |after| (list(before), list(after))))
        {
            let changes = between(&before, &after, |item| item.0);
            let mut made = before.clone();
            apply(&mut made, changes.clone());
            assert_eq!(made, after, "{before:?} {changes:?}");
            assert_eq!(changes.is_empty(), before == after, "{changes:?}");
        }
    }

    #[test]
    fn what_can_stay_stays() {
        let changes = between(&list("a b c d e"), &list("e a b c d"), |item| item.0);
        assert_eq!(changes, [Change::Remove { index: 4 }, Change::Insert { index: 0, item: ('e', 'e') }]);
        let changes = between(&list("a b c"), &list("a b2 c"), |item| item.0);
        assert_eq!(changes, [Change::Update { index: 1, item: ('b', '2') }]);
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut made = list("a");
        let item = ('x', 'x');
        apply(
            &mut made,
            [Change::Remove { index: 1 }, Change::Insert { index: 2, item }, Change::Update { index: 1, item }],
        );
        assert_eq!(made, list("a"));
    }
}
