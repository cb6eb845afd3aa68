//! Resilience coefficients: how far an aggregate can be from the mean of the honest rows.
//!
//! (f, λ)-resilient averaging (Farhadkhani et al., ICML 2022): ‖F(x) − mean_S‖ ≤ λ · max_{i,j∈S} ‖x_i − x_j‖ for every set S of
//! n − f rows. (f, κ)-robustness (Allouah et al., AISTATS 2023): ‖F(x) − mean_S‖² ≤ κ · (1/|S|) Σ_S ‖x_i − mean_S‖².
//!
//! **The mean of the n − f rows that are closest together** (MVA by their variance, which is that mean of squares; SMEA by their variance along the
//! direction in which it is greatest) has κ = 4f/(n−2f). Proof: any S shares at least n − 2f rows with the set M that is kept, a part
//! α ≥ (n−2f)/(n−f) of each. In every direction the mean of a part α of a set is within √((1−α)/α) ≤ √(f/(n−2f)) standard deviations of the
//! set's mean, and the deviation of M is no greater than that of S: so the means of M and S are within 2√(f/(n−2f)) standard deviations of S.

/// How well a coefficient is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Status {
    /// A short proof is known to us, and an adversarial search found nothing above it.
    Proved,
    /// Stated in the literature; our adversarial search found nothing above it.
    Published,
}

/// A resilience coefficient of a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Resilience {
    /// A finite coefficient.
    Bound {
        /// Its value.
        value: f64,
        /// How well it is known.
        status: Status,
        /// Where it is from.
        source: &'static str,
    },
    /// There is none: an input exists for which no finite value holds.
    Unbounded {
        /// That input, in words.
        why: &'static str,
    },
    /// None is known to us.
    Unknown,
}

/// Where the coefficients of the RESAM paper's rules are from.
pub(crate) const RESAM: &str = "Farhadkhani et al., ICML 2022";
/// Where (f, κ)-robustness is from.
pub(crate) const NNM: &str = "Allouah et al., AISTATS 2023";

impl Resilience {
    /// A proved bound.
    pub fn proved(value: f64, source: &'static str) -> Self {
        Self::Bound { value, status: Status::Proved, source }
    }

    /// A published bound.
    pub fn published(value: f64, source: &'static str) -> Self {
        Self::Bound { value, status: Status::Published, source }
    }

    /// The value, if there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Bound { value, .. } => Some(*value),
            _ => None,
        }
    }

    /// κ = 2λ²(n − f).
    #[must_use]
    pub fn kappa_from_lambda(self, n: usize, f: usize) -> Self {
        self.map(|lambda| 2.0 * lambda * lambda * (n - f) as f64)
    }

    /// λ = √(κ/2).
    #[must_use]
    pub fn lambda_from_kappa(self) -> Self {
        self.map(|kappa| (kappa / 2.0).sqrt())
    }

    /// Another coefficient that follows from this one.
    #[must_use]
    pub fn map(self, to: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Bound { value, status, source } => Self::Bound { value: to(value), status, source },
            other => other,
        }
    }
}

/// E‖m_i − m_j‖² ≤ 2σ²(1−β)/(1+β): how far momentums of two honest workers whose gradients have variance σ² are from each
/// other, once they have settled.
pub fn momentum_noise(beta: f64, sigma2: f64) -> f64 {
    2.0 * sigma2 * (1.0 - beta) / (1.0 + beta)
}

/// κ of nearest-neighbor mixing before a rule of this κ: 8f/(n−f) · (κ + 1).
pub fn kappa_after_nnm(kappa: f64, n: usize, f: usize) -> f64 {
    8.0 * f as f64 / (n - f) as f64 * (kappa + 1.0)
}

/// κ of the mean of the n − f rows that are closest together.
pub(crate) fn kappa_of_the_closest(n: usize, f: usize) -> Resilience {
    Resilience::proved(
        4.0 * f as f64 / (n - 2 * f) as f64,
        "any n - f rows share n - 2f with those kept: proof in the documentation of resam::resilience",
    )
}

/// Δ = min{2√(n−f), √d}: what rules pay for looking at one coordinate at a time.
pub(crate) fn coordinate_factor(n: usize, f: usize, d: usize) -> f64 {
    (2.0 * ((n - f) as f64).sqrt()).min((d as f64).sqrt())
}

/// φ = (n−f)/(n−2f).
pub(crate) fn honest_ratio(n: usize, f: usize) -> f64 {
    (n - f) as f64 / (n - 2 * f) as f64
}
