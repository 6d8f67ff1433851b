//! Rows put together by a small number, without moving them.

/// For each of `n_groups` where its rows begin in the second list, and one entry more; and the places of all rows, those
/// of a group together in their old order.
pub(super) fn group(n_groups: u32, groups: impl Iterator<Item = u32> + Clone) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0_u32; n_groups as usize + 1];
    let mut n_rows = 0;
    for number in groups.clone() {
        starts[number as usize + 1] += 1;
        n_rows += 1;
    }
    for place in 1..starts.len() {
        starts[place] += starts[place - 1];
    }
    let mut next = starts.clone();
    let mut places = vec![0; n_rows];
    for (place, number) in (0..).zip(groups) {
        let slot = &mut next[number as usize];
        places[*slot as usize] = place;
        *slot += 1;
    }
    (starts, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order_inside_a_group() {
        let (starts, places) = group(4, [2, 0, 2, 3, 0].into_iter());
        assert_eq!(starts, [0, 2, 2, 4, 5]);
        assert_eq!(places, [1, 4, 0, 2, 3]);
    }
}
