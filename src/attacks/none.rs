//! No attack: the attack-free run that every figure compares with.

use super::{Attack, AttackError, Entry, Scene, narrow};

pub(super) const ENTRY: Entry =
    Entry { name: "none", aliases: &[], title: "No attack", parameters: "", build: |_| Ok(Box::new(NoAttack)) };

/// All n workers are honest, though the rule still guards against f.
///
/// [`attackers`](Attack::attackers) is 0, so a training loop never asks for a row; who asks all the same gets ḡ, the
/// mean of the honest rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAttack;

impl Attack for NoAttack {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn description(&self) -> String {
        "all n workers are honest".into()
    }

    fn attackers(&self, _f: usize) -> usize {
        0
    }

    fn row(&mut self, scene: &Scene) -> Result<Option<Vec<f32>>, AttackError> {
        Ok(Some(narrow(scene.mean()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_attacks() {
        assert_eq!(NoAttack.attackers(3), 0);
        let honest: [&[f32]; 2] = [&[1.0, -2.0], &[3.0, 6.0]];
        assert_eq!(NoAttack.row(&Scene::new(&honest, 3).unwrap()).unwrap().unwrap(), [2.0, 2.0]);
    }
}
