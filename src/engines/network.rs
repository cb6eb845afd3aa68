//! Compare-exchange networks that order one column, pruned to what a statistic needs.
//!
//! A network is a fixed list of (i, j), i < j: "put the lower value on wire i". It has no branches, so one list serves
//! every column at once: eight or sixteen lanes on a CPU, one thread a column on a GPU.

use crate::plan::Stat;

/// What is wanted on a wire when the network has run. Wires of equal role may hold their values in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The value is not used.
    Dropped,
    /// The value is one of a set that is only summed.
    Summed,
    /// The value is one of another such set.
    Other,
    /// The value of exactly this rank.
    Rank(usize),
}

/// What a statistic of n values wants on each wire.
fn roles(stat: Stat, n: usize) -> Vec<Role> {
    let role = |r: usize| match stat {
        Stat::Ranks { from, to } if (from..to).contains(&r) => {
            if to - from == 1 {
                Role::Rank(r)
            } else {
                Role::Summed
            }
        }
        Stat::Ranks { .. } => Role::Dropped,
        // The tails by their ranks, so are both sets that are summed apart.
        Stat::Nearest { keep, .. } if r < n - keep || r >= keep => Role::Rank(r),
        Stat::Nearest { from, to, .. } if (from..to).contains(&r) => {
            if to - from <= 2 {
                Role::Rank(r)
            } else {
                Role::Summed
            }
        }
        Stat::Nearest { .. } => Role::Other,
        // No order is needed: these look at all values, or search.
        Stat::Identity | Stat::MajoritySign | Stat::CountedMedian | Stat::WeightedTrimmedMean { .. } => Role::Dropped,
    };
    (0..n).map(role).collect()
}

/// A network of up to sixteen wires as one list: [`SORT`], and the same as straight-line code, which merges two runs as well.
macro_rules! networks {
    (sort: $(($i:literal, $j:literal))* merge: $(($low:literal, $high:literal))*) => {
        /// Green's network of sixteen wires, 60 exchanges, the fewest known (Knuth, The Art of Computer Programming 3, 5.3.4). Its
        /// exchanges of the first N wires sort N: the wires behind them may be thought to hold the greatest of values.
        const SORT: [(usize, usize); 60] = [$(($i, $j)),*];

        /// Sorts `wires` by [`SORT`], straight-line code in which as many of them as there are registers stay there. `exchange` puts the
        /// lower of two first. Of more than sixteen, up to 32, the others are sorted by themselves, and both runs merged by Batcher's
        /// odd-even merge: those behind the first N may be thought to hold the greatest of values here, too.
        #[inline(always)]
        pub(crate) fn sort<T: Copy, const N: usize>(wires: &mut [T; N], exchange: impl Fn(T, T) -> (T, T)) {
            const { assert!(N <= 2 * RUN) };
            $(if $j < N {
                (wires[$i], wires[$j]) = exchange(wires[$i], wires[$j]);
            })*
            $(if $j + RUN < N {
                (wires[$i + RUN], wires[$j + RUN]) = exchange(wires[$i + RUN], wires[$j + RUN]);
            })*
            if N > RUN {
                $(if $high < N {
                    (wires[$low], wires[$high]) = exchange(wires[$low], wires[$high]);
                })*
            }
        }
    };
}

networks! {
    sort:
    (0, 1)(2, 3)(4, 5)(6, 7)(8, 9)(10, 11)(12, 13)(14, 15)
    (0, 2)(1, 3)(4, 6)(5, 7)(8, 10)(9, 11)(12, 14)(13, 15)
    (0, 4)(1, 5)(2, 6)(3, 7)(8, 12)(9, 13)(10, 14)(11, 15)
    (0, 8)(1, 9)(2, 10)(3, 11)(4, 12)(5, 13)(6, 14)(7, 15)
    (5, 10)(6, 9)(3, 12)(13, 14)(4, 8)(7, 11)(1, 2)
    (1, 4)(7, 13)(2, 8)(11, 14)(5, 6)(9, 10)
    (2, 4)(11, 13)(3, 8)(7, 12)
    (6, 8)(10, 12)(3, 5)(7, 9)
    (3, 4)(5, 6)(7, 8)(9, 10)(11, 12)
    (6, 7)(8, 9)
    merge:
    (0, 16)(1, 17)(2, 18)(3, 19)(4, 20)(5, 21)(6, 22)(7, 23)(8, 24)(9, 25)(10, 26)(11, 27)(12, 28)(13, 29)(14, 30)(15, 31)
    (8, 16)(9, 17)(10, 18)(11, 19)(12, 20)(13, 21)(14, 22)(15, 23)
    (4, 8)(5, 9)(6, 10)(7, 11)(12, 16)(13, 17)(14, 18)(15, 19)(20, 24)(21, 25)(22, 26)(23, 27)
    (2, 4)(3, 5)(6, 8)(7, 9)(10, 12)(11, 13)(14, 16)(15, 17)(18, 20)(19, 21)(22, 24)(23, 25)(26, 28)(27, 29)
    (1, 2)(3, 4)(5, 6)(7, 8)(9, 10)(11, 12)(13, 14)(15, 16)(17, 18)(19, 20)(21, 22)(23, 24)(25, 26)(27, 28)(29, 30)
}

