// The geometric median from inner products: Weiszfeld's iteration on weights, w_i ~ 1 / ||x_i - z||, until none changes by more than
// TOLERANCE of itself or ROUNDS are done. With X_i = s_i (x_i - c), S the largest scale, q_i = s_i / S and v_i = w_i / q_i:
// S (z - c) = sum v_i X_i and s_i^2 ||x_i - z||^2 = G_ii - 2 q_i (G v)_i + q_i^2 v'Gv, where nothing leaves the range of f32.
//
// table    the rows of the last read, with weights

@group(0) @binding(10) var<storage, read_write> table: array<Row>;

const ROUNDS_AT_MOST = 1000u;
const TOLERANCE = 1e-5f;

var<workgroup> v: array<f32, LANES>;
var<workgroup> gv: array<f32, LANES>;
var<workgroup> part: array<f32, LANES>;
var<workgroup> total: f32;
var<workgroup> square: f32;
var<workgroup> change: f32;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let m = made.rows;
    find_largest_scale(lane, m);
    let works = lane < m;
    var q = 0.0;
    if works {
        q = relative(lane);
        // Huge rows begin with the inverse of their size, as later rounds have it.
        v[lane] = 1.0;
        part[lane] = q;
    }
    workgroupBarrier();
    if lane == 0u {
        total = 0.0;
        for (var i = 0u; i < m; i++) {
            total += part[i];
        }
    }
    workgroupBarrier();
    if works {
        v[lane] = 1.0 / total;
    }
    var rounds = 0u;
    change = 1.0;
    workgroupBarrier();
    while rounds < ROUNDS_AT_MOST && change > TOLERANCE {
        if works {
            var sum = 0.0;
            for (var j = 0u; j < m; j++) {
                sum += product(lane, j) * v[j];
            }
            gv[lane] = sum;
        }
        workgroupBarrier();
        if lane == 0u {
            square = 0.0;
            for (var i = 0u; i < m; i++) {
                square += v[i] * gv[i];
            }
        }
        workgroupBarrier();
        var pull = 0.0;
        if works {
            let g = product(lane, lane);
            let r2 = g - 2.0 * q * gv[lane] + q * q * square;
            // Rounding leaves an error of about 1e-7 of the terms.
            pull = inverseSqrt(max(r2, max(1e-7f * (abs(g) + q * q * abs(square)), 1e-30f)));
            part[lane] = q * pull;
        }
        workgroupBarrier();
        if lane == 0u {
            total = 0.0;
            for (var i = 0u; i < m; i++) {
                total += part[i];
            }
        }
        workgroupBarrier();
        if works {
            let next = pull / total;
            part[lane] = abs(next - v[lane]) / max(next, 0x1p-126f);
            v[lane] = next;
        }
        workgroupBarrier();
        if lane == 0u {
            change = 0.0;
            for (var i = 0u; i < m; i++) {
                change = max(change, part[i]);
            }
        }
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
    let centre = central_row(lane, m);
    if lane == 0u {
        let_see(m, m, centre);
    }
}
