//! The one error of the command: a line for standard error. Every failure exits with 2.

use clap::error::ErrorKind;
use std::fmt::{self, Display};
use std::path::Path;

/// Why the command stops, in one line.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure in words.
    pub(crate) fn new(what: impl Display) -> Self {
        Self(what.to_string())
    }

    /// A failure that concerns a file.
    pub(crate) fn file(path: &Path, what: impl Display) -> Self {
        Self(format!("{}: {what}", path.display()))
    }
}

impl Display for Failure {
    /// One line, whatever a driver's message or a file's name contains.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line: Vec<&str> = self.0.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        line.join(" ")
            .chars()
            .try_for_each(|c| if c.is_control() { write!(out, "{}", c.escape_default()) } else { write!(out, "{c}") })
    }
}

impl std::error::Error for Failure {}

impl From<resam::Error> for Failure {
    fn from(e: resam::Error) -> Self {
        Self::new(e)
    }
}

impl From<clap::Error> for Failure {
    /// What is wrong and clap's tip; the usage is left to `--help`.
    fn from(e: clap::Error) -> Self {
        let text = e.to_string();
        let parts = text.split("\n\n").take_while(|p| !p.starts_with("Usage:") && !p.starts_with("For more information"));
        let what: Vec<String> = parts.map(|p| p.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let mut what = what.join("; ");
        for (rust, words) in UNSIGNED {
            what = what.replace(rust, words);
        }
        Self(format!("{} (see --help)", what.strip_prefix("error: ").unwrap_or(&what)))
    }
}

/// What the standard library says of text that is no number without a sign, and what a user would.
const UNSIGNED: [(&str, &str); 2] = [
    ("invalid digit found in string", "not a whole number of at least 0"),
    ("number would be zero for non-zero type", "not a whole number of at least 1"),
];

/// True when clap's "error" is help or the version, which clap prints and exits for itself.
pub(crate) fn is_help(e: &clap::Error) -> bool {
    let help = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
    help.contains(&e.kind())
}