/// Most values of a run.
pub(crate) const RUN: usize = 16;

/// A pruned network: (i, j) puts the lower value on wire i. When it has run, the value of rank r is on wire r where its role
/// is to be that rank.
///
/// It sorts runs of [`RUN`] wires, then merges runs pair by pair. Who sorts the runs by other means goes on with the [merges](Self::merges).
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// All exchanges.
    pub(crate) exchanges: Vec<(usize, usize)>,
    /// How many of them are within runs.
    within: usize,
    /// The wires of each run, in order; empty when no order is wanted.
    pub(crate) runs: Vec<Vec<usize>>,
}

impl Network {
    /// Sorted runs and their merges, walked backwards from the outputs that a statistic needs: an exchange goes
    /// when both its wires have the same role and nothing later reads them.
    pub(crate) fn new(stat: Stat, n: usize) -> Self {
        Self::pruned(&roles(stat, n))
    }

    /// The values of some ranks, each on its wire.
    pub(crate) fn of_ranks(ranks: std::ops::Range<usize>, n: usize) -> Self {
        let role = |r| if ranks.contains(&r) { Role::Rank(r) } else { Role::Dropped };
        Self::pruned(&(0..n).map(role).collect::<Vec<_>>())
    }

    /// The exchanges between sorted runs.
    pub(crate) fn merges(&self) -> &[(usize, usize)] {
        &self.exchanges[self.within..]
    }

    fn pruned(roles: &[Role]) -> Self {
        let n = roles.len();
        let (mut runs, all, within) = merge_sort(n);
        let mut read_later = vec![false; n];
        let mut exchanges: Vec<(usize, usize)> = Vec::new();
        let mut kept_within = 0;
        for (k, &(i, j)) in all.iter().enumerate().rev() {
            if read_later[i] || read_later[j] || roles[i] != roles[j] {
                read_later[i] = true;
                read_later[j] = true;
                exchanges.push((i, j));
                kept_within += usize::from(k < within);
            }
        }
        exchanges.reverse();
        if exchanges.is_empty() {
            runs.clear();
        }
        Self { exchanges, within: kept_within, runs }
    }
}

/// The runs of n wires, the exchanges that sort them and then all wires, and how many of those are within runs.
fn merge_sort(n: usize) -> (Vec<Vec<usize>>, Vec<(usize, usize)>, usize) {
    let wires: Vec<usize> = (0..n).collect();
    let mut lists: Vec<Vec<usize>> = wires.chunks(RUN).map(<[usize]>::to_vec).collect();
    let mut runs = lists.clone();
    let mut exchanges = Vec::new();
    for run in &runs {
        exchanges.extend(SORT.iter().filter(|(_, j)| *j < run.len()).map(|(i, j)| (run[*i], run[*j])));
    }
    let within = exchanges.len();
    while lists.len() > 1 {
        lists = lists.chunks(2).map(|pair| merge(&pair[0], pair.get(1).map_or(&[], |b| b), &mut exchanges)).collect();
    }
    // The wires by rank; wires are named so that rank r is on wire r.
    let mut names = vec![0; n];
    lists.concat().iter().enumerate().for_each(|(rank, &wire)| names[wire] = rank);
    runs.iter_mut().flatten().for_each(|wire| *wire = names[*wire]);
    exchanges.iter_mut().for_each(|(i, j)| (*i, *j) = (names[*i], names[*j]));
    (runs, exchanges, within)
}

