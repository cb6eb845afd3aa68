// Part of the kernels that note which rows hold values that are not finite.
//
// notes    raised to 1 for each row (in the order of rows) that holds a NaN or an infinity

@group(0) @binding(4) var<storage, read_write> notes: array<atomic<u32>>;

// Notes a row if this value of it is not finite.
fn note(i: u32, bits: u32) {
    // One that sends nothing else must not queue up a write for each column.
    if magnitude(bits) >= EXPONENT && atomicLoad(&notes[i]) == 0u {
        atomicMax(&notes[i], 1u);
    }
}
