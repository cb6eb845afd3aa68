//! Combine momentums that other programs wrote: one `.npy` file a worker, little-endian f32 in one dimension, as
//! `numpy.save(path, momentum.astype("<f4").ravel())` writes them.
//!
//! `cargo run --release --example aggregate_files -- RULE F WORKER0.npy WORKER1.npy ...` prints the first values of the
//! aggregate and who was kept. (`resam aggregate` does the same and more, streaming files larger than memory.)

use std::{env, error::Error, fs};

use resam::{Engine, Rows, Spec};

/// The values of a `.npy` file of format 1.0: magic, version, length of the header, header, data.
fn momentum(path: &str) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = fs::read(path)?;
    let header = match bytes.strip_prefix(b"\x93NUMPY\x01\x00") {
        Some([a, b, rest @ ..]) => rest.get(..u16::from_le_bytes([*a, *b]).into()),
        _ => None,
    };
    let header = header.filter(|header| String::from_utf8_lossy(header).contains("'descr': '<f4'"));
    let start = 10 + header.ok_or_else(|| format!("{path} is no .npy file of little-endian f32"))?.len();
    match bytes[start..].as_chunks() {
        (values, []) => Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect()),
        _ => Err(format!("{path} is truncated").into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [rule, f, paths @ ..] = &arguments[..] else { return Err("give a rule, f, and one .npy file a worker".into()) };
    let spec: Spec = rule.parse()?;
    let momentums = paths.iter().map(|path| momentum(path)).collect::<Result<Vec<_>, _>>()?;
    let rows = Rows::from_vecs(&momentums)?;
    let result = Engine::open_blocking("auto")?.aggregate_blocking(spec.rule(), &rows, spec.f_or(f.parse()?))?;
    println!("{} of {} rows of {}: {:?} ...", rule, rows.n(), rows.d(), &result.values[..rows.d().min(5)]);
    if let Some(kept) = result.report.kept {
        println!("kept rows: {kept:?}");
    }
    Ok(())
}
