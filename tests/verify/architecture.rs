//! The layers of the crate, read from its sources: rules name no engine, engines name no rule.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a folder (or the file itself) with that ending; none when the sources are not on this machine.
fn files(root: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(root)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("a readable folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// False, with a line that says so, on a machine that has the test binary but not the sources.
fn sources_are_here() -> bool {
    let here = Path::new("src").is_dir();
    if !here {
        eprintln!("SKIPPED (no sources here)");
    }
    here
}

/// Lines of code: without comments, and without unit tests: those at the end of a file, or a whole one of them.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a text file");
    let lines = text.lines().enumerate().take_while(|(_, line)| !matches!(*line, "#[cfg(test)]" | "#![cfg(test)]"));
    lines
        .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default().to_string()))
        .filter(|(_, line)| !line.trim().is_empty())
        .collect()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty())
}

/// Lines of these files that hold something they must not.
fn offences(paths: &[PathBuf], forbidden: impl Fn(&str) -> bool) -> Vec<String> {
    assert!(!paths.is_empty(), "no files to look at");
    let lines = paths.iter().flat_map(|path| code(path).into_iter().map(move |(at, line)| (path, at, line)));
    lines
        .filter(|(_, _, line)| forbidden(line))
        .map(|(path, at, line)| format!("{}:{at}: {}", path.display(), line.trim()))
        .collect()
}

/// May a rule's side of the crate hold this line?
fn names_an_engine(line: &str) -> bool {
    words(line).any(|w| ["wgpu", "Engine", "engine", "engines", "gpu", "pollster", "rayon"].contains(&w))
}

/// May an engine hold this line? A rule's name in quotes, a rule's type, or an import of one.
fn names_a_rule(line: &str) -> bool {
    let quoted = resam::rules::names().any(|name| line.contains(&format!("\"{name}\"")) || line.contains(&format!("\"{name}:")));
    let types: Vec<String> = resam::rules::all()
        .iter()
        .map(|rule| format!("{rule:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_string())
        .collect();
    // The median of a column is a place to centre on, too.
    let line = line.replace("Centre::Median", "").replace("About::Median", "");
    let declared = matches!(line.trim(), "Median {" | "Median { voters: usize },");
    quoted || !declared && words(&line).any(|w| types.iter().any(|t| t == w))
}

#[test]
fn rules_name_no_engine() {
    if !sources_are_here() {
        return;
    }
    let paths = ["src/rules", "src/solve", "src/plan.rs", "src/gram.rs"].map(|root| files(root, "rs")).concat();
    assert!(paths.len() >= 12);
    let found = offences(&paths, names_an_engine);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn engines_name_no_rule() {
    if !sources_are_here() {
        return;
    }
    let found = offences(&files("src/engines", "rs"), names_a_rule);
    assert!(found.is_empty(), "{found:#?}");
    for path in files("shaders", "wgsl") {
        let text = fs::read_to_string(&path).expect("a shader");
        assert!(!resam::rules::names().any(|name| text.contains(&format!("fn {name}("))), "{}", path.display());
    }
}

/// Only the folder of the GPU engine knows wgpu, and that of burn, whose tensors are there as well.
#[test]
fn wgpu_lives_in_one_folder() {
    if !sources_are_here() {
        return;
    }
    // And the list of what is public, which hands it on.
    let knows = |p: &Path| p.starts_with("src/engines/gpu") || p.starts_with("src/burn") || p == Path::new("src/lib.rs");
    let elsewhere: Vec<PathBuf> = files("src", "rs").into_iter().filter(|p| !knows(p)).collect();
    let found = offences(&elsewhere, |line| words(line).any(|w| w == "wgpu"));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_rule_and_every_shader_has_its_file() {
    if !sources_are_here() {
        return;
    }
    for name in resam::rules::names() {
        assert!(Path::new(&format!("src/rules/{name}.rs")).is_file(), "src/rules/{name}.rs");
    }
    let sources: String = files("src", "rs").iter().map(|p| fs::read_to_string(p).expect("a source")).collect();
    let shaders = files("shaders", "wgsl");
    assert!(!shaders.is_empty());
    for shader in shaders {
        let path = shader.to_str().expect("a path");
        assert!(sources.contains(&format!("/{path}\"")), "{path} is used by no kernel");
    }
}

/// The lint sees what it is there for.
#[test]
fn the_lint_bites() {
    assert!(
        names_an_engine("use crate::engines::cpu;") && names_an_engine("fn x(e: &Engine) {") && !names_an_engine("fn plan(&self)")
    );
    assert!(names_a_rule("if name == \"krum\" {") && names_a_rule("use crate::rules::{TrimmedMean, Rule};"));
    assert!(
        names_a_rule("Median.plan(n, f, d)") && !names_a_rule("Centre::Median => MEDIAN,") && !names_a_rule("rule.plan(n, f, d)")
    );
}
