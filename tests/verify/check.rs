//! Comparisons. Each looks at the lengths first and names the worst column.

/// 2⁻²⁴: the relative error of one rounding to f32.
pub const EPS: f64 = 1.0 / (1u64 << 24) as f64;

/// 2⁻¹²⁶: what is lost when a GPU flushes a denormal to zero.
pub const TINY: f64 = f32::MIN_POSITIVE as f64;

/// What a caller's buffer holds before a call that is to fill it: no result of a test.
pub const POISON: f32 = -7.654_321e33;

/// A buffer full of garbage.
pub fn poisoned(d: usize) -> Vec<f32> {
    vec![POISON; d]
}

/// The same bits in every column.
pub fn same_bits(got: &[f32], want: &[f32]) -> Result<(), String> {
    same_length(got.len(), want.len())?;
    let differ = |k: &usize| got[*k].to_bits() != want[*k].to_bits();
    let count = (0..got.len()).filter(differ).count();
    match (0..got.len()).find(differ) {
        None => Ok(()),
        Some(k) => Err(format!(
            "{count} of {} columns differ, first column {k}: {:e} ({:08x}), expected {:e} ({:08x})",
            got.len(),
            got[k],
            got[k].to_bits(),
            want[k],
            want[k].to_bits()
        )),
    }
}

/// Every column within its bound of the reference; NaN only where the reference is NaN, an infinity only where it is the same.
pub fn within(got: &[f32], reference: &[f64], bound: impl Fn(usize) -> f64) -> Result<(), String> {
    same_length(got.len(), reference.len())?;
    let mut worst: Option<(f64, usize)> = None;
    for (k, (&y, &want)) in got.iter().zip(reference).enumerate() {
        let y = f64::from(y);
        let excess = if y.is_nan() || want.is_nan() {
            if y.is_nan() && want.is_nan() { 0.0 } else { f64::INFINITY }
        } else if y == want {
            0.0
        } else if y.is_infinite() || want.is_infinite() {
            f64::INFINITY
        } else {
            let bound = bound(k);
            if bound > 0.0 { (y - want).abs() / bound } else { f64::INFINITY }
        };
        if excess.is_nan() || excess > worst.map_or(1.0, |(e, _)| e) {
            worst = Some((excess, k));
        }
    }
    match worst {
        None => Ok(()),
        Some((excess, k)) => Err(format!(
            "column {k} of {}: {:e}, expected {:e} within {:e}; {excess:.3} times the bound",
            got.len(),
            got[k],
            reference[k],
            bound(k)
        )),
    }
}

/// The same rows, in order.
pub fn same_rows(what: &str, got: &[usize], want: &[usize]) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what}: rows {got:?}, expected {want:?}")) }
}

fn same_length(got: usize, want: usize) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{got} values, expected {want}")) }
}

/// Collects the failures of a long loop, so that one run names them all.
#[derive(Default)]
pub struct Failures {
    cases: usize,
    list: Vec<String>,
}

impl Failures {
    pub fn note(&mut self, case: impl FnOnce() -> String, result: Result<(), String>) {
        self.cases += 1;
        if let Err(reason) = result {
            self.list.push(format!("{}: {reason}", case()));
        }
    }

    /// Panics when a case failed; with no case at all, too.
    pub fn settle(self) {
        assert!(self.cases > 0, "no case was run");
        let shown = self.list.iter().take(30).cloned().collect::<Vec<_>>().join("\n  ");
        assert!(self.list.is_empty(), "{} of {} cases failed:\n  {shown}", self.list.len(), self.cases);
        println!("{} cases", self.cases);
    }
}
