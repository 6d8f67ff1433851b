//! Groups rows by a small number.

/// Returns the start of each of `n_groups` groups in the second list, followed by its length; and the indices of all
/// rows, grouped, in their old order within each group.
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

/// Returns the start of each of `n_groups` groups, followed by the number of rows; and the rows, grouped. `sort` gets
/// the rows of each group in their old order.
pub(super) fn gather<T: Copy + Send>(
    n_groups: u32,
    rows: impl Iterator<Item = (u32, T)> + Clone,
    sort: impl Fn(&mut [T]) + Sync,
) -> (Vec<u32>, Vec<T>) {
    let mut starts = vec![0_u32; n_groups as usize + 1];
    let mut n_rows = 0;
    let mut first = None;
    for (number, row) in rows.clone() {
        starts[number as usize + 1] += 1;
        n_rows += 1;
        first.get_or_insert(row);
    }
    for place in 1..starts.len() {
        starts[place] += starts[place - 1];
    }
    let Some(first) = first else { return (starts, Vec::new()) };
    let mut next = starts.clone();
    let mut gathered = vec![first; n_rows];
    for (number, row) in rows {
        let slot = &mut next[number as usize];
        gathered[*slot as usize] = row;
        *slot += 1;
    }
    sort_groups(&starts, &mut gathered, &sort);
    (starts, gathered)
}

/// Sorts each group with `sort`, on all cores.
pub(super) fn sort_groups<T: Send>(starts: &[u32], places: &mut [T], sort: &(impl Fn(&mut [T]) + Sync)) {
    /// Fewer rows than this are not worth a second core.
    const FEW: usize = 1 << 13;
    if let (&[first, .., last], true) = (starts, FEW < places.len()) {
        let middle = starts.partition_point(|&start| (start - first) * 2 < last - first);
        // One group may contain nearly all rows.
        if 0 < middle && middle + 1 < starts.len() {
            let (left, right) = places.split_at_mut((starts[middle] - first) as usize);
            rayon::join(
                || sort_groups(&starts[..=middle], left, sort),
                || sort_groups(&starts[middle..], right, sort),
            );
            return;
        }
    }
    for bounds in starts.windows(2).filter(|bounds| 1 < bounds[1] - bounds[0]) {
        sort(&mut places[(bounds[0] - starts[0]) as usize..(bounds[1] - starts[0]) as usize]);
    }
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

    #[test]
    fn rows_are_gathered_and_sorted_by_their_key() {
        let rows = [(2, 'e', 1), (0, 'b', 0), (2, 'd', 0), (3, 'f', 0), (0, 'a', -1), (0, 'c', 0)];
        let (starts, gathered) =
            gather(4, rows.iter().map(|&(group, name, key)| (group, (name, key))), |rows| {
                rows.sort_by_key(|row| row.1);
            });
        assert_eq!(starts, [0, 3, 3, 5, 6]);
        assert_eq!(gathered.iter().map(|row| row.0).collect::<String>(), "abcdef");
        assert_eq!(
            gather(2, [].iter().copied(), |rows: &mut [u8]| rows.sort_unstable()),
            (vec![0, 0, 0], vec![])
        );
    }

    #[test]
    fn groups_are_sorted_each_by_itself_however_large() {
        for n_groups in [1, 2, 3, 1000, 30_000] {
            let groups =
                (0..50_000_u32).map(|row| row.wrapping_mul(2_654_435_761) % n_groups * (row % 3) / 2);
            let (starts, mut places) = group(n_groups, groups.clone());
            sort_groups(&starts, &mut places, &|group: &mut [u32]| group.reverse());
            let numbers: Vec<u32> = groups.collect();
            let key = |place: u32| (numbers[place as usize], std::cmp::Reverse(place));
            assert!(places.is_sorted_by_key(|&place| key(place)), "{n_groups}");
            assert_eq!(places.len(), numbers.len());
        }
    }
}
