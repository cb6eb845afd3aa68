//! The `resam` command: robust aggregation of matrices on disk. It reads arguments and files; the work is the library's.

mod aggregate;
mod bench;
mod certify;
mod devices;
mod driver;
mod failure;
mod input;
mod mapping;
mod npy;
mod output;
mod picture;
#[cfg(feature = "train")]
mod place;
mod print;
mod progress;
#[cfg(feature = "train")]
mod reproduce;
mod rules;
#[cfg(feature = "train")]
mod settings;
#[cfg(feature = "train")]
mod train;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  2  bad input: a line on standard error says what is wrong,
     and no output file is written or changed, but for
     the results of runs that ended before another failed
     (`reproduce`, `train`)";

/// Byzantine-robust aggregation of n workers' vectors, on the GPU or the CPU.
#[derive(Debug, Parser)]
#[command(name = "resam", version, max_term_width = 120, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Aggregate(aggregate::AggregateArgs),
    Bench(bench::BenchArgs),
    Certify(certify::CertifyArgs),
    Devices(devices::DevicesArgs),
    #[cfg(feature = "train")]
    Reproduce(reproduce::ReproduceArgs),
    Rules(rules::RulesArgs),
    #[cfg(feature = "train")]
    Train(train::TrainArgs),
}

/// `-1` is a number where a value belongs, though a bad one, and no option.
fn signed(argument: clap::Arg) -> clap::Arg {
    match argument.get_action().takes_values() {
        true => argument.allow_negative_numbers(true),
        false => argument,
    }
}

fn run() -> Result<(), Failure> {
    let mut command = Cli::command().mut_subcommands(|command| command.mut_args(signed));
    let given = command.try_get_matches_from_mut(std::env::args_os());
    let cli = match given.and_then(|given| Cli::from_arg_matches(&given).map_err(|e| e.format(&mut command))) {
        Ok(cli) => cli,
        Err(e) if failure::is_help(&e) => e.exit(),
        Err(e) => return Err(e.into()),
    };
    match cli.command {
        Command::Aggregate(args) => aggregate::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Certify(args) => certify::run(args),
        Command::Devices(args) => devices::run(args),
        #[cfg(feature = "train")]
        Command::Reproduce(args) => reproduce::run(args).map_err(Failure::new),
        Command::Rules(args) => rules::run(args),
        #[cfg(feature = "train")]
        Command::Train(args) => train::run(args).map_err(Failure::new),
    }
}

fn main() -> ExitCode {
    driver::hush();
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|panic| match std::thread::current().name() {
            // A device was lost, which the call that waits for it says.
            Some("resam-gpu") => {}
            _ => print::note(Failure::new(format_args!("this is a bug, please report it: {panic}"))),
        }));
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::note(&failure);
            ExitCode::from(2)
        }
    }
}
