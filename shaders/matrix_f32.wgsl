// Part of every kernel over a matrix of f32: one value a word.

fn x_at(at: u32) -> u32 {
    return x[at];
}
