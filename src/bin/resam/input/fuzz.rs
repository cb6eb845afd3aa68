//! Fuzz targets of the file readers. Whatever a file holds, they give the values that a slow reader of this module finds in it, or refuse
//! it in one line; and they take memory in proportion to the file, whatever its header claims.
//!
//! Inputs are random in every run; a failure prints its input, shrunk. `BOLERO_RANDOM_ITERATIONS` asks for more of them.

use super::{Data, vector};
use crate::failure::Failure;
use resam::{bf16, f16};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// n, d and the bits of the values.
type Matrix = (usize, usize, Vec<u32>);

/// What a slow reader finds in a file.
struct Slow<'a> {
    shape: Vec<u128>,
    /// `f`, `b` for bf16, `i` or `u`, and the bytes of a value.
    kind: (char, usize),
    bytes: &'a [u8],
}

impl<'a> Slow<'a> {
    fn new(file: &'a [u8], extension: &str) -> Option<Self> {
        let slow = if file.starts_with(b"\x93NUMPY") { Self::npy(file)? } else { Self::safetensors(file, extension)? };
        let values = slow.shape.iter().try_fold(1u128, |count, side| count.checked_mul(*side))?;
        (slow.bytes.len() as u128 == values.checked_mul(slow.kind.1 as u128)?).then_some(slow)
    }

    fn npy(file: &'a [u8]) -> Option<Self> {
        let wide = match file.get(6)? {
            1 => 2,
            2 | 3 => 4,
            _ => return None,
        };
        let length: usize = file.get(8..8 + wide)?.iter().rev().fold(0, |sum, byte| sum * 256 + usize::from(*byte));
        let text = std::str::from_utf8(file.get(8 + wide..)?.get(..length)?).ok().filter(|text| text.len() <= 10_000)?;
        let tokens = tokens(text)?;
        let [open, inside @ .., close] = &tokens[..] else { return None };
        let mut entries = BTreeMap::new();
        for entry in (open == "{" && close == "}").then(|| parts(inside))? {
            let [key, colon, value @ ..] = entry else { return None };
            if colon != ":" || entries.insert(key.as_str(), value).is_some() {
                return None;
            }
        }
        let ([descr], [order], shape, 3) =
            (*entries.get("'descr")?, *entries.get("'fortran_order")?, *entries.get("'shape")?, entries.len())
        else {
            return None;
        };
        let kind = match descr.as_str() {
            "'<f2" => ('f', 2),
            "'<f4" => ('f', 4),
            "'<f8" => ('f', 8),
            "'<i4" => ('i', 4),
            "'<i8" => ('i', 8),
            "'<u4" => ('u', 4),
            "'<u8" => ('u', 8),
            _ => return None,
        };
        let [open, inside @ .., close] = shape else { return None };
        let sides = (order == "False" && open == "(" && close == ")").then(|| parts(inside))?;
        let side = |tokens: &&[String]| match tokens {
            [digits] => digits.parse().ok(),
            _ => None,
        };
        Some(Self { shape: sides.iter().map(side).collect::<Option<_>>()?, kind, bytes: &file[8 + wide + length..] })
    }

    fn safetensors(file: &'a [u8], extension: &str) -> Option<Self> {
        let length = u64::from_le_bytes(*file.first_chunk()?);
        let text = file.get(8..)?.get(..usize::try_from(length).ok().filter(|length| *length <= 1 << 20)?)?;
        let header: serde_json::Value = serde_json::from_slice(text).ok().filter(|_| extension == "safetensors")?;
        let mut entries = header.as_object()?.clone();
        let notes = entries.remove("__metadata__");
        let sound = |notes: &serde_json::Value| {
            notes.is_null() || notes.as_object().is_some_and(|notes| notes.values().all(serde_json::Value::is_string))
        };
        let tensor = entries.values().next().filter(|_| notes.as_ref().is_none_or(sound) && entries.len() == 1)?;
        let kind = match tensor["dtype"].as_str()? {
            "F16" => ('f', 2),
            "BF16" => ('b', 2),
            "F32" => ('f', 4),
            "F64" => ('f', 8),
            "I32" => ('i', 4),
            "I64" => ('i', 8),
            "U32" => ('u', 4),
            "U64" => ('u', 8),
            _ => return None,
        };
        let numbers =
            |list: &serde_json::Value| list.as_array()?.iter().map(|v| v.as_u64().map(u128::from)).collect::<Option<Vec<_>>>();
        let bytes = &file[8 + text.len()..];
        let whole = numbers(&tensor["data_offsets"])? == [0, bytes.len() as u128];
        Some(Self { shape: numbers(&tensor["shape"]).filter(|_| whole)?, kind, bytes })
    }

