// Part of the coordinate kernels: where the value of a row comes from. Here from the matrix.

fn fetch(i: u32, column: u32) -> u32 {
    return bits_at(rows[i].index, column);
}
