// Part of every kernel over a matrix of bf16: two values a word, the first in its lower half. One is the upper half of an f32.

fn x_at(at: u32) -> u32 {
    return (x[at / 2u] >> (16u * (at % 2u))) << 16u;
}
