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
    /// The value of exactly this rank.
    Rank(usize),
}

/// A pruned network; wire i has role i when it has run.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) exchanges: Vec<(usize, usize)>,
    pub(crate) roles: Vec<Role>,
}

impl Network {
    /// The network that a statistic of n values needs.
    pub(crate) fn for_stat(stat: Stat, n: usize) -> Self {
        let roles = match stat {
            Stat::Ranks { from, to } => {
                // A single or central rank is wanted by itself: sums are centred on it.
                let middle = (from + to - 1) / 2;
                let role = |r| {
                    if r == middle {
                        Role::Rank(r)
                    } else if (from..to).contains(&r) {
                        Role::Summed
                    } else {
                        Role::Dropped
                    }
                };
                (0..n).map(role).collect()
            }
            Stat::NearestMedian { keep } => {
                let (a, b, f) = ((n - 1) / 2, n / 2, n - keep);
                let role = |r| if r < f || r >= keep || r == a || r == b { Role::Rank(r) } else { Role::Summed };
                (0..n).map(role).collect()
            }
        };
        Self::pruned(roles)
    }

    /// Batcher's odd-even merge sort, walked backwards from the outputs that matter: an exchange goes when both its
    /// wires have the same role and nothing later reads them.
    pub(crate) fn pruned(roles: Vec<Role>) -> Self {
        let n = roles.len();
        let mut read_later = vec![false; n];
        let mut exchanges: Vec<(usize, usize)> = Vec::new();
        for &(i, j) in odd_even_merge_sort(n).iter().rev() {
            if read_later[i] || read_later[j] || roles[i] != roles[j] {
                read_later[i] = true;
                read_later[j] = true;
                exchanges.push((i, j));
            }
        }
        exchanges.reverse();
        Self { exchanges, roles }
    }
}

/// Batcher's odd-even merge sort for any n (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M).
fn odd_even_merge_sort(n: usize) -> Vec<(usize, usize)> {
    let mut exchanges = Vec::new();
    let top = n.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut r, mut d) = (top, 0, p);
        loop {
            exchanges.extend((0..n.saturating_sub(d)).filter(|i| i & p == r).map(|i| (i, i + d)));
            if q == p {
                break;
            }
            (d, q, r) = (q - p, q / 2, p);
        }
        p /= 2;
    }
    exchanges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the network on zeros and ones and holds the roles against what sorting would give.
    fn right_on(network: &Network, input: &[u8]) -> bool {
        let mut wires = input.to_vec();
        for &(i, j) in &network.exchanges {
            if wires[i] > wires[j] {
                wires.swap(i, j);
            }
        }
        let mut sorted = input.to_vec();
        sorted.sort_unstable();
        let sum = |v: &[u8]| -> u32 {
            v.iter().zip(&network.roles).filter(|(_, r)| **r == Role::Summed).map(|(v, _)| u32::from(*v)).sum()
        };
        let ranks = network.roles.iter().enumerate().all(|(i, r)| !matches!(r, Role::Rank(_)) || wires[i] == sorted[i]);
        ranks && sum(&wires) == sum(&sorted)
    }

    fn right(network: &Network) -> bool {
        (0..1u32 << network.roles.len())
            .all(|bits| right_on(network, &(0..network.roles.len()).map(|i| (bits >> i & 1) as u8).collect::<Vec<_>>()))
    }

    fn stats(n: usize) -> Vec<Stat> {
        let mut all = vec![Stat::Ranks { from: (n - 1) / 2, to: n / 2 + 1 }];
        for f in 0..n.div_ceil(2) {
            all.push(Stat::Ranks { from: f, to: n - f });
            all.push(Stat::NearestMedian { keep: n - f });
        }
        all
    }

    /// The 0-1 principle: a network that is right on all inputs of zeros and ones is right on all inputs.
    #[test]
    fn every_zero_one_input_up_to_fourteen_wires() {
        for n in 1..=14 {
            for stat in stats(n) {
                assert!(right(&Network::for_stat(stat, n)), "{stat:?} of {n}");
            }
        }
    }

    /// For more wires: all inputs whose number of ones is near a rank that matters cannot be listed, random ones can.
    #[test]
    fn random_zero_one_inputs_of_many_wires() {
        let mut random = fastrand::Rng::with_seed(1);
        for n in [15, 25, 33, 51, 64, 101, 200] {
            for stat in stats(n).into_iter().step_by(5) {
                let network = Network::for_stat(stat, n);
                for ones in 0..=n {
                    let mut input: Vec<u8> = (0..n).map(|i| u8::from(i < ones)).collect();
                    for _ in 0..4 {
                        random.shuffle(&mut input);
                        assert!(right_on(&network, &input), "{stat:?} of {n}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_planted_fault_is_noticed() {
        for n in [5, 9, 12] {
            for stat in stats(n) {
                let whole = Network::for_stat(stat, n);
                for k in 0..whole.exchanges.len() {
                    let mut reversed = whole.clone();
                    let (i, j) = reversed.exchanges[k];
                    reversed.exchanges[k] = (j, i);
                    assert!(!right(&reversed), "{stat:?} of {n}: exchange {k} reversed");
                }
            }
        }
    }

    #[test]
    fn sizes_are_those_the_documentation_states() {
        let size = |stat, n| Network::for_stat(stat, n).exchanges.len();
        assert!(size(Stat::Ranks { from: 12, to: 13 }, 25) <= 113);
        assert!(size(Stat::Ranks { from: 3, to: 12 }, 15) <= 51);
        assert!(size(Stat::Ranks { from: 5, to: 20 }, 25) <= 121);
    }
}
