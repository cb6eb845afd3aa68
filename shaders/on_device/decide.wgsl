// Part of the kernels that turn inner products into weights, one for each kind of solve. They write the parameters of the last read.
//
// last       parameters of the pass that makes the result: one, or one for each number of bad rows, of which all but one see no columns
// variants   for each number of bad rows: neighbours, rows kept, and 1 / kept as a rounded number and what rounding took (bits)
// whole      parameters of the whole matrix

struct Padded {
    params: Params,
    // To 256 bytes, where a binding may begin.
    padding: array<vec4<u32>, 12>,
}

@group(0) @binding(1) var<storage, read_write> last: array<Padded>;
@group(0) @binding(7) var<storage, read> variants: array<vec4<u32>>;
@group(0) @binding(9) var<uniform> whole: Params;

// The numbers for m rows, of which the others were bad.
fn variant(m: u32) -> vec4<u32> {
    return variants[min(whole.rows - m, arrayLength(&variants) - 1u)];
}

// Lets the pass for this number of bad rows see the columns of `taken` rows about this one. One invocation calls it.
fn let_see(m: u32, taken: u32, centre: u32) {
    for (var k = 0u; k < arrayLength(&last); k++) {
        last[k].params = whole;
        last[k].params.rows = taken;
        last[k].params.centre = centre;
        if status[CODE] != 0u || (arrayLength(&last) > 1u && k != whole.rows - m) {
            last[k].params.columns = 0u;
        }
    }
}
