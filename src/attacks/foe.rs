//! Fall of Empires.

use super::{Attack, AttackError, Entry, Scene, narrow};

pub(super) const ENTRY: Entry =
    Entry { name: "foe", aliases: &[], title: "Fall of empires", parameter: Some(("nu", 1.1)), build: |nu| Box::new(Foe { nu }) };

/// FOE, also called inner-product manipulation: (1 − ν)·ḡ.
///
/// It targets the sign of ⟨R, ḡ⟩: an aggregate R with a negative inner product climbs the loss. A ν just over 1 is a
/// short row that points backwards, near the honest rows when their noise is larger than ḡ. Averaging n rows of which
/// f attack gives (1 − νf/n)·ḡ: slower for ν < n/f, backwards beyond it.
///
/// Source: Xie, Koyejo, Gupta, "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation",
/// UAI 2019, whose −ε·ḡ is ε = ν − 1.
#[derive(Clone, Copy, Debug)]
pub struct Foe {
    /// Distance from ḡ in units of its length, backwards; 1.1 by default.
    pub nu: f64,
}

impl Default for Foe {
    fn default() -> Self {
        Self { nu: 1.1 }
    }
}

impl Attack for Foe {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn description(&self) -> String {
        format!("(1 − {})·mean of the honest rows", self.nu)
    }

    fn row(&self, scene: &Scene) -> Result<Vec<f32>, AttackError> {
        Ok(narrow(scene.mean().iter().map(|m| (1.0 - self.nu) * m)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_example() {
        let honest: [&[f32]; 2] = [&[1.0, -20.0], &[3.0, -60.0]];
        let scene = Scene::new(&honest, 1).unwrap();
        assert_eq!(Foe::default().row(&scene).unwrap(), [-0.2, 4.0]);
        assert_eq!(Foe { nu: 3.0 }.row(&scene).unwrap(), [-4.0, 80.0]);
    }
}
