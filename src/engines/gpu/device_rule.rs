//! A rule as commands in an encoder of the caller's: nothing is submitted, waited for or read back here.

use super::buffers::{DeviceRows, DeviceVector};
use super::device::{Bound, Device, Mark, Use};
use super::layout::Chunk;
use super::params::{MEDIAN, Params, RowEntry, groups};
use super::pool::{Buffer, locked};
use super::shader::{BLOCK, Coordinate, Kernel, Of, means_vectors, slices};
use crate::dtype::Dtype;
use crate::engines::passes::{GIVEN, ORIGIN, Term};
use crate::engines::pivot;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::plan::{DeviceSolve, Mix, Plan, Stat};
use crate::rules::{Cohort, NonFinite, Rule};
use std::sync::{Arc, Mutex};

/// Columns in which one group looks for a central row of n: fewer of many rows, each of which has a pair with all others.
fn looked_at(n: usize) -> usize {
    (1 << 14) / n.clamp(32, 128)
}

/// Most rows of a rule on distances: one group looks at all pairs of them. (Mesa's software rasterizer ends loops after 65,535 iterations
/// of a shader, which more rows would reach.)
pub(super) const MOST_ROWS: usize = 128;

/// Places in the status, as in `on_device/status.wgsl`.
const HIDDEN: usize = 2;
const ROUNDS: usize = 3;
const RESIDUAL: usize = 4;
const START: usize = 6;
const FLAGS: usize = 8;
const TOO_MANY_BAD: u32 = 1;
const START_NOT_FINITE: u32 = 3;

/// As in `on_device/weiszfeld_solve.wgsl`.
const TOLERANCE: f64 = 1e-5;

/// Most rounds of centered clipping: Mesa's bound again.
const MOST_ROUNDS: usize = 200;

/// Bytes from one set of parameters to the next: where any device can bind.
const APART: u64 = 256;

/// Words before the table of `means.wgsl`, behind the weights of n mixed rows. As in `on_device/nearest.wgsl`.
fn means_at(n: usize) -> usize {
    (2 * n * n).next_multiple_of(APART as usize / 4)
}

/// A rule for matrices of one size, as commands for encoders of the caller's: the whole aggregate, decisions among workers included, runs
/// on the device, so that it can stand between the kernels that make gradients and those that use the result. Made by
/// [`Engine::device_rule`](crate::Engine::device_rule).
///
/// - Rules: those on columns (median, trimmed mean, MeaMed, Phocas, sign majority), the average, Krum, Multi-Krum, the geometric median (n > 2, d > 1) and
///   centered clipping, and nearest-neighbour mixing before a rule on columns. Rules on distances take up to 128 rows. Centered clipping that was given
///   a previous aggregate can be given the next one [on the device](DeviceRule::encode_previous).
/// - Hostile input: as in [`Engine::aggregate`](crate::Engine::aggregate). A row with NaN or infinite values counts against f; one that hides
///   from the look at a few columns costs one more read. When more than f rows are bad the result is NaN in every column, never an old one.
/// - Accuracy: rules on columns and copied rows give the bits of `aggregate`. Inner products are added in f32 here, with a relative error of
///   at most (64 + ⌈blocks/2048⌉ + 5)·2⁻²⁴ beyond that of the blocks themselves, so a choice among workers whose scores differ by
///   less than about 10⁻⁵ may differ; the geometric median is converged to 10⁻⁵ of each weight.
/// - Cost: one or two reads of the data, one more under attack, as the rule says.
#[derive(Debug)]
pub struct DeviceRule {
    device: Arc<Device>,
    /// As error messages name it.
    rule: String,
    n: usize,
    d: usize,
    f: usize,
    /// More bad rows are an error.
    most_bad: usize,
    /// What the rule says to so many bad rows.
    refusals: Vec<Option<Error>>,
    dtype: Dtype,
    how: How,
    /// Code, counts, and for each row whether it is bad: see `on_device/status.wgsl`.
    status: Buffer,
    notes: Buffer,
    /// Taken when commands were encoded last.
    encoded: Mutex<Mark>,
}

#[derive(Debug)]
enum How {
    /// One kernel, on these rows about this one.
    Once { kernel: Kernel, table: Buffer, centre: u32 },
    /// A look, a read, a solve, and a kernel on what that chose.
    Solved(Box<Solved>),
}

#[derive(Debug)]
struct Solved {
    solve: DeviceSolve,
    /// The kernels of the result: one, or one for each number of bad rows.
    results: Vec<Kernel>,
    columns: Buffer,
    variants: Buffer,
    made: Buffer,
    chosen: Buffer,
    distances: Buffer,
    sums: Buffer,
    products: Buffer,
    /// Parameters of the kernels of the result.
    last: Buffer,
    /// What they take: rows with weights, or weights of mixed rows.
    table: Buffer,
    /// Where the solve begins, if that is not among the rows.
    start: Option<Start>,
}

