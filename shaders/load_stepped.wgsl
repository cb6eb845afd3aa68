// Part of the coordinate kernels: where the value of a row comes from. Here it is a momentum that is stepped on the way, once, and kept
// behind the last load: x holds gradients.
//
// m        momentums, bits of f32, the same columns as x

@group(0) @binding(7) var<storage, read_write> m: array<u32>;

fn fetch(i: u32, column: u32) -> u32 {
    return stepped(rows[i].index, column);
}

fn keep(i: u32, column: u32, bits: u32) {
    m[momentum_at(rows[i].index, column)] = bits;
}
