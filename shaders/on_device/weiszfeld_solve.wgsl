// The geometric median from inner products: Weiszfeld's iteration on weights, w_i ~ 1 / ||x_i - z||, until none changes by more than
// TOLERANCE of itself or ROUNDS are done.

const ROUNDS_AT_MOST = 200u;
const TOLERANCE = 1e-5f;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let m = made.rows;
    measure(lane, m);
    let works = lane < m;
    let q = select(0.0, relative(min(lane, max(m, 1u) - 1u)), works);
    // Huge rows begin with the inverse of their size, as later rounds have it.
    v[lane] = select(0.0, 1.0, works);
    v[lane] /= gathered(lane, q, false);
    workgroupBarrier();
    var rounds = 0u;
    var change = 1.0;
    while rounds < ROUNDS_AT_MOST && change > TOLERANCE {
        let r2 = distance2_to_combination(lane, m);
        let pull = select(0.0, inverseSqrt(max(r2.x, max(r2.y, 1e-30f))), works);
        let next = pull / gathered(lane, q * pull, false);
        change = gathered(lane, abs(next - v[lane]) / max(next, 0x1p-126f), true);
        v[lane] = next;
        rounds++;
        workgroupBarrier();
    }
    if lane == 0u {
        status[ROUNDS] = rounds;
        status[RESIDUAL] = bitcast<u32>(change);
    }
    take_combination(lane, m, v[lane] / largest_scale, chosen[most_central(lane, m)].index);
}
