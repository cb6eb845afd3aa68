//! Plain loops for whatever vectors the processor has.

/// Compiles a function for AVX-512, for AVX2 with FMA, and portably; the machine's best is chosen at run time.
macro_rules! simd {
    ($function:item) => {
        #[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+fma", "x86_64+avx2+fma"))]
        $function
    };
}
