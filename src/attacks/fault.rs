//! Faults: rows of one and the same value.

use super::{Attack, AttackError, Build, Entry, Scene};

pub(super) const NAN: Entry = entry("nan", "NaN", |_| Ok(Box::new(Fault::Nan)));
pub(super) const INF: Entry = entry("inf", "Infinity", |_| Ok(Box::new(Fault::Inf)));
pub(super) const ZERO: Entry = entry("zero", "Zero", |_| Ok(Box::new(Fault::Zero)));
pub(super) const HUGE: Entry = entry("huge", "Huge", |_| Ok(Box::new(Fault::Huge)));

const fn entry(name: &'static str, title: &'static str, build: Build) -> Entry {
    Entry { name, aliases: &[], title, parameters: "", build }
}

/// The same value in every coordinate: what a broken machine may send.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// NaN.
    Nan,
    /// +∞.
    Inf,
    /// 0.
    Zero,
    /// 3·10³⁸, just below the largest `f32`.
    Huge,
}

impl Fault {
    fn value(self) -> f32 {
        match self {
            Self::Nan => f32::NAN,
            Self::Inf => f32::INFINITY,
            Self::Zero => 0.0,
            Self::Huge => 3e38,
        }
    }
}

impl Attack for Fault {
    fn name(&self) -> &'static str {
        match self {
            Self::Nan => NAN.name,
            Self::Inf => INF.name,
            Self::Zero => ZERO.name,
            Self::Huge => HUGE.name,
        }
    }

    fn description(&self) -> String {
        format!("{:e} in every coordinate", self.value())
    }

    fn row(&mut self, scene: &Scene) -> Result<Option<Vec<f32>>, AttackError> {
        Ok(Some(vec![self.value(); scene.d()]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_name;
    use super::*;

    #[test]
    fn each_sends_its_value() {
        let honest: [&[f32]; 1] = [&[1.0, 2.0]];
        let row = |name| by_name(name).unwrap().row(&Scene::new(&honest, 1).unwrap()).unwrap().unwrap();
        assert!(row("nan").len() == 2 && row("nan").iter().all(|x| x.is_nan()));
        assert_eq!([row("inf"), row("zero"), row("huge")], [vec![f32::INFINITY; 2], vec![0.0; 2], vec![3e38; 2]]);
    }
}
