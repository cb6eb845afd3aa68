//! Seeded inputs. In each every element matters: distinct signed values, ties, wide exponents; never all ones.

use resam::Rows;

/// An n × d matrix of which the rows in `byzantine` (f of them, in no special place) may be anything.
#[derive(Debug, Clone)]
pub struct Case {
    pub family: &'static str,
    pub n: usize,
    pub f: usize,
    pub d: usize,
    pub byzantine: Vec<usize>,
    pub data: Vec<f32>,
}

impl Case {
    pub fn rows(&self) -> Rows<'_> {
        Rows::from_slice(&self.data, self.n, self.d).expect("n × d values")
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.d..(i + 1) * self.d]
    }

    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.d..(i + 1) * self.d]
    }

    pub fn column(&self, k: usize) -> Vec<f32> {
        (0..self.n).map(|i| self.data[i * self.d + k]).collect()
    }

    pub fn honest(&self) -> Vec<usize> {
        (0..self.n).filter(|i| !self.byzantine.contains(i)).collect()
    }

    /// The matrix without some of its rows, and with f less by as many.
    pub fn without(&self, rows: &[usize]) -> Self {
        let left: Vec<usize> = (0..self.n).filter(|i| !rows.contains(i)).collect();
        let data = left.iter().flat_map(|&i| self.row(i).to_vec()).collect();
        Self { n: left.len(), f: self.f - rows.len(), byzantine: Vec::new(), data, ..self.clone() }
    }

    /// In words, for messages.
    pub fn name(&self) -> String {
        format!("{} (n, f, d) = ({}, {}, {})", self.family, self.n, self.f, self.d)
    }
}

/// A generator with names for the few things the families need.
pub struct Random(fastrand::Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// Uniform in low..high.
    pub fn index(&mut self, low: i64, high: i64) -> i64 {
        self.0.i64(low..high)
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    pub fn sign(&mut self) -> f64 {
        if self.0.bool() { 1.0 } else { -1.0 }
    }

    pub fn bits(&mut self) -> u32 {
        self.0.u32(..)
    }

    /// `count` of 0..n, ascending.
    pub fn choose(&mut self, n: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        self.0.shuffle(&mut all);
        all.truncate(count);
        all.sort_unstable();
        all
    }
}

pub const NAMES: [&str; 19] = [
    "gauss",
    "alie",
    "foe",
    "offset 1000",
    "offset 1e4",
    "far 1e12",
    "far 1e30",
    "huge",
    "column scales",
    "ties",
    "duplicates",
    "near equal",
    "denormals",
    "zeros",
    "wide",
    "sparse",
    "equal",
    "line",
    "tiny",
];

/// The matrix of one family.
pub fn make(family: &'static str, n: usize, f: usize, d: usize, seed: u64) -> Case {
    let place = NAMES.iter().position(|name| *name == family).expect("a family's name") as u64;
    let mut random = Random::new(seed ^ (place << 48) ^ ((n as u64) << 32) ^ d as u64);
    let byzantine = random.choose(n, f);
    let offsets: Vec<f64> = (0..d).map(|_| random.sign()).collect();
    let base: Vec<f64> = (0..d).map(|_| random.normal()).collect();
    let mut data = vec![0f32; n * d];
    for i in 0..n {
        for k in 0..d {
            let x = random.normal();
            data[i * d + k] = match family {
                "offset 1000" => 1000.0 * offsets[k] + 0.05 * x,
                "offset 1e4" => 1e4 * offsets[k] + x,
                "column scales" => x * if k % 2 == 0 { 1e6 } else { 1e-6 },
                "ties" => random.index(-2, 3) as f64,
                "near equal" => base[k] * (1.0 + 1e-6 * x),
                "denormals" => f64::from(f32::from_bits(random.bits() & 0x807f_ffff)),
                "zeros" => [0.0, -0.0, 0.0, -0.0, 1.0, -1.0][random.index(0, 6) as usize],
                "wide" => x * 2f64.powi(random.index(-120, 120) as i32),
                "sparse" => x * f64::from(u8::from(random.unit() < 0.01)),
                "equal" => base[k],
                // Every row on one line through a point that is not the origin.
                "line" => offsets[k] + base[k] * f64::from(i as u32),
                _ => x,
            } as f32;
        }
    }
    let mut case = Case { family, n, f, d, byzantine, data };
    if family == "duplicates" {
        for i in (1..n).step_by(2) {
            let copy = case.row(i - 1).to_vec();
            case.row_mut(i).copy_from_slice(&copy);
        }
    }
    attack(&mut case);
    case
}

/// Overwrites the Byzantine rows in the families that are attacks.
fn attack(case: &mut Case) {
    let honest = case.honest();
    let m = honest.len() as f64;
    for k in 0..case.d {
        let values: Vec<f64> = honest.iter().map(|&i| f64::from(case.data[i * case.d + k])).collect();
        let mean = values.iter().sum::<f64>() / m;
        let std = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (m - 1.0).max(1.0)).sqrt();
        for (at, &i) in case.byzantine.iter().enumerate() {
            let x = &mut case.data[i * case.d + k];
            match case.family {
                "alie" => *x = (mean - 1.5 * std) as f32,
                "foe" => *x = (-0.1 * mean) as f32,
                "far 1e12" => *x *= 1e12,
                "far 1e30" => *x *= 1e30,
                "tiny" => *x *= if at % 2 == 0 { 1e-20 } else { 1e-44 },
                "huge" => *x = if (at + k) % 2 == 0 { 3.2e38 } else { -3.2e38 },
                _ => {}
            }
        }
    }
}

#[test]
fn families_are_what_they_say() {
    for family in NAMES {
        let case = make(family, 8, 3, 65, 1);
        assert_eq!(case.data, make(family, 8, 3, 65, 1).data, "{family} is seeded");
        assert_eq!((case.data.len(), case.byzantine.len()), (8 * 65, 3));
        assert!(case.data.iter().all(|v| v.is_finite()), "{family} is finite");
        let distinct = (1..8).any(|i| case.row(i) != case.row(0));
        assert_eq!(distinct, family != "equal", "{family}");
        assert!(case.data.iter().any(|v| *v < 0.0) && case.data.iter().any(|v| *v > 0.0), "{family} has both signs");
    }
}
