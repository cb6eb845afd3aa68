//! Sign flipping.

use super::{Attack, AttackError, Entry, Scene, narrow};

pub(super) const ENTRY: Entry =
    Entry { name: "sign_flip", aliases: &["sf"], title: "Sign flip", parameters: "", build: |_| Ok(Box::new(SignFlip)) };

/// SF: −ḡ, the honest mean turned around.
///
/// It targets averaging: f of n such rows scale the step by 1 − 2f/n. The row has an honest length, so rules that look
/// at norms alone do not see it.
///
/// Source: Allen-Zhu, Ebrahimianghazani, Li, Alistarh, "Byzantine-Resilient Non-Convex Stochastic Gradient Descent",
/// ICLR 2021.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignFlip;

impl Attack for SignFlip {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn description(&self) -> String {
        "−mean of the honest rows".into()
    }

    fn row(&mut self, scene: &Scene) -> Result<Option<Vec<f32>>, AttackError> {
        Ok(Some(narrow(scene.mean()?.iter().map(|m| -m))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_example() {
        let honest: [&[f32]; 3] = [&[1.0, -2.0], &[3.0, 6.0], &[5.0, -1.0]];
        assert_eq!(SignFlip.row(&Scene::new(&honest, 1).unwrap()).unwrap().unwrap(), [-3.0, -1.0]);
    }
}
