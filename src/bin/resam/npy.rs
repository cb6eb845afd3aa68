//! The `.npy` format, versions 1.0 to 3.0: `\x93NUMPY`, the version, the length of the header, and the header: a Python
//! dictionary such as `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`. The data follow.

use std::ops::Range;

/// How every file begins.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header taken, as in numpy: one of a plain matrix has some 118 bytes.
const MAX_HEADER: usize = 10_000;

/// What a header says.
#[derive(Debug, PartialEq)]
pub(crate) struct Header {
    /// Type of a value, e.g. `<f4`.
    pub(crate) descr: String,
    /// Column after column instead of row after row.
    pub(crate) fortran_order: bool,
    /// Length of each dimension.
    pub(crate) shape: Vec<usize>,
    /// Where in the file the data lie: from the end of the header to the end of the file.
    pub(crate) data: Range<usize>,
}

/// Reads the header of a file that begins with [`MAGIC`].
pub(crate) fn header(file: &[u8]) -> Result<Header, String> {
    const SHORT: &str = "truncated: it ends within its header";
    let after = file.get(MAGIC.len()..).ok_or(SHORT)?;
    let (length, start) = match *after {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), 4),
        [2 | 3, _, a, b, c, d, ..] => (usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX), 6),
        [0 | 4.., ..] => return Err(format!("version {} of the .npy format is unknown", after[0])),
        _ => return Err(SHORT.into()),
    };
    if length > MAX_HEADER {
        return Err(format!("its header claims {length} bytes; a matrix needs no more than {MAX_HEADER}"));
    }
    let text = after.get(start..start + length).ok_or(SHORT)?;
    let text = std::str::from_utf8(text).map_err(|_| "its header is no text")?;
    let (descr, fortran_order, shape) = Literal(text).dictionary()?;
    Ok(Header { descr, fortran_order, shape, data: MAGIC.len() + start + length..file.len() })
}

/// The beginning of a file that holds `d` values of little-endian f32: its length is a multiple of 64, as numpy's.
pub(crate) fn preamble(d: usize) -> Vec<u8> {
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({d},), }}");
    let width = (MAGIC.len() + 4 + text.len() + 1).next_multiple_of(64) - MAGIC.len() - 4;
    let length = u16::try_from(width).expect("a header with one number is short");
    [MAGIC, &[1, 0], &length.to_le_bytes(), format!("{text:<0$}\n", width - 1).as_bytes()].concat()
}

/// What is left of a Python literal: a strict reader of the one form a header has.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    /// The three entries in any order, each once, and nothing after them.
    fn dictionary(&mut self) -> Result<(String, bool, Vec<usize>), String> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect("{")?;
        while !self.take("}") {
            let key = self.string()?;
            self.expect(":")?;
            let again = match key {
                "descr" if self.0.trim_start().starts_with('[') => return Err("it holds records, not plain numbers".into()),
                "descr" => descr.replace(self.string()?.to_string()).is_some(),
                "fortran_order" => fortran_order.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.tuple()?).is_some(),
                _ => return self.bad("no other key"),
            };
            if again {
                return self.bad("each key once");
            }
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        if !self.0.trim().is_empty() {
            return self.bad("nothing more");
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok((descr, fortran_order, shape)),
            _ => self.bad("descr, fortran_order and shape"),
        }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.take("\"") { '"' } else { self.expect("'").map(|()| '\'')? };
        let Some((text, rest)) = self.0.split_once(quote).filter(|(text, _)| !text.contains('\\')) else {
            return self.bad("a plain string");
        };
        self.0 = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        if self.take("True") { Ok(true) } else { self.expect("False").map(|()| false) }
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        let mut lengths = Vec::new();
        self.expect("(")?;
        while !self.take(")") {
            self.0 = self.0.trim_start();
            let (digits, rest) = self.0.split_at(self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len()));
            if digits.is_empty() {
                return self.bad("a length");
            }
            lengths.push(digits.parse().map_err(|_| format!("its shape has a length of {digits}, more than any memory"))?);
            self.0 = rest;
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(lengths)
    }

    /// Steps over `token` if it comes next.
    fn take(&mut self, token: &str) -> bool {
        let rest = self.0.trim_start().strip_prefix(token);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { self.bad(token) }
    }

    fn bad<T>(&self, wanted: &str) -> Result<T, String> {
        let found: String = self.0.trim_start().chars().take(20).collect();
        Err(format!("its header is malformed: expected {wanted} at '{}'", found.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Vec<u8> {
        [MAGIC, &[1, 0], &u16::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn headers_are_read_in_any_spelling_python_writes() {
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   \n",
            "{\"shape\":(3,4,),\"descr\":\"<f4\",\"fortran_order\":False}",
            " { 'fortran_order' : False , 'shape' : ( 3 , 4 ) , 'descr' : '<f4' } ",
        ] {
            let file = file(text);
            let expected = Header { descr: "<f4".into(), fortran_order: false, shape: vec![3, 4], data: file.len()..file.len() };
            assert_eq!(header(&file), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'shape': (3, 4)}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, -4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': [3, 4]}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)} or open('x')",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), 'more': 1}",
            "{'descr': '<f4\\'', 'fortran_order': False, 'shape': (3, 4)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 4)}",
        ] {
            assert!(header(&file(text)).is_err(), "{text}");
        }
        let whole = file("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}");
        (MAGIC.len()..whole.len()).for_each(|cut| assert!(header(&whole[..cut]).is_err(), "cut at {cut}"));
    }

    #[test]
    fn what_is_written_can_be_read() {
        for d in [0, 7, usize::MAX] {
            let file = preamble(d);
            assert_eq!(file.len() % 64, 0);
            assert_eq!(header(&file).unwrap().shape, [d]);
        }
    }
}
