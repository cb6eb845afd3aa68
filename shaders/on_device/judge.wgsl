// After a read: did the rows that took part turn out finite, their scales right, the row in their middle central? Else the next read is of
// those that are finite, about the median of each column, which no row can hide from, or again about the point of a rule that has one.
// After a second read there is no third.
//
// notes    largest magnitudes of the rows that took part, as bits; zeroed for the next read

@group(0) @binding(7) var<storage, read_write> notes: array<u32>;
@group(0) @binding(9) var<uniform> whole: Params;

var<workgroup> kept: array<Row, LANES>;
var<workgroup> wrong: atomic<u32>;
var<workgroup> at_centre: u32;
var<workgroup> centre_size: u32;

// Squares of scaled values up to 2^50 can be summed, and those of values from 2^-50 on do not vanish.
fn fits(size: u32, scale: f32) -> bool {
    return size == 0u || abs(exponent(size) + exponent(bitcast<u32>(scale))) < 50;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    // All barriers are passed in any case, with no rows where nothing was read: some compilers demand that.
    let done = status[DONE] != 0u;
    let n = whole.rows;
    let m = select(made.rows, 0u, done);
    // About the median of each column, or a point of the rule's own.
    let about_row = made.centre < GIVEN;
    let again_already = status[HIDDEN] != 0u;
    measure(lane, m);
    var row = Row();
    var largest = EXPONENT;
    if lane < m {
        row = chosen[lane];
        largest = notes[lane];
        notes[lane] = 0u;
        if row.index == made.centre {
            centre_size = largest;
            at_centre = lane;
        }
    }
    let position = place_among(lane, m, largest < EXPONENT);
    if largest < EXPONENT {
        kept[position] = row;
        sizes[position] = largest;
    }
    storageBarrier();
    workgroupBarrier();
    let size = middle_size(lane, count);
    if lane < count && !fits(max(sizes[lane], select(size, max(size, centre_size), about_row)), kept[lane].scale) {
        atomicStore(&wrong, 1u);
    }
    if lane == 0u && count < m {
        atomicStore(&wrong, 1u);
    }
    let best = most_central(lane, m);
    // Scores mean something only where all products do.
    if lane == 0u && about_row && atomicLoad(&wrong) == 0u && scores[at_centre] > 16.0 * scores[best] {
        atomicStore(&wrong, 1u);
    }
    workgroupBarrier();
    if done {
        return;
    }
    let again = atomicLoad(&wrong) != 0u && !again_already;
    if again && lane < count {
        chosen[lane] = Row(kept[lane].index, scale_for(max(sizes[lane], size)), 0.0, 0.0);
    }
    if lane < n {
        var is_bad = 1u;
        for (var i = 0u; i < count; i++) {
            is_bad = select(is_bad, 0u, kept[i].index == lane);
        }
        status[FLAGS + lane] = is_bad;
    }
    if lane == 0u {
        status[BAD] = n - count;
        if again {
            status[HIDDEN] = 1u;
            made.rows = count;
            made.voters = count;
            made.centre = whole.centre;
        } else {
            status[DONE] = 1u;
            made.columns = 0u;
            if atomicLoad(&wrong) != 0u {
                status[CODE] = NO_SCALES;
            }
        }
        // whole.voters is the most that may be bad.
        if count == 0u || n - count > whole.voters {
            status[DONE] = 1u;
            made.columns = 0u;
            status[CODE] = TOO_MANY_BAD;
        }
    }
}