    fn matrix(&self) -> Option<Matrix> {
        let [n @ 1..=65_536, d] = self.shape[..] else { return None };
        let values: Vec<u32> = match self.kind {
            ('f', 2) => self.bytes.chunks(2).map(|b| f16::from_le_bytes(b.try_into().unwrap()).to_f32().to_bits()).collect(),
            ('b', _) => self.bytes.chunks(2).map(|b| bf16::from_le_bytes(b.try_into().unwrap()).to_f32().to_bits()).collect(),
            ('f', 4) => self.bytes.chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect(),
            ('f', 8) => self.bytes.chunks(8).map(|b| (f64::from_le_bytes(b.try_into().unwrap()) as f32).to_bits()).collect(),
            _ => return None,
        };
        Some((n as usize, d as usize, values))
    }

    fn vector(&self) -> Option<Vec<u64>> {
        let value = |bytes: &[u8]| {
            let number = bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            match self.kind {
                ('f', 2) => f16::from_bits(number as u16).to_f64(),
                ('b', _) => bf16::from_bits(number as u16).to_f64(),
                ('f', 4) => f64::from(f32::from_bits(number as u32)),
                ('f', _) => f64::from_bits(number),
                ('i', 4) => f64::from(number as u32 as i32),
                ('i', _) => number as i64 as f64,
                _ => number as f64,
            }
        };
        let list = self.shape.iter().filter(|side| **side != 1).count() <= 1;
        list.then(|| self.bytes.chunks(self.kind.1).map(|bytes| value(bytes).to_bits()).collect())
    }
}

/// Words, numbers, signs, and strings after a `'`.
fn tokens(text: &str) -> Option<Vec<String>> {
    let mut tokens: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' || c == '"' {
            let mut string = String::from("'");
            loop {
                match chars.next()? {
                    '\\' => return None,
                    end if end == c => break,
                    inside => string.push(inside),
                }
            }
            tokens.push(string);
        } else if c.is_ascii_alphanumeric() {
            let mut word = String::from(c);
            while let Some(more) = chars.next_if(char::is_ascii_alphanumeric) {
                word.push(more);
            }
            tokens.push(word);
        } else if !c.is_whitespace() {
            tokens.push(c.into());
        }
    }
    Some(tokens)
}

/// What stands between commas that are in no parentheses; nothing need follow the last.
fn parts(tokens: &[String]) -> Vec<&[String]> {
    let mut depth = 0;
    let mut parts: Vec<&[String]> = tokens
        .split(|token| {
            depth += i32::from(token == "(") - i32::from(token == ")");
            token == "," && depth == 0
        })
        .collect();
    parts.pop_if(|last| last.is_empty());
    parts
}

type ReadMatrix<'a> = &'a dyn Fn(&Path) -> Result<Data, Failure>;
type ReadList<'a> = &'a dyn Fn(&Path) -> Result<Vec<f64>, Failure>;

/// The readers, as they are or broken on purpose.
struct Readers<'a> {
    matrix: ReadMatrix<'a>,
    vector: ReadList<'a>,
}

const READERS: Readers<'_> = Readers { matrix: &Data::open, vector: &vector };

impl Readers<'_> {
    /// Is a file read as the slow reader reads it, and with memory in proportion? True when it holds a matrix.
    fn examine(&self, folder: &Path, file: &[u8], extension: &str) -> Result<bool, String> {
        let path = folder.join(format!("in.{extension}"));
        fs::write(&path, file).map_err(|e| e.to_string())?;
        let slow = Slow::new(file, extension);
        let (mut matrix, mut list) = (None, None);
        let taken = allocation_counter::measure(|| matrix = Some((self.matrix)(&path))).bytes_max;
        let taken = taken.max(allocation_counter::measure(|| list = Some((self.vector)(&path))).bytes_max);
        if taken > 8 * file.len() as u64 + (64 << 10) {
            return Err(format!("{taken} bytes taken for a file of {}", file.len()));
        }
        let bits = |data: Data| {
            data.rows().map(|rows| {
                (rows.n(), rows.d(), rows.iter().flat_map(|row| row.into_owned()).map(f32::to_bits).collect::<Vec<_>>())
            })
        };
        let matrix = matrix.expect("measured").and_then(bits);
        let list = list.expect("measured").map(|list| list.into_iter().map(f64::to_bits).collect::<Vec<_>>());
        same("matrix", &matrix, slow.as_ref().and_then(Slow::matrix))?;
        same("list", &list, slow.as_ref().and_then(Slow::vector))?;
        Ok(matrix.is_ok())
    }
}

