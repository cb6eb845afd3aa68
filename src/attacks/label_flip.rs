//! Label flipping.

use super::{Attack, AttackError, Entry, Scene};

pub(super) const ENTRY: Entry =
    Entry { name: "label_flip", aliases: &["lf"], title: "Label flip", parameters: "", build: |_| Ok(Box::new(LabelFlip)) };

/// LF: the mean gradient of the honest workers' own batches with the labels (C − 1) − y, C the number of classes.
///
/// The training loop computes it, as [`Scene::flipped`], and sends it as it is, without momentum. It is data poisoning: no
/// value is out of range, and the workers may not even know that their data is wrong.
///
/// Source: Allen-Zhu, Ebrahimianghazani, Li, Alistarh, "Byzantine-Resilient Non-Convex Stochastic Gradient Descent",
/// ICLR 2021.
#[derive(Clone, Copy, Debug, Default)]
pub struct LabelFlip;

impl Attack for LabelFlip {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn description(&self) -> String {
        "mean gradient on the labels (C − 1) − y".into()
    }

    fn flips_labels(&self) -> bool {
        true
    }

    fn row(&mut self, scene: &Scene) -> Result<Option<Vec<f32>>, AttackError> {
        scene.flipped().map(|row| Some(row.to_vec())).ok_or(AttackError::FlippedMissing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_the_flipped_row_as_it_is() {
        let honest: [&[f32]; 1] = [&[1.0, 2.0]];
        let scene = Scene::new(&honest, 1).unwrap();
        assert!(matches!(LabelFlip.row(&scene), Err(AttackError::FlippedMissing)));
        assert_eq!(LabelFlip.row(&scene.with_flipped(&[-7.5, 0.1]).unwrap()).unwrap().unwrap(), [-7.5, 0.1]);
    }
}
