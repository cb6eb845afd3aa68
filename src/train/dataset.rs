//! Labelled examples in memory.

/// Examples of one classification task.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// The features of all examples, one row of [`inputs`](Self::inputs) values after the other.
    pub features: Vec<f32>,
    /// The label of each example, below [`classes`](Self::classes).
    pub labels: Vec<u8>,
    /// Number of features of one example.
    pub inputs: usize,
    /// C, the number of classes.
    pub classes: usize,
}

impl Dataset {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The examples at `indices`, in that order, repetitions included.
    ///
    /// # Panics
    /// If an index is not below [`len`](Self::len).
    pub fn select(&self, indices: impl IntoIterator<Item = usize>) -> Self {
        let mut chosen = Self { features: vec![], labels: vec![], ..*self };
        for i in indices {
            chosen.features.extend_from_slice(&self.features[i * self.inputs..(i + 1) * self.inputs]);
            chosen.labels.push(self.labels[i]);
        }
        chosen
    }

    /// The same examples with the labels (C − 1) − y.
    pub fn flipped(&self) -> Self {
        let last = (self.classes - 1) as u8;
        Self { labels: self.labels.iter().map(|y| last - y).collect(), ..self.clone() }
    }
}

/// Examples to learn from, and others to measure with.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Workers draw their mini-batches from these.
    pub train: Dataset,
    /// Accuracy is measured on these.
    pub test: Dataset,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_and_flip() {
        let data = Dataset { features: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], labels: vec![0, 1, 2], inputs: 2, classes: 3 };
        let chosen = data.select([2, 0, 2]);
        assert_eq!(chosen.features, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
        assert_eq!(chosen.labels, [2, 0, 2]);
        assert_eq!(chosen.flipped().labels, [0, 2, 0]);
        assert_eq!(chosen.flipped().flipped(), chosen);
    }
}
