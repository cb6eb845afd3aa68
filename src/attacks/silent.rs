//! Silence.

use super::{Attack, AttackError, Entry, Scene};

pub(super) const ENTRY: Entry =
    Entry { name: "silent", aliases: &[], title: "Silent", parameters: "", build: |_| Ok(Box::new(Silent)) };

/// Silent: the Byzantine workers send nothing, as if they had crashed. The server knows who is absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Attack for Silent {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn description(&self) -> String {
        "nothing is sent".into()
    }

    fn row(&mut self, _scene: &Scene) -> Result<Option<Vec<f32>>, AttackError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent() {
        let honest: [&[f32]; 1] = [&[1.0]];
        assert_eq!(Silent.row(&Scene::new(&honest, 1).unwrap()).unwrap(), None);
    }
}
