//! Values that begin with a cache line, so that no vector of them crosses one: loads that do take twice as long.

use std::ops::{Deref, DerefMut};

/// A value at the beginning of a cache line.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(align(64))]
pub(super) struct Aligned<T>(pub(super) T);

impl<T> Deref for Aligned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
