// Adds the sums of blocks of columns exactly: in any order, of any blocks at a time, the same digits. A group adds 64 blocks of 16 sums.
//
// sums     bits; for each of params.blocks blocks params.rows sums
// exact    for each sum its digits (exact.wgsl), between -2^15 and 2^15 times the number of groups, and whether a term is not finite

const THREADS = 256u;
const SUMS = 16u;
const BLOCKS = 64u;
const DIGITS = 18u;
const WORDS = 19u;

@group(0) @binding(3) var<storage, read> sums: array<u32>;
@group(0) @binding(5) var<storage, read_write> exact: array<atomic<i32>>;

// Those of the group; zero at first.
var<workgroup> words: array<atomic<i32>, SUMS * WORDS>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let mine = lane % SUMS * WORDS;
    let sum = linear_group(group, groups) * SUMS + lane % SUMS;
    if sum < params.rows {
        let end = min(params.blocks, (group.z + 1u) * BLOCKS);
        for (var block = group.z * BLOCKS + lane / SUMS; block < end; block += THREADS / SUMS) {
            let bits = sums[block * params.rows + sum];
            if magnitude(bits) >= EXPONENT {
                atomicStore(&words[mine + DIGITS], 1);
            } else {
                let term = placed(bits);
                let digits = select(term.digits, -term.digits, is_negative(bits));
                atomicAdd(&words[mine + term.at], digits.x);
                atomicAdd(&words[mine + term.at + 1u], digits.y);
                atomicAdd(&words[mine + term.at + 2u], digits.z);
            }
        }
    }
    workgroupBarrier();
    if lane < SUMS && sum < params.rows {
        var carry = 0;
        for (var k = 0u; k < DIGITS; k++) {
            let digit = atomicLoad(&words[mine + k]) + carry;
            carry = select(0, (digit + 0x8000) >> 16u, k + 1u < DIGITS);
            let left = digit - (carry << 16u);
            if left != 0 {
                atomicAdd(&exact[sum * WORDS + k], left);
            }
        }
        if atomicLoad(&words[mine + DIGITS]) != 0 {
            atomicStore(&exact[sum * WORDS + DIGITS], 1);
        }
    }
}
