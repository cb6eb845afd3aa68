// Part of the kernels that order many values of a column: a whole odd-even merge sort over a private array of N keys. N is a constant
// that the host writes before this text.

fn sort(k: ptr<function, array<i32, N>>) {
    var top = 1u;
    while top < N {
        top *= 2u;
    }
    for (var p = top / 2u; p > 0u; p /= 2u) {
        var q = top / 2u;
        var r = 0u;
        var d = p;
        loop {
            for (var i = 0u; i + d < N; i++) {
                if (i & p) == r {
                    let low = (*k)[i];
                    let high = (*k)[i + d];
                    (*k)[i] = min(low, high);
                    (*k)[i + d] = max(low, high);
                }
            }
            if q == p {
                break;
            }
            d = q - p;
            q /= 2u;
            r = p;
        }
    }
}
