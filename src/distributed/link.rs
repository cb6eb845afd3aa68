//! Ranks that go on together or not at all.

use super::transport::Transport;
use crate::engines::exact_sum::{ExactSum, WORDS};
use crate::error::{Error, Result};
use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hasher};

/// One call's use of a transport. Before ranks exchange anything they make sure that all of them were asked the same and that none of them
/// has failed; otherwise all get the same error, and nothing more is sent.
pub(crate) struct Link<'t> {
    transport: &'t dyn Transport,
    /// The error that every rank has, or that of the transport.
    failed: Option<Error>,
}

/// Bytes of a question that are worth showing.
const SHOWN: usize = 500;

/// What a rank was asked, and a digest of it.
struct Question {
    digest: DefaultHasher,
    text: String,
}

impl Question {
    fn new(question: &dyn Debug) -> Self {
        let mut new = Self { digest: DefaultHasher::new(), text: String::new() };
        write!(new, "{question:?}").expect("writing to memory does not fail");
        new
    }
}

impl Write for Question {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.digest.write(text.as_bytes());
        if self.text.len() + text.len() <= SHOWN {
            self.text.push_str(text);
        }
        Ok(())
    }
}

impl<'t> Link<'t> {
    pub(crate) fn new(transport: &'t dyn Transport) -> Self {
        Self { transport, failed: None }
    }

    pub(crate) fn rank(&self) -> usize {
        self.transport.rank()
    }

    pub(crate) fn ranks(&self) -> usize {
        self.transport.ranks()
    }

    /// `mine`, if all ranks were asked the same question and have an answer. Otherwise the same error on every rank: what all of them say, or
    /// what the first one said that failed.
    pub(crate) fn agree<V>(&mut self, question: &dyn Debug, mine: Result<V>) -> Result<V> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let question = Question::new(question);
        let text = mine.as_ref().err().map_or(question.text, Error::to_string);
        let state = [question.digest.finish(), u64::from(mine.is_err()), text.len() as u64];
        let states = self.gather_equal(&state)?;
        let failed = |state: &[u64]| state[1] != 0;
        let first_to_fail = states.iter().position(|state| failed(state));
        let first_to_differ = states.iter().position(|state| state[0] != states[0][0]);
        if first_to_fail.is_none() && first_to_differ.is_none() {
            return mine;
        }
        let lengths: Vec<usize> = states.iter().map(|state| state[2] as usize).collect();
        let texts = self.gather(text.as_bytes(), &lengths)?;
        let text = |rank: usize| String::from_utf8_lossy(&texts[rank]);
        let error = match (first_to_fail, first_to_differ, mine) {
            (Some(_), _, Err(error)) if states.iter().all(|s| failed(s)) && texts.iter().all(|t| *t == texts[0]) => error,
            (Some(rank), ..) => Error::Rank { rank, reason: text(rank).into_owned() },
            (None, rank, _) => {
                let rank = rank.unwrap_or_default();
                Error::Rank { rank, reason: format!("asked for {} where rank 0 was asked for {}", text(rank), text(0)) }
            }
        };
        self.fail(error)
    }

    /// What every rank has, so many of each.
    pub(crate) fn gather<V: bytemuck::Pod>(&mut self, mine: &[V], lengths: &[usize]) -> Result<Vec<Vec<V>>> {
        let mut all: Vec<Vec<V>> = lengths.iter().map(|length| vec![V::zeroed(); *length]).collect();
        let mut bytes: Vec<&mut [u8]> = all.iter_mut().map(|values| bytemuck::cast_slice_mut(values)).collect();
        self.gather_into(bytemuck::cast_slice(mine), &mut bytes)?;
        Ok(all)
    }

    /// What every rank has, equally many of each.
    pub(crate) fn gather_equal<V: bytemuck::Pod>(&mut self, mine: &[V]) -> Result<Vec<Vec<V>>> {
        self.gather(mine, &vec![mine.len(); self.ranks()])
    }

    /// What every rank has, into slices of the right lengths.
    pub(crate) fn gather_into(&mut self, mine: &[u8], all: &mut [&mut [u8]]) -> Result<()> {
        self.transport.all_gather(mine, all).or_else(|error| self.fail(error))
    }

    pub(crate) fn all_to_all(&mut self, outgoing: &[&[u8]], incoming: &mut [&mut [u8]]) -> Result<()> {
        self.transport.all_to_all(outgoing, incoming).or_else(|error| self.fail(error))
    }

    /// Sums over all ranks.
    pub(crate) fn sum(&mut self, values: &mut [i64]) -> Result<()> {
        self.transport.all_reduce(values).or_else(|error| self.fail(error))
    }

    /// Sums over all ranks, exact as they are.
    pub(crate) fn add(&mut self, sums: &mut [ExactSum]) -> Result<()> {
        let mut words: Vec<i64> = sums.iter().flat_map(ExactSum::words).collect();
        self.sum(&mut words)?;
        sums.iter_mut().zip(words.as_chunks::<WORDS>().0).for_each(|(sum, words)| *sum = ExactSum::of_words(words));
        Ok(())
    }

    /// The largest of all ranks' values.
    pub(crate) fn raise(&mut self, largest: &mut [u32]) -> Result<()> {
        for theirs in self.gather_equal(largest)? {
            largest.iter_mut().zip(theirs).for_each(|(a, b)| *a = (*a).max(b));
        }
        Ok(())
    }

    fn fail<V>(&mut self, error: Error) -> Result<V> {
        self.failed = Some(error.clone());
        Err(error)
    }
}
