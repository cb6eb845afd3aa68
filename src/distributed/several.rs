//! Several engines in one process, each with a share of the columns.

use super::link::Link;
use super::run::run;
use super::shards::Shards;
use super::threads::Threads;
use crate::engine::{Engine, Kind};
use crate::engines::execute::{Asked, Options};
use crate::error::{Error, Result};
use crate::matrix::{Input, Matrix, Store};
use crate::report::Report;
use crate::rows::Rows;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

/// At least one engine, none of which is several.
#[derive(Debug, Clone)]
pub(crate) struct Several(Arc<[Engine]>);

impl Several {
    pub(crate) fn new(engines: Vec<Engine>) -> Result<Self> {
        if engines.is_empty() {
            return Err(Error::parameter("several", "engines", 0, "at least 1"));
        }
        match engines.iter().find(|engine| matches!(engine.kind, Kind::Reference | Kind::Several(_))) {
            Some(other) => Err(Error::parameter("several", "engine", other.name(), "one CPU or GPU engine")),
            None => Ok(Self(engines.into())),
        }
    }

    pub(crate) fn name(&self) -> String {
        self.0.iter().map(Engine::name).collect::<Vec<_>>().join(" and ")
    }

    /// The engines, with these options.
    pub(crate) fn engines(&self, options: &Options) -> Vec<Engine> {
        self.0.iter().map(|engine| engine.clone().with_options(*options)).collect()
    }

    fn shards(&self, d: usize) -> Shards {
        Shards::new(d, self.0.len())
    }

    /// Each engine's columns of some rows.
    pub(crate) fn share<'a>(&self, rows: &Rows<'a>) -> Vec<(&Engine, Rows<'a>)> {
        self.0.iter().zip(self.shards(rows.d()).ranges().map(|columns| rows.columns(columns))).collect()
    }

    /// Each engine's columns where it reads them fastest, momentums or other rows.
    pub(crate) fn load(&self, rows: &Rows<'_>, momentums: bool) -> Result<Matrix> {
        let load = |(engine, rows): &(&Engine, Rows<'_>)| pollster::block_on(engine.load_as(rows, momentums));
        Ok(Matrix { store: Store::Shards(self.share(rows).iter().map(load).collect::<Result<_>>()?) })
    }

    /// Are these parts of one matrix?
    fn hold(&self, parts: &[Matrix]) -> bool {
        parts.len() == self.0.len() && parts.iter().all(|part| part.n() == parts[0].n())
    }

    /// One aggregate, by all engines of `whole` at once.
    pub(crate) fn run(&self, whole: &Engine, input: Input<'_>, asked: Asked<'_>, out: &mut [f32]) -> Result<Report> {
        let (d, engines) = (input.d(), self.engines(&whole.options()));
        if out.len() != d {
            return Err(Error::OutputLength { got: out.len(), expected: d });
        }
        let rows: Vec<Rows>;
        let inputs: Vec<Input> = match input {
            Input::Rows(all) => {
                rows = self.share(all).into_iter().map(|(_, rows)| rows).collect();
                rows.iter().map(Input::from).collect()
            }
            Input::Matrix(Matrix { store: Store::Shards(parts) }) if self.hold(parts) => parts.iter().map(Input::from).collect(),
            Input::Matrix(_) => return Err(whole.elsewhere()),
            #[cfg(feature = "gpu")]
            Input::Device(_) => return Err(whole.elsewhere()),
        };
        let shards = self.shards(d);
        let work = |rank: Threads, engine: &Engine, input, out| run(&mut Link::new(&rank), shards, engine, input, asked, out);
        let reports: Vec<thread::Result<Result<Report>>> = thread::scope(|scope| {
            let parts = Threads::new(engines.len()).into_iter().zip(&engines).zip(inputs).zip(shards.split(out));
            let threads: Vec<_> =
                parts.map(|(((rank, engine), input), out)| scope.spawn(move || work(rank, engine, input, out))).collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        let mut reports = reports.into_iter().map(|report| report.unwrap_or_else(|panic| resume_unwind(panic))).collect::<Vec<_>>();
        reports.swap_remove(0).map(|report| Report { device: whole.name(), ..report })
    }
}
