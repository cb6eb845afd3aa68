// After a coordinate-wise rule: are no more rows bad than may be?
//
// notes    raised for each row with NaN or infinite values

@group(0) @binding(4) var<storage, read> notes: array<u32>;
@group(0) @binding(8) var<storage, read_write> status: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    if lane != 0u {
        return;
    }
    for (var at = 0u; at < FLAGS; at++) {
        status[at] = 0u;
    }
    for (var i = 0u; i < params.rows; i++) {
        status[FLAGS + i] = notes[i];
        status[BAD] += notes[i];
    }
    // params.voters is the most that may be.
    if status[BAD] > params.voters {
        status[CODE] = TOO_MANY_BAD;
    }
}