/// A point that rows are centred on.
#[derive(Debug)]
struct Start {
    row: usize,
    /// Of the given row; of zeros none are needed.
    values: Buffer,
    first: Buffer,
}

/// What became of the last encoded commands that were submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceReport {
    /// Rows with NaN or infinite values, ascending.
    pub non_finite: Vec<usize>,
    /// Did a row hide from the look at a few columns, so that the data was read once more?
    pub hidden_row: bool,
    /// Rounds of an iterative solver; 0 for others.
    pub iterations: usize,
    /// What its stopping test measured last.
    pub residual: f64,
    /// False when it hit its bound on rounds.
    pub converged: bool,
}

impl DeviceRule {
    pub(crate) fn new(device: &Arc<Device>, rule: &dyn Rule, n: usize, d: usize, f: usize, dtype: Dtype) -> Result<Self> {
        if n == 0 {
            return Err(Error::NoWorkers);
        }
        let mark = device.mark();
        let everyone: Vec<usize> = (0..n).collect();
        let cohort = |k: usize| Cohort { total: n, members: &everyone[..n - k], f: f.saturating_sub(k), d };
        rule.admit(&cohort(0))?;
        let leaves_out = if rule.non_finite() == NonFinite::LeaveOut { f.min(n - 1) } else { 0 };
        let refusals: Vec<Option<Error>> = (0..=leaves_out).map(|k| rule.admit(&cohort(k)).err()).collect();
        // Up to f rows, or to where the rule has a meaning for the rows left.
        let most_bad = match refusals.iter().position(Option::is_some) {
            _ if rule.non_finite() == NonFinite::Propagate => n,
            Some(k) => k - 1,
            None => f,
        };
        let make = || {
            Self::plan(device, rule, n, d, most_bad.min(f).min(n - 1), &cohort)
                .map(|how| (how, device.filled(Use::Storage, &vec![0u32; FLAGS + n]).own(), device.storage(n)))
        };
        let (how, status, notes) = device.trying(make)??;
        device.check(mark)?;
        Ok(Self {
            device: device.clone(),
            rule: rule.name().into(),
            n,
            d,
            f,
            most_bad,
            refusals,
            dtype,
            how,
            status,
            notes,
            encoded: Mutex::new(mark),
        })
    }

