//! Fall of Empires, also called inner-product manipulation.

use super::{Attack, AttackError, Entry, Factor, Scene, narrow};
use crate::Error;

pub(super) const ENTRY: Entry = Entry {
    name: "foe",
    aliases: &["ipm"],
    title: "Fall of empires",
    parameters: "nu=NUMBER (default 1.1), nu=search, or tau=NUMBER for nu = 1 + tau",
    build: |parameters| {
        let nu = parameters.take("nu")?;
        let tau = parameters.take("tau")?.map(|tau| match tau {
            Factor::Fixed(tau) => Factor::Fixed(1.0 + tau),
            Factor::Search => Factor::Search,
        });
        match (nu, tau) {
            (Some(_), Some(_)) => Err(Error::spec("foe", "nu and tau = nu - 1 say the same: give one")),
            _ => Ok(Box::new(Foe { nu: nu.or(tau).unwrap_or(Foe::default().nu) })),
        }
    },
};

/// FOE, also called inner-product manipulation (IPM): (1 − ν)·ḡ.
///
/// It targets the sign of ⟨R, ḡ⟩: an aggregate R with a negative inner product climbs the loss. A ν just over 1 is a
/// short row that points backwards, near the honest rows when their noise is larger than ḡ. Averaging n rows of which
/// f attack gives (1 − νf/n)·ḡ: slower for ν < n/f, backwards beyond it.
///
/// Source: Xie, Koyejo, Gupta, "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation",
/// UAI 2019, whose −τ·ḡ is τ = ν − 1.
#[derive(Clone, Copy, Debug)]
pub struct Foe {
    /// Distance from ḡ in units of its length, backwards; 1.1 by default.
    pub nu: Factor,
}

impl Default for Foe {
    fn default() -> Self {
        Self { nu: Factor::Fixed(1.1) }
    }
}

impl Attack for Foe {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn description(&self) -> String {
        format!("(1 − {})·mean of the honest rows", self.nu)
    }

    fn row(&mut self, scene: &Scene) -> Result<Option<Vec<f32>>, AttackError> {
        let mean = scene.mean()?;
        self.nu.row(scene, |nu| narrow(mean.iter().map(|m| (1.0 - nu) * m))).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_name;
    use super::*;

    #[test]
    fn worked_example() {
        let honest: [&[f32]; 2] = [&[1.0, -20.0], &[3.0, -60.0]];
        let scene = Scene::new(&honest, 1).unwrap();
        for (spec, row) in [("foe", [-0.2, 4.0]), ("foe:nu=3", [-4.0, 80.0]), ("ipm:tau=2", [-4.0, 80.0])] {
            assert_eq!(by_name(spec).unwrap().row(&scene).unwrap().unwrap(), row, "{spec}");
        }
        for wrong in ["ipm:tau=nan", "ipm:tau=inf", "foe:nu=nan"] {
            assert!(by_name(wrong).unwrap_err().to_string().contains("finite"), "{wrong}");
        }
        assert!(by_name("foe:nu=3,tau=2").unwrap_err().to_string().contains("give one"));
    }

    #[test]
    fn the_search_finds_what_moves_the_rule_most() {
        // The rule takes the Byzantine row at its word while its factor is at most 5, and ignores it beyond.
        let honest: [&[f32]; 2] = [&[1.0, 0.0], &[1.0, 2.0]];
        let rule = |rows: &crate::Rows| {
            let last = rows.row(rows.n() - 1);
            Ok(if last[0] < -4.0 { vec![1.0, 1.0] } else { last.to_vec() })
        };
        let scene = Scene::new(&honest, 2).unwrap();
        let mut attack = Foe { nu: Factor::Search };
        assert!(attack.row(&scene).unwrap_err().to_string().contains("search"));
        let row = attack.row(&scene.with_rule(&rule)).unwrap().unwrap();
        assert!((-4.0..-3.5).contains(&row[0]), "{row:?}");
    }

    #[test]
    fn what_the_rule_refuses_is_not_chosen() {
        let honest: [&[f32]; 2] = [&[1.0, 0.0], &[1.0, 2.0]];
        let rule = |rows: &crate::Rows| match rows.row(2)[0] {
            x if x.abs() > 4.0 => Err("too far".into()),
            _ => Ok(rows.row(2).to_vec()),
        };
        let row = Foe { nu: Factor::Search }.row(&Scene::new(&honest, 1).unwrap().with_rule(&rule)).unwrap().unwrap();
        assert!((-4.0..-3.0).contains(&row[0]), "{row:?}");
        let lost = |_: &crate::Rows| Err(Error::Device { device: "gpu".into(), reason: "lost".into() }.into());
        let error = Foe { nu: Factor::Search }.row(&Scene::new(&honest, 1).unwrap().with_rule(&lost)).unwrap_err();
        assert!(error.to_string().contains("lost"), "{error}");
    }
}