/// Equal values, or a refusal in one line of what the slow reader refuses as well.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &Result<T, Failure>, slow: Option<T>) -> Result<(), String> {
    match (got, slow) {
        (Ok(got), Some(slow)) if *got == slow => Ok(()),
        (Err(failure), None) if failure.to_string().lines().count() == 1 => Ok(()),
        (got, slow) => Err(format!("{what}: {got:?}, but the slow reader: {slow:?}")),
    }
}

/// Sides of a shape: small ones, the last number of rows, and some that overflow alone or multiplied.
const SIDES: &[&str] = &["0", "1", "2", "3", "4", "5", "12", "65536", "65537", "-1", "1.5", "4294967296"];
const ENDS: &[&str] =
    &["9223372036854775808", "18446744073709551615", "18446744073709551616", "99999999999999999999999999999999999999999"];

/// A file that is sound or lies about one thing or several.
fn compose(recipe: &[u8; 14]) -> (Vec<u8>, &'static str) {
    let [format, dimensions, a, b, c, kind, order, data, claim, spaces, version, seed, end, how] = recipe.map(usize::from);
    let side = |at: usize| match at % 16 {
        0 if end % 4 == 0 => ENDS[at / 16 % ENDS.len()],
        1 => SIDES[at / 16 % SIDES.len()],
        _ => SIDES[1 + at / 16 % 6],
    };
    let dimensions = if dimensions % 4 == 0 { dimensions / 4 % 4 } else { 2 };
    let sides = [side(a), side(b), side(c)][..dimensions].join(", ");
    let numpy = format % 2 == 0;
    let kinds = ["<f4", "<f8", "<i4", "<i8", "<u4", "<u8", ">f4", "|O", "<f2"];
    let dtypes = ["F32", "F64", "I32", "I64", "U32", "U64", "f32", "BOOL", ["F16", "BF16"][how % 2]];
    let kind = if kind % 4 == 0 { kind / 4 % kinds.len() } else { [0, 1, 8][kind % 3] };
    let width = match kind {
        8 => 2,
        _ => [4, 8][kind % 2],
    };
    let count = [a, b, c][..dimensions].iter().try_fold(1usize, |count, at| count.checked_mul(side(*at).parse().ok()?));
    let needed = count.and_then(|count| count.checked_mul(width)).filter(|bytes| *bytes <= 1 << 20).unwrap_or(48);
    let held = match data % 16 {
        0 => needed.saturating_sub(data / 16),
        1 => needed + data / 16,
        _ => needed,
    };
    let mut random = fastrand::Rng::with_seed(seed as u64);
    // Any bits, or values that f32 can hold.
    let mut value = || if random.bool() { random.u64(..) } else { (1e3 * (random.f64() - 0.5)).to_bits() };
    let values: Vec<u8> = (0..held.div_ceil(8)).flat_map(|_| value().to_le_bytes()).take(held).collect();
    let text = if numpy {
        let order = if order % 16 == 0 { "True" } else { "False" };
        let comma = if dimensions == 1 || how % 8 == 0 { "," } else { "" };
        format!("{{'descr': '{}', 'fortran_order': {order}, 'shape': ({sides}{comma}), }}", kinds[kind])
    } else {
        let offsets = match order % 16 {
            0 => format!("{held}, 0"),
            1 => format!("0, {}", ENDS[order / 16 % ENDS.len()]),
            2 => format!("{}, {held}", order / 16),
            3 => format!("0, {needed}"),
            _ => format!("0, {held}"),
        };
        let more = [
            "",
            r#","__metadata__":{"a":"b"}"#,
            r#","__metadata__":{"a":1}"#,
            r#","x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#,
        ];
        let more = if how % 8 == 0 { more[how / 8 % more.len()] } else { "" };
        format!(r#"{{"m":{{"dtype":"{}","shape":[{sides}],"data_offsets":[{offsets}]}}{more}}}"#, dtypes[kind])
    };
    let text = text + &" ".repeat(spaces % 80);
    let length = match claim % 16 {
        0 => (text.len() as u64).wrapping_add(claim as u64 / 16).wrapping_sub(8),
        1 => u64::MAX >> (claim / 16 * 4),
        _ => text.len() as u64,
    };
    let head = match version % 16 {
        _ if !numpy => length.to_le_bytes().to_vec(),
        0 => [&b"\x93NUMPY"[..], &[(version / 16) as u8, 0], &(length as u16).to_le_bytes()].concat(),
        1..8 => [&b"\x93NUMPY"[..], &[2 + (version % 2) as u8, 0], &(length as u32).to_le_bytes()].concat(),
        _ => [&b"\x93NUMPY"[..], &[1, 0], &(length as u16).to_le_bytes()].concat(),
    };
    let extension = if how % 32 == 9 {
        "bin"
    } else if numpy {
        "npy"
    } else {
        "safetensors"
    };
    ([&head, text.as_bytes(), &values].concat(), extension)
}

/// The file with some bytes overwritten, mostly in its header, and a part of it cut off.
fn damage(mut file: Vec<u8>, edits: &[(u8, u8)], cut: u16) -> Vec<u8> {
    const SIGNS: &[u8] = b"0123456789(){}[],:'\"-<>fF T\\\n";
    for (at, byte) in edits {
        let at = usize::from(*at) % file.len();
        file[at] = if byte % 2 == 0 { SIGNS[usize::from(*byte) / 2 % SIGNS.len()] } else { *byte };
    }
    if cut.is_multiple_of(4) {
        file.truncate(usize::from(cut) % (file.len() + 1));
    }
    file
}

fn inputs(default: usize) -> usize {
    std::env::var("BOLERO_RANDOM_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn any_bytes() {
    let folder = tempfile::tempdir().unwrap();
    bolero::check!().with_iterations(inputs(3000)).with_max_len(300).for_each(|bytes: &[u8]| {
        for (extension, start) in
            [("npy", &b""[..]), ("npy", b"\x93NUMPY\x01\x00\x40\x00{'descr':"), ("safetensors", b"\x40\0\0\0\0\0\0\0{")]
        {
            let file = [start, bytes].concat();
            READERS.examine(folder.path(), &file, extension).unwrap_or_else(|e| panic!("{e}\n{}", file.escape_ascii()));
        }
    });
}

#[test]
fn headers_that_lie() {
    let folder = tempfile::tempdir().unwrap();
    bolero::check!().with_iterations(inputs(6000)).with_type::<[u8; 14]>().for_each(|recipe| {
        let (file, extension) = compose(recipe);
        READERS.examine(folder.path(), &file, extension).unwrap_or_else(|e| panic!("{extension}: {e}\n{}", file.escape_ascii()));
    });
}

#[test]
fn damaged_files() {
    let folder = tempfile::tempdir().unwrap();
    bolero::check!().with_iterations(inputs(6000)).with_type::<([u8; 14], [(u8, u8); 2], u16)>().for_each(
        |(recipe, edits, cut)| {
            let (file, extension) = compose(recipe);
            let file = damage(file, edits, *cut);
            READERS
                .examine(folder.path(), &file, extension)
                .unwrap_or_else(|e| panic!("{extension}: {e}\n{}", file.escape_ascii()));
        },
    );
}

/// Of the files made here many are read, and many are not.
#[test]
fn many_are_read() {
    let (folder, mut random) = (tempfile::tempdir().unwrap(), fastrand::Rng::with_seed(1));
    let mut read = BTreeMap::new();
    for _ in 0..4000 {
        let (file, extension) = compose(&std::array::from_fn(|_| random.u8(..)));
        *read.entry(extension).or_insert(0) += i32::from(READERS.examine(folder.path(), &file, extension).unwrap());
    }
    assert!((300..1700).contains(&read["npy"]) && (300..1700).contains(&read["safetensors"]) && read["bin"] > 0, "{read:?}");
}

#[test]
fn what_is_wrong_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (file, extension) = compose(&[0, 1, 34, 50, 0, 2, 1, 2, 2, 0, 8, 7, 1, 1]);
    assert_eq!(READERS.examine(folder.path(), &file, extension), Ok(true));
    let noticed = |file: &[u8], matrix: ReadMatrix<'_>, vector: ReadList<'_>| {
        Readers { matrix, vector }.examine(folder.path(), file, extension).is_err()
    };
    // Another file's values, its shape the wrong way round, memory for what the header claims, a truncated file taken, a sound one refused.
    let other = folder.path().join("other.npy");
    let mut changed = file.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&other, &changed).unwrap();
    assert!(noticed(&file, &|_| Data::open(&other), &vector));
    assert!(noticed(&file, &|path| Data::open(path).map(|data| Data { n: data.d, d: data.n, ..data }), &vector));
    assert!(noticed(&file, &|path| Data::open(path).inspect(|_| drop(std::hint::black_box(vec![1u8; 1 << 20]))), &vector));
    assert!(noticed(&file[..file.len() - 1], &|_| Data::open(&other), &vector));
    assert!(noticed(&file, &|path| Err(Failure::file(path, "no")), &vector));
    assert!(noticed(&file, &Data::open, &|_| Ok(vec![1.0])));
    assert!(!noticed(&file, &Data::open, &vector));
}