    fn plan<'a>(
        device: &Device,
        rule: &dyn Rule,
        n: usize,
        d: usize,
        most_bad: usize,
        cohort: &dyn Fn(usize) -> Cohort<'a>,
    ) -> Result<How> {
        let refused = |why: &str| Err(Error::Given { rule: rule.spec(), what: format!("an encoder of the caller's: {why}") });
        let order = |stat: Stat, values: usize, of: Of| Kernel::Coordinate(Coordinate { stat, values, of, diagnose: false });
        let propagates = rule.non_finite() == NonFinite::Propagate;
        let Plan { mix, stat } = rule.plan(&cohort(0));
        let solver = match mix {
            Mix::Rows if rule.non_finite() != NonFinite::Order => return refused("rows left out would be ordered with the others"),
            Mix::Rows => {
                let rows: Vec<usize> = (0..n).collect();
                let table = device.filled(Use::Storage, &RowEntry::plain(&rows)).own();
                return Ok(How::Once { kernel: order(stat, n, Of::Rows), table, centre: MEDIAN });
            }
            Mix::Solve(solver) => solver,
            Mix::Counted(_) | Mix::Weighted(_) | Mix::Weiszfeld(_) => return refused("it has no kernels for that"),
        };
        if !solver.wants().any() && propagates && stat == Stat::Identity {
            let mixing = solver.solve(&Geometry::blank(n))?.mixing;
            let weights = mixing.weights(0);
            let terms: Vec<Term> = (0..n).filter(|&i| weights[i] != 0.0).map(|i| Term::new(i, weights[i])).collect();
            if terms.len() < n {
                return refused("weights of zero are for the host to leave out");
            }
            let table = device.filled(Use::Storage, &RowEntry::weighted(&terms)).own();
            return Ok(How::Once { kernel: Kernel::Mix, table, centre: pivot::heaviest(weights) as u32 });
        }
        let Some(solve) = solver.on_device() else { return refused("what it solves needs the host") };
        if n > MOST_ROWS {
            return Err(Error::parameter(
                rule.name(),
                "n",
                n,
                format_args!("at most {MOST_ROWS} rows in an encoder of the caller's"),
            ));
        }
        // With k bad rows it is the rule of (n - k, f - k).
        let (mut results, mut variants) = (Vec::new(), Vec::new());
        for k in 0..=most_bad {
            let Plan { mix, stat } = rule.plan(&cohort(k));
            let here = match &mix {
                Mix::Solve(solver) => solver.on_device().unwrap_or(solve),
                _ => solve,
            };
            let (neighbors, keep) = match here {
                DeviceSolve::LeastScores { neighbors, keep } => (neighbors, keep),
                DeviceSolve::Nearest { keep } => (0, keep),
                DeviceSolve::LeastDistances => (0, n - k),
                DeviceSolve::Clipped { tau, rounds } => {
                    if rounds > MOST_ROUNDS {
                        return refused(&format!("{rounds} rounds, more than {MOST_ROUNDS}"));
                    }
                    let tau = (tau as f32).clamp(f32::MIN_POSITIVE, f32::MAX);
                    variants.push([rounds as u32, tau.to_bits(), 0, 0]);
                    results.push(Kernel::Mix);
                    continue;
                }
            };
            let Term { weight, weight_low, .. } = Term::new(0, 1.0 / keep as f64);
            variants.push([neighbors as u32, keep as u32, weight.to_bits(), weight_low.to_bits()]);
            results.push(match here {
                DeviceSolve::Nearest { .. } => {
                    order(stat, n - k, Of::mixed(true, n - k, n - k, device.limits.max_uniform_buffer_binding_size))
                }
                // A single row is copied as bits.
                DeviceSolve::LeastScores { keep: 1, .. } => order(Stat::median(1), 1, Of::Rows),
                _ => Kernel::Mix,
            });
        }
        if results.iter().all(|kernel| *kernel == results[0]) {
            results.truncate(1);
        }
        let start = matches!(solve, DeviceSolve::Clipped { .. }).then(|| {
            let given = solver.wants().given;
            Start {
                row: if given.is_some() { GIVEN } else { ORIGIN },
                values: device.filled(Use::Storage, given.as_deref().filter(|v| !v.is_empty()).unwrap_or(&[0.0])).own(),
                first: device.filled(Use::Storage, &RowEntry::plain(&[0])).own(),
            }
        });
        let columns: Vec<u32> = pivot::columns(d, looked_at(n), 0x5eed).into_iter().map(|k| k as u32).collect();
        let pairs = n * (n + 1) / 2;
        let table = match solve {
            DeviceSolve::Nearest { .. } => means_at(n) + 4 * means_vectors(n, n),
            _ => 4 * n,
        };
        Ok(How::Solved(Box::new(Solved {
            solve,
            columns: device.filled(Use::Storage, if d == 0 { &[0] } else { &columns[..] }).own(),
            variants: device.filled(Use::Storage, &variants).own(),
            made: device.buffer(Use::Parameters, size_of::<Params>() as u64).own(),
            chosen: device.storage(4 * n),
            distances: device.storage(n * n),
            sums: device.storage(d.div_ceil(BLOCK) * pairs),
            products: device.storage(pairs),
            last: device.buffer(Use::Parameters, APART * results.len() as u64).own(),
            table: device.buffer(Use::Parameters, 4 * table as u64).own(),
            results,
            start,
        })))
    }

    /// Adds the aggregate to the encoder: y = rule(rows), with at most f of the n rows Byzantine. The commands use buffers of this
    /// rule: what is encoded twice is done one after the other, and the report is that of the last. The rows' buffer must be one that the
    /// device can bind at once.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Buffer`] when buffers do not suit, [`Error::Device`] when the device has no room or is lost. What is found
    /// in the data is in the [report](DeviceRule::report), and the result is NaN then.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder, rows: &DeviceRows, out: &DeviceVector) -> Result<()> {
        let device = &*self.device;
        let mark = device.mark();
        *locked(&self.encoded) = mark;
        if (rows.n(), rows.d(), rows.dtype) != (self.n, self.d, self.dtype) {
            let what = format!("{} rows of {} values of {}", rows.n(), rows.d(), rows.dtype);
            return Err(Error::Buffer(format!("{what} for a rule that was made for {} of {} of {}", self.n, self.d, self.dtype)));
        }
        let foreign = rows.read_on(device)?;
        let target = out.write_on(&self.device, self.d, Some(rows))?;
        let Some(slab) = &foreign.whole else {
            return Err(Error::Buffer(
                "the rows are more than the device can bind at once; `aggregate_to` reads them in slabs".into(),
            ));
        };
        device.trying(|| {
            encoder.clear_buffer(&self.notes.buffer, 0, None);
            encoder.clear_buffer(&self.status.buffer, 0, None);
            for chunk in foreign.layout.chunks() {
                let y = target.part(0, self.d).own();
                let mut whole =
                    Params { blocks: chunk.blocks() as u32, voters: self.most_bad as u32, ..Params::new(&chunk, self.n) };
                match &self.how {
                    How::Once { centre, .. } => whole.centre = *centre,
                    How::Solved(solved) => whole.centre = solved.start.as_ref().map_or(MEDIAN, |start| start.row as u32),
                }
                let whole = device.filled(Use::Uniform, &[whole]).own();
                match &self.how {
                    How::Once { kernel, table, .. } => {
                        let bindings = [(0, &**slab), (1, table), (2, &whole), (3, &y), (4, &self.notes), (6, &**slab)];
                        self.over(encoder, *kernel, &bindings, &chunk);
                        let bindings = [(2, &whole), (4, &self.notes), (8, &self.status)];
                        self.bind(Kernel::Verdict, &bindings).encode(encoder, [1, 1, 1], None);
                    }
                    How::Solved(solved) => self.solved(encoder, solved, slab, &whole, &y, &chunk),
                }
                self.over(encoder, Kernel::Spoil, &[(2, &whole), (3, &y), (4, &self.status)], &chunk);
                target.keep(encoder, &y, 0, self.d);
            }
        })?;
        device.check(mark)
    }

    /// Adds a copy of d values to the encoder: what a rule that was made with a previous aggregate
    /// ([`CenteredClipping`](crate::rules::CenteredClipping)) begins at from then on, in place of it. The result of the last
    /// aggregate, for example, from where it was written. Values that are not finite make the next result NaN, and its report an error.
    ///
    /// # Errors
    /// [`Error::Given`] for a rule without a previous aggregate; [`Error::Buffer`] when the buffer has no room for d values or not the
    /// usage `COPY_SRC`.
    pub fn encode_previous(&self, encoder: &mut wgpu::CommandEncoder, previous: &DeviceVector) -> Result<()> {
        let start = match &self.how {
            How::Solved(solved) => solved.start.as_ref().filter(|start| start.row == GIVEN),
            How::Once { .. } => None,
        };
        let Some(start) = start else {
            return Err(Error::Given { rule: self.rule.clone(), what: "a previous aggregate it was not made with".into() });
        };
        let mark = self.device.mark();
        let (buffer, offset) = previous.read_on(&self.device, self.d)?;
        self.device.trying(|| encoder.copy_buffer_to_buffer(buffer, offset, &start.values.buffer, 0, 4 * self.d as u64))?;
        self.device.check(mark)
    }

    fn bind(&self, kernel: Kernel, bindings: &[(u32, &Buffer)]) -> Bound {
        self.device.bind(kernel, self.dtype, bindings)
    }

    /// One invocation, or some, for each column.
    fn over(&self, encoder: &mut wgpu::CommandEncoder, kernel: Kernel, bindings: &[(u32, &Buffer)], chunk: &Chunk) {
        let count = chunk.columns.div_ceil(kernel.columns(self.device.room));
        self.bind(kernel, bindings).encode(encoder, groups(count), None);
    }

    fn solved(&self, encoder: &mut wgpu::CommandEncoder, with: &Solved, slab: &Buffer, whole: &Buffer, y: &Buffer, chunk: &Chunk) {
        let Solved { columns, variants, made, chosen, distances, sums, products, last, table, .. } = with;
        let mut given = slab;
        if let Some(start) = &with.start {
            given = &start.values;
        }
        let look = [(0, slab), (2, whole), (3, made), (4, chosen), (5, columns), (6, given), (8, &self.status), (11, distances)];
        self.bind(Kernel::Look, &look).encode(encoder, [1, 1, 1], None);
        if let Some(Start { row: GIVEN, values, first }) = &with.start {
            let row = Chunk { base: 0, stride: chunk.columns, ..*chunk };
            let params = Params { first: START as u32, ..Params::new(&row, 1) };
            let params = self.device.filled(Use::Uniform, &[params]).own();
            let bindings = [(0, values), (1, first), (2, &params), (3, &self.status)];
            let count = chunk.columns.div_ceil(Kernel::Finite.columns(self.device.room));
            self.device.bind(Kernel::Finite, Dtype::F32, &bindings).encode(encoder, groups(count), None);
        }
        let read = [(0, slab), (1, chosen), (2, made), (3, sums), (4, &self.notes), (6, given)];
        let read = self.bind(Kernel::Gram { rows: self.n, frames: 1 }, &read);
        let merge = self.bind(Kernel::Merge, &[(2, made), (3, sums), (5, products)]);
        let judge = [(3, made), (4, chosen), (5, products), (7, &self.notes), (8, &self.status), (9, whole), (11, distances)];
        let judge = self.bind(Kernel::Judge, &judge);
        // The second time only where a row hid from the look: else no columns are seen.
        for _ in 0..2 {
            let [x, y, _] = groups(chunk.blocks());
            read.encode(encoder, [x, y, slices(self.n) as u32], None);
            merge.encode(encoder, groups((self.n * (self.n + 1) / 2).div_ceil(8)), None);
            judge.encode(encoder, [1, 1, 1], None);
        }
        let shared =
            [(1, last), (3, made), (4, chosen), (5, products), (8, &self.status), (9, whole), (10, table), (11, distances)];
        let with_variants = [&shared[..], &[(7, variants)]].concat();
        let decide = match with.solve {
            DeviceSolve::LeastScores { .. } => self.bind(Kernel::LeastScores, &with_variants),
            DeviceSolve::Nearest { .. } => self.bind(Kernel::Nearest, &with_variants),
            DeviceSolve::LeastDistances => self.bind(Kernel::WeiszfeldSolve, &shared),
            DeviceSolve::Clipped { .. } => self.bind(Kernel::ClipSolve, &with_variants),
        };
        decide.encode(encoder, [1, 1, 1], None);
        for (k, &kernel) in with.results.iter().enumerate() {
            let params = self.device.foreign(&last.buffer, APART * k as u64, APART);
            let mixed = matches!(with.solve, DeviceSolve::Nearest { .. });
            let rows = if mixed { chosen } else { table };
            let mut bindings = vec![(0, slab), (1, rows), (2, &params), (3, y), (4, &self.notes), (6, given)];
            bindings.extend(mixed.then_some((5, table)));
            let means = match kernel {
                Kernel::Coordinate(Coordinate { of: Of::Means { rows }, .. }) => {
                    let (at, bytes) = (4 * means_at(self.n), 16 * means_vectors(rows, rows));
                    Some(self.device.foreign(&table.buffer, at as u64, bytes as u64))
                }
                _ => None,
            };
            bindings.extend(means.as_ref().map(|means| (12, means)));
            self.over(encoder, kernel, &bindings, chunk);
        }
    }

    /// The buffer that holds the status, for kernels of the caller's: its first number is 0 where there is a result, else what went wrong
    /// (1: more than f rows are bad; 2: rows of sizes that no f32 can compare; 3: a previous aggregate that is not finite); number 8 + i is 1
    /// where row i is bad.
    pub fn status(&self) -> &wgpu::Buffer {
        &self.status.buffer
    }

    /// What became of the commands that were submitted last; waits for them.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when more than f rows were bad, [`Error::Device`] when no scales served or the device is lost.
    pub async fn report(&self) -> Result<DeviceReport> {
        let mark = *locked(&self.encoded);
        let mut encoder = self.device.encoder();
        let fetch = self.device.fetch(&mut encoder, &self.status, 0, 4 * (FLAGS + self.n) as u64);
        let ticket = self.device.submit(encoder);
        let status: Vec<u32> = self.device.receive(fetch, ticket, mark, <[u32]>::to_vec).await?;
        let non_finite: Vec<usize> = (0..self.n).filter(|i| status[FLAGS + i] != 0).collect();
        let residual = f64::from(f32::from_bits(status[RESIDUAL]));
        match status[0] {
            0 => Ok(DeviceReport {
                non_finite,
                hidden_row: status[HIDDEN] != 0,
                iterations: status[ROUNDS] as usize,
                residual,
                converged: residual <= TOLERANCE,
            }),
            TOO_MANY_BAD => {
                let refusal = self.refusals.get(non_finite.len()).cloned().flatten();
                Err(refusal.unwrap_or_else(|| Error::NonFinite { rule: self.rule.clone(), rows: non_finite, f: self.f }))
            }
            START_NOT_FINITE => Err(Error::parameter(&self.rule, "previous aggregate", "NaN or infinite somewhere", "finite")),
            _ => Err(Error::Device {
                device: self.device.info.name.clone(),
                reason: "rows of sizes that f32 cannot compare without the host".into(),
            }),
        }
    }

    /// [`DeviceRule::report`], waiting for it.
    ///
    /// # Errors
    /// As [`DeviceRule::report`].
    pub fn report_blocking(&self) -> Result<DeviceReport> {
        pollster::block_on(self.report())
    }
}

const _: () = assert!(size_of::<Params>() as u64 <= APART);
