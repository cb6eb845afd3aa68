//! Words on standard output and standard error.

use crate::failure::Failure;
use resam::Parameter;
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::new(format_args!("standard output: {e}"))),
        _ => Ok(()),
    }
}

/// A JSON value and a newline on standard output.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    out(&format!("{value:#}\n"))
}

/// One line on standard error, if anyone listens.
pub(crate) fn note(what: impl Display) {
    let _ = writeln!(std::io::stderr(), "resam: {what}");
}

/// Rows of cells in aligned columns, each as wide as its widest cell; the last column is free.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(|column| if column + 1 < N { width(column) } else { 0 });
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_string() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Names, and their definitions and what they take below them, for help texts.
pub(crate) fn definitions(rows: impl Iterator<Item = (&'static str, Vec<Parameter>, &'static str)>) -> String {
    let mut text = String::new();
    for (name, parameters, definition) in rows {
        text += &format!("  {name}\n");
        wrapped(&mut text, "      ", definition);
        for Parameter { name, meaning } in parameters {
            wrapped(&mut text, "        ", &format!("{name}: {}", meaning.replace('`', "")));
        }
    }
    text
}

/// Lines of words behind an indent.
fn wrapped(text: &mut String, indent: &str, words: &str) {
    const WIDTH: usize = 78;
    let mut line = String::from(indent);
    for word in words.split(' ') {
        if line.len() + word.len() > WIDTH {
            *text += &format!("{}\n", line.trim_end());
            line = String::from(indent);
        }
        line += &format!("{word} ");
    }
    *text += &format!("{}\n", line.trim_end());
}

/// The same as a Markdown table; the first row is its head.
pub(crate) fn markdown<const N: usize>(rows: &[[String; N]]) -> String {
    let mut lines: Vec<String> = rows.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect();
    lines.insert(1.min(lines.len()), format!("|{}\n", "---|".repeat(N)));
    lines.concat()
}

/// Six digits, with an exponent only where they are not enough.
pub(crate) fn number(x: f64) -> String {
    if x == 0.0 || (1e-4..1e7).contains(&x.abs()) { format!("{x:.6}") } else { format!("{x:.5e}") }
}

/// The first few of a list.
pub(crate) fn some<T: Display>(items: impl ExactSizeIterator<Item = T>) -> String {
    const FEW: usize = 12;
    let count = items.len();
    let mut text: Vec<String> = items.take(FEW).map(|i| i.to_string()).collect();
    if count > FEW {
        text.push(format!("... ({count} in all)"));
    }
    text.join(" ")
}
