// The geometric median from inner products: Weiszfeld's iteration on weights, w_i ~ 1 / ||x_i - z||, until none changes by more than
// TOLERANCE of itself or ROUNDS are done. With X_i = s_i (x_i - c), S the largest scale, q_i = s_i / S and v_i = w_i / q_i:
// S (z - c) = sum v_i X_i and s_i^2 ||x_i - z||^2 = G_ii - 2 q_i (G v)_i + q_i^2 v'Gv, where nothing leaves the range of f32.
//
// table    the rows of the last read, with weights

@group(0) @binding(10) var<storage, read_write> table: array<Row>;

const ROUNDS_AT_MOST = 200u;
const TOLERANCE = 1e-5f;

var<workgroup> v: array<f32, LANES>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let m = made.rows;
    measure(lane, m);
    let works = lane < m;
    let q = select(0.0, relative(min(lane, max(m, 1u) - 1u)), works);
    let g = select(0.0, product(min(lane, max(m, 1u) - 1u), min(lane, max(m, 1u) - 1u)), works);
    // Huge rows begin with the inverse of their size, as later rounds have it.
    v[lane] = select(0.0, 1.0, works);
    v[lane] /= gathered(lane, q, false);
    workgroupBarrier();
    var rounds = 0u;
    var change = 1.0;
    while rounds < ROUNDS_AT_MOST && change > TOLERANCE {
        var gv = 0.0;
        if works {
            for (var j = 0u; j < m; j++) {
                gv += product(lane, j) * v[j];
            }
        }
        let square = gathered(lane, v[lane] * gv, false);
        let r2 = g - 2.0 * q * gv + q * q * square;
        // Rounding leaves an error of about 1e-7 of the terms.
        let least = max(1e-7f * (abs(g) + q * q * abs(square)), 1e-30f);
        let pull = select(0.0, inverseSqrt(max(r2, least)), works);
        let next = pull / gathered(lane, q * pull, false);
        change = gathered(lane, abs(next - v[lane]) / max(next, 0x1p-126f), true);
        v[lane] = next;
        rounds++;
        workgroupBarrier();
    }
    if works {
        table[lane] = Row(chosen[lane].index, chosen[lane].scale, v[lane] / largest_scale, 0.0);
    }
    if lane == 0u {
        status[ROUNDS] = rounds;
        status[RESIDUAL] = bitcast<u32>(change);
    }
    let centre = chosen[most_central(lane, m)].index;
    if lane == 0u {
        let_see(m, m, centre);
    }
}
