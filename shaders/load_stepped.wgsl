// Part of the coordinate kernels: where the value of a row comes from. Here it is a momentum that is stepped on the way, once: x holds
// gradients.
//
// m        momentums, bits of f32, the same columns as x

@group(0) @binding(7) var<storage, read_write> m: array<u32>;

fn fetch(i: u32, column: u32) -> u32 {
    return step(rows[i].index, column);
}