/// Batcher's odd-even merge of two sorted lists of any lengths (Knuth 3, 5.3.4): the values in odd places and those in even places are
/// merged apart, and are then in order but for neighbours. Returns the wires in order.
fn merge(a: &[usize], b: &[usize], exchanges: &mut Vec<(usize, usize)>) -> Vec<usize> {
    if a.is_empty() || b.is_empty() {
        return [a, b].concat();
    }
    if let (&[x], &[y]) = (a, b) {
        exchanges.push((x, y));
        return vec![x, y];
    }
    let from = |list: &[usize], first: usize| list.iter().copied().skip(first).step_by(2).collect::<Vec<_>>();
    let odd = merge(&from(a, 0), &from(b, 0), exchanges);
    let even = merge(&from(a, 1), &from(b, 1), exchanges);
    let mut order = vec![odd[0]];
    for k in 0..even.len().max(odd.len() - 1) {
        let pair: Vec<usize> = even.get(k).into_iter().chain(odd.get(k + 1)).copied().collect();
        if let [x, y] = pair[..] {
            exchanges.push((x, y));
        }
        order.extend(pair);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Ties;

    /// Runs the network on zeros and ones and holds the roles against what sorting would give.
    fn right_on(network: &Network, roles: &[Role], input: &[u8]) -> bool {
        let mut wires = input.to_vec();
        for &(i, j) in &network.exchanges {
            if wires[i] > wires[j] {
                wires.swap(i, j);
            }
        }
        let mut sorted = input.to_vec();
        sorted.sort_unstable();
        let sum = |v: &[u8]| {
            [Role::Summed, Role::Other]
                .map(|role| -> u32 { v.iter().zip(roles).filter(|(_, r)| **r == role).map(|(v, _)| u32::from(*v)).sum() })
        };
        let ranks = roles.iter().enumerate().all(|(i, r)| !matches!(r, Role::Rank(_)) || wires[i] == sorted[i]);
        ranks && sum(&wires) == sum(&sorted)
    }

    fn right(network: &Network, roles: &[Role]) -> bool {
        let input = |bits: u32| (0..roles.len()).map(|i| (bits >> i & 1) as u8).collect::<Vec<_>>();
        (0..1u32 << roles.len()).all(|bits| right_on(network, roles, &input(bits)))
    }

    fn stats(n: usize) -> Vec<Stat> {
        let mut all = vec![Stat::Ranks { from: (n - 1) / 2, to: n / 2 + 1 }];
        for f in 0..n.div_ceil(2) {
            all.push(Stat::Ranks { from: f, to: n - f });
            all.push(Stat::nearest_median(n, n - f, Ties::LowerValue));
            all.push(Stat::Nearest { from: f, to: n - f, keep: n - f, ties: Ties::LowerRow });
            if n > 4 * f {
                all.push(Stat::nearest_median(n, n - 2 * f, Ties::LowerRow));
            }
        }
        all
    }

    /// The 0-1 principle: a network that is right on all inputs of zeros and ones is right on all inputs.
    #[test]
    fn every_zero_one_input_up_to_fourteen_wires() {
        for n in 1..=14 {
            for stat in stats(n) {
                assert!(right(&Network::new(stat, n), &roles(stat, n)), "{stat:?} of {n}");
            }
        }
    }

    /// Sixteen wires are a run and take all exchanges of the list, which the code has as well.
    #[test]
    fn a_run_is_sorted_by_list_and_by_code() {
        for bits in 0..1u32 << RUN {
            let mut wires: [u8; RUN] = std::array::from_fn(|i| (bits >> i & 1) as u8);
            let ones = bits.count_ones() as usize;
            let sorted: [u8; RUN] = std::array::from_fn(|i| u8::from(i >= RUN - ones));
            let mut by_list = wires;
            for &(i, j) in &SORT {
                if by_list[i] > by_list[j] {
                    by_list.swap(i, j);
                }
            }
            sort(&mut wires, |a, b| (a.min(b), a.max(b)));
            assert_eq!((by_list, wires), (sorted, sorted), "{bits:b}");
        }
    }

    /// Two runs by code: all numbers of ones in either, wherever they are.
    #[test]
    fn two_runs_are_sorted_by_code() {
        fn sorts<const N: usize>(random: &mut fastrand::Rng) {
            for (low, high) in (0..=RUN).flat_map(|low| (0..=N - RUN).map(move |high| (low, high))) {
                let mut wires: [u8; N] = std::array::from_fn(|i| u8::from(if i < RUN { i < low } else { i - RUN < high }));
                random.shuffle(&mut wires[..RUN]);
                random.shuffle(&mut wires[RUN..]);
                sort(&mut wires, |a, b| (a.min(b), a.max(b)));
                assert!(wires.is_sorted(), "{low} and {high} of {N}: {wires:?}");
            }
        }
        let mut random = fastrand::Rng::with_seed(3);
        sorts::<17>(&mut random);
        sorts::<24>(&mut random);
        sorts::<25>(&mut random);
        sorts::<31>(&mut random);
        sorts::<32>(&mut random);
    }

    /// When runs are sorted, only the number of ones in each is open: all merges are tried.
    #[test]
    fn every_merge_of_sorted_runs() {
        for n in [15, 16, 17, 25, 31, 32, 33, 48, 51, 64] {
            for stat in stats(n).into_iter().step_by(7) {
                let (network, roles) = (Network::new(stat, n), roles(stat, n));
                if network.runs.is_empty() {
                    continue;
                }
                assert!(network.exchanges.iter().all(|(i, j)| i < j));
                let merges = Network { exchanges: network.merges().to_vec(), ..network.clone() };
                let mut ones = vec![0; network.runs.len()];
                loop {
                    let mut input = vec![0; n];
                    for (run, ones) in network.runs.iter().zip(&ones) {
                        run.iter().rev().take(*ones).for_each(|&i| input[i] = 1);
                    }
                    assert!(right_on(&merges, &roles, &input), "{stat:?} of {n}: {input:?}");
                    // The next numbers of ones, as digits of a count.
                    let Some(k) = (0..ones.len()).find(|&k| ones[k] < network.runs[k].len()) else { break };
                    ones[..k].fill(0);
                    ones[k] += 1;
                }
            }
        }
    }

    /// More wires have too many inputs to list; of every number of ones a few are drawn.
    #[test]
    fn random_zero_one_inputs_of_many_wires() {
        let mut random = fastrand::Rng::with_seed(1);
        for n in [15, 25, 33, 51, 64, 101, 200] {
            for stat in stats(n).into_iter().step_by(5) {
                let (network, roles) = (Network::new(stat, n), roles(stat, n));
                for ones in 0..=n {
                    let mut input: Vec<u8> = (0..n).map(|i| u8::from(i < ones)).collect();
                    for _ in 0..4 {
                        random.shuffle(&mut input);
                        assert!(right_on(&network, &roles, &input), "{stat:?} of {n}");
                    }
                }
            }
        }
    }

    /// An exchange the wrong way round where ranks are wanted. Where a set is only summed, what follows may treat both wires
    /// alike and not every exchange is needed, so there one is left out and a quarter of them must matter alone.
    #[test]
    fn a_planted_fault_is_noticed() {
        for n in [5, 9, 12] {
            for stat in stats(n) {
                let (whole, roles) = (Network::new(stat, n), roles(stat, n));
                let ranked = roles.iter().any(|r| matches!(r, Role::Rank(_)));
                let noticed = |k: &usize| {
                    let mut broken = whole.clone();
                    let (i, j) = broken.exchanges.remove(*k);
                    if ranked {
                        broken.exchanges.insert(*k, (j, i));
                    }
                    !right(&broken, &roles)
                };
                let all = whole.exchanges.len();
                let noticed = (0..all).filter(noticed).count();
                // Beside a set that is only summed, some exchanges may be turned round.
                assert!(if ranked { noticed * 2 >= all } else { noticed * 4 >= all }, "{stat:?} of {n}: {noticed} of {all}");
            }
        }
    }

    #[test]
    fn pruning_pays() {
        let size = |stat, n| Network::new(stat, n).exchanges.len();
        assert_eq!(merge_sort(25).1.len(), 135);
        assert_eq!(size(Stat::Ranks { from: 12, to: 13 }, 25), 108);
        assert_eq!(size(Stat::Ranks { from: 3, to: 12 }, 15), 45);
        assert_eq!(size(Stat::Ranks { from: 5, to: 20 }, 25), 112);
        assert_eq!(size(Stat::Ranks { from: 10, to: 41 }, 51), 334);
    }
}
