//! What the GPU engine offers to [`execute`](crate::engines::execute): each pass walks the slabs once, some in flight.

use super::buffers::Sink;
use super::clock::Clock;
use super::device::{Device, Encoder, Fetch, Mark, Ticket, Use};
use super::layout::Chunk;
use super::params::{MEDIAN, Params, RowEntry, groups, means};
use super::pool::Buffer;
use super::shader::{BLOCKS_ADDED, Coordinate, DEVIATED, Kernel, Of, READ_VECTORS, SUMS_ADDED, THREADS, quads, slices};
use super::slabs::{Resident, Source};
use crate::dtype::Dtype;
use crate::engines::exact_sum::{ADDED, ExactSum};
use crate::engines::keys::EXPONENT;
use crate::engines::pair_sums::Running;
use crate::engines::passes::{
    Centre, Columns, First, Found, Frame, GIVEN, Mixed, ORIGIN, Passes, Plain, Term, Traffic, Weiszfelds,
};
use crate::error::{Error, Result};
use crate::plan::{Stat, Weiszfeld};
use std::collections::VecDeque;
use std::sync::Arc;

/// Rounds of a Weiszfeld iteration submitted at once. Rounds after the last one needed do nothing.
const ROUNDS: usize = 32;

/// Most blocks of columns of a slab whose sums are added by the host. It is handed more numbers than that where the device adds them.
pub(super) const BLOCKS_FETCHED: usize = 32;

/// Most slabs on the device whose work goes into one submission.
const TOGETHER: u64 = 4;

pub(crate) struct GpuPasses<'a> {
    device: Arc<Device>,
    /// Taken when the call began.
    mark: Mark,
    source: Source<'a>,
    given: Arc<[f32]>,
    traffic: Traffic,
    /// Momentums that a coordinate pass over gradients steps on its way, with β.
    momentums: Option<(&'a Resident, f32)>,
    clock: Option<Arc<Clock>>,
}

/// What one slab's work leaves: the bytes under way, and buffers that must live until they arrive.
type Flight = (Fetch, Vec<Buffer>);

/// A slab whose work is submitted, with what must live until it is done.
struct Flying {
    chunk: Chunk,
    ticket: Ticket,
    flight: Flight,
    _read: (Arc<Buffer>, Option<Buffer>),
}

/// Encodes the exact sums of so many f32 sums over so many blocks; their digits, and what must live as long.
fn added(device: &Device, encoder: &mut Encoder, dtype: Dtype, sums: &Buffer, [each, blocks]: [usize; 2]) -> (Buffer, Buffer) {
    let bytes = 4 * (ADDED * each) as u64;
    let exact = device.buffer(Use::Storage, bytes);
    encoder.clear_buffer(&exact.buffer, 0, Some(bytes));
    let none = Chunk { index: 0, first: 0, columns: 0, stride: 0, base: 0 };
    let params = device.filled(Use::Uniform, &[Params { blocks: blocks as u32, ..Params::new(&none, each) }]);
    let [x, y, _] = groups(each.div_ceil(SUMS_ADDED));
    let bound = device.bind(Kernel::Add, dtype, &[(2, &params), (3, sums), (5, &exact)]);
    bound.dispatch(encoder, [x, y, blocks.div_ceil(BLOCKS_ADDED) as u32]);
    (exact, params)
}

/// Compiles the kernel that adds the sums of many blocks.
pub(super) async fn prepare_adding(device: &Device) -> Result<()> {
    let mark = device.mark();
    let mut encoder = device.encoder();
    let sums = device.filled(Use::Storage, &[0.0f32]);
    let (exact, _params) = added(device, &mut encoder, Dtype::F32, &sums, [1, 1]);
    let fetch = device.fetch(&mut encoder, &exact, 0, 4 * ADDED as u64);
    let ticket = device.submit(encoder);
    device.receive(fetch, ticket, mark, |_: &[u32]| ()).await
}

impl<'a> GpuPasses<'a> {
    pub(crate) fn new(device: Arc<Device>, source: Source<'a>, timed: bool) -> Self {
        let clock = if timed { device.clock() } else { None };
        Self { mark: device.mark(), device, source, given: Arc::default(), traffic: Traffic::default(), momentums: None, clock }
    }

    /// Passes over gradients; a coordinate pass orders the momentums, which it steps on its way.
    pub(crate) fn stepping(mut self, momentums: &'a Resident, beta: f32) -> Self {
        self.momentums = Some((momentums, beta));
        self
    }

    /// The rows that hold NaN or infinite values. One read.
    pub(crate) async fn not_finite(&mut self) -> Result<Vec<usize>> {
        let everyone: Vec<usize> = (0..self.n()).collect();
        self.count(&everyone);
        let notes = self.each_row(Kernel::Finite, &everyone).await?;
        Ok(everyone.into_iter().zip(notes).filter(|(_, raised)| *raised != 0).map(|(row, _)| row).collect())
    }

    /// Steps the momentums of some rows. One read of gradients and momentums, one write.
    pub(crate) async fn step(&mut self, rows: &[usize]) -> Result<()> {
        self.count(rows);
        self.each_row(Kernel::Momentum, rows).await.map(|_| ())
    }

    /// A pass of a kernel that walks each of these rows by itself; what it notes of them.
    async fn each_row(&mut self, kernel: Kernel, rows: &[usize]) -> Result<Vec<u32>> {
        let table = self.table(Use::Storage, &RowEntry::plain(rows));
        let notes = self.table(Use::Storage, &vec![0u32; rows.len()]);
        let (momentums, dtype) = (self.momentums, self.source.dtype());
        let encode = |device: &Device, encoder: &mut Encoder, chunk: &Chunk, slab: &Buffer, _: &Buffer| {
            let beta = momentums.map_or(0.0, |(_, beta)| beta);
            let params = device.filled(Use::Uniform, &[Params { beta, ..Params::new(chunk, rows.len()) }]);
            let made = momentums.map_or((3, &notes), |(momentums, _)| (7, momentums.slab(chunk)));
            let [x, y, _] = groups(chunk.columns.div_ceil(kernel.columns(device.room)));
            let bound = device.bind(kernel, dtype, &[(0, slab), (1, &table), (2, &params), made]);
            bound.dispatch(encoder, [x, y, rows.len() as u32]);
            (device.fetch(encoder, &notes, 0, 4 * rows.len() as u64), vec![params])
        };
        let mut noted = vec![0; rows.len()];
        self.each_slab(rows, encode, |_, notes: &[u32]| noted.copy_from_slice(notes)).await?;
        Ok(noted)
    }

    fn encoder(&self) -> Encoder {
        self.device.timed_encoder(self.clock.clone())
    }

    fn count(&mut self, rows: &[usize]) {
        self.traffic.passes += 1;
        let momentum = if self.momentums.is_some() { Dtype::F32.size() } else { 0 };
        self.traffic.read += ((self.source.dtype().size() + momentum) * self.in_matrix(rows).len() * self.d()) as u64;
    }

    /// Rows without the virtual ones.
    fn in_matrix(&self, rows: &[usize]) -> Vec<usize> {
        rows.iter().copied().filter(|&i| i < self.n()).collect()
    }

    /// The values of the given row in a slab, if one was given and is wanted. A kernel that has no use for it is handed the slab.
    fn given_part(&mut self, chunk: &Chunk, rows: &[usize]) -> Option<Buffer> {
        rows.contains(&GIVEN).then(|| {
            let given = self.given.clone();
            self.table(Use::Storage, &given[chunk.first..chunk.first + chunk.columns])
        })
    }

    fn table<T: bytemuck::Pod>(&mut self, role: Use, values: &[T]) -> Buffer {
        self.traffic.uploaded += size_of_val(values) as u64;
        self.device.filled(role, values)
    }

    /// Walks the slabs, two submissions in flight: while the device works on the one, the host prepares the other. What is uploaded goes slab by
    /// slab; what is on the device several at a time, if their results take no more than the two slabs that a budget has for them.
    async fn each_slab<T: bytemuck::Pod>(
        &mut self,
        wanted: &[usize],
        mut encode: impl FnMut(&Device, &mut Encoder, &Chunk, &Buffer, &Buffer) -> Flight,
        mut take: impl FnMut(&Chunk, &[T]),
    ) -> Result<()> {
        let mut flying = VecDeque::new();
        let in_matrix = self.in_matrix(wanted);
        let mut chunks = self.source.layout().chunks();
        let several = chunks.len() > 1;
        let slab_bytes = self.source.layout().slab_bytes(self.source.dtype());
        let (here, mut batch) = (self.source.is_here(), 1);
        loop {
            let chunk = chunks.next();
            if let Some(chunk) = chunk {
                let slab = self.source.slab(&self.device, &chunk, &in_matrix, &mut self.traffic);
                let given = self.given_part(&chunk, wanted);
                let mut encoder = self.encoder();
                let flight = encode(&self.device, &mut encoder, &chunk, &slab, given.as_ref().unwrap_or(&slab));
                let ticket = self.device.submit(encoder);
                if here && flying.is_empty() {
                    // A result, and what it is read back to.
                    batch = (slab_bytes / (2 * flight.0.bytes()).max(1)).clamp(1, TOGETHER) as usize;
                }
                flying.push_back(Flying { chunk, ticket, flight, _read: (slab, given) });
                if several && flying.len() % batch == 0 {
                    self.device.flush();
                }
            }
            let arriving = match chunk {
                Some(_) if flying.len() < 2 * batch => 0,
                _ => batch,
            };
            for _ in 0..arriving {
                let Some(Flying { chunk, ticket, flight: (fetch, _held), _read }) = flying.pop_front() else { return Ok(()) };
                let downloaded = &mut self.traffic.downloaded;
                let counted = |values: &[T]| {
                    *downloaded += size_of_val(values) as u64;
                    take(&chunk, values);
                };
                self.device.receive(fetch, ticket, self.mark, counted).await?;
            }
        }
    }

    /// A pass whose result is one value a column. What the kernel notes: one number for each row, and `more`.
    async fn columns(
        &mut self,
        kernel: Kernel,
        table: &[RowEntry],
        centre: u32,
        more: usize,
        extra: &[(u32, Buffer)],
        out: &mut Sink<'_>,
    ) -> Result<Vec<u32>> {
        let wanted: Vec<usize> = table.iter().map(|row| row.index as usize).chain([centre as usize]).collect();
        let rows = self.table(Use::Storage, table);
        let notes = self.table(Use::Storage, &vec![0u32; table.len() + more]);
        let (momentums, dtype) = (self.momentums, self.source.dtype());
        let target = match out {
            Sink::Host(_) => None,
            Sink::Device(target) => Some(target.clone()),
        };
        let encode = |device: &Device, encoder: &mut Encoder, chunk: &Chunk, slab: &Buffer, given: &Buffer| {
            let beta = momentums.map_or(0.0, |(_, beta)| beta);
            let params = device.filled(Use::Uniform, &[Params { centre, beta, ..Params::new(chunk, table.len()) }]);
            let bytes = 4 * chunk.columns as u64;
            let y = match &target {
                Some(target) => target.part(chunk.first, chunk.columns),
                None => device.buffer(Use::Storage, bytes),
            };
            // Momentums that are stepped have no virtual rows among them.
            let other = momentums.map_or((6, given), |(momentums, _)| (7, momentums.slab(chunk)));
            let mut bindings = vec![(0, slab), (1, &rows), (2, &params), (3, &y), (4, &notes), other];
            bindings.extend(extra.iter().map(|(place, buffer)| (*place, buffer)));
            let count = chunk.columns.div_ceil(kernel.columns(device.room));
            device.bind(kernel, dtype, &bindings).dispatch(encoder, groups(count));
            let noted = (&notes, 4 * (table.len() + more) as u64);
            let fetch = match &target {
                Some(target) => {
                    target.keep(encoder, &y, chunk.first, chunk.columns);
                    device.fetch_all(encoder, &[noted])
                }
                None => device.fetch_all(encoder, &[(&y, bytes), noted]),
            };
            (fetch, vec![params, y])
        };
        // What is noted grows from slab to slab: the last one's is that of all.
        let mut noted = vec![0; table.len() + more];
        let take = |chunk: &Chunk, values: &[u32]| {
            let (y, notes) = values.split_at(values.len() - table.len() - more);
            if let Sink::Host(out) = out {
                bytemuck::cast_slice_mut(&mut out[chunk.first..chunk.first + chunk.columns]).copy_from_slice(y);
            }
            noted.copy_from_slice(notes);
        };
        self.each_slab(&wanted, encode, take).await?;
        Ok(noted)
    }

    /// How rows are mixed before they are ordered, and the tables for that with their bindings.
    fn mixed(&mut self, mixed: &Mixed<'_>) -> (Of, Vec<(u32, Buffer)>) {
        let mixing = mixed.mixing;
        // Whoever made the weights: the kernel of means counts on it that they sum to 1.
        let is_mean = |i: usize| (mixing.weights(i).iter().sum::<f64>() - 1.0).abs() < 1e-12;
        let plain = mixing.plain().filter(|_| (0..mixing.rows()).all(is_mean));
        let bytes = self.device.limits.max_uniform_buffer_binding_size;
        let of = Of::mixed(plain.is_some(), mixing.width(), mixing.rows(), bytes);
        let mut tables = vec![(5, self.weights(mixed))];
        if let (Some(plain), Of::Means { .. }) = (plain, of) {
            tables.push((12, self.table(Use::Uniform, &means(mixing, &plain))));
        }
        (of, tables)
    }

    /// What each mixed row takes of each scaled row: row j of the table holds the weights of row j, and what rounding took from them.
    fn weights(&mut self, Mixed { mixing, scales, .. }: &Mixed<'_>) -> Buffer {
        let m = mixing.rows();
        let weight = |k: usize| {
            let exact = mixing.weights(k % m)[k / m] / f64::from(scales[k / m]);
            [exact as f32, (exact - f64::from(exact as f32)) as f32]
        };
        let weights: Vec<[f32; 2]> = (0..m * scales.len()).map(weight).collect();
        self.table(Use::Storage, &weights)
    }

    /// The beginnings of two tables, so many numbers of each.
    async fn read_tables(&mut self, tables: [(&Buffer, usize); 2]) -> Result<[Vec<u32>; 2]> {
        let mut encoder = self.device.encoder();
        let fetch = self.device.fetch_all(&mut encoder, &tables.map(|(table, length)| (table, 4 * length as u64)));
        let ticket = self.device.submit(encoder);
        let take = |values: &[u32]| {
            let (first, second) = values.split_at(tables[0].1);
            [first.to_vec(), second.to_vec()]
        };
        self.traffic.downloaded += 4 * (tables[0].1 + tables[1].1) as u64;
        self.device.receive(fetch, ticket, self.mark, take).await
    }
}

impl<'a> Passes for GpuPasses<'a> {
    type Out = Sink<'a>;

    fn n(&self) -> usize {
        self.source.layout().n
    }

    fn d(&self) -> usize {
        self.source.layout().d
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn give(&mut self, row: Arc<[f32]>) {
        self.given = row;
    }

    async fn sample(&mut self, rows: &[usize], columns: &[usize]) -> Result<Vec<f32>> {
        if columns.len() == self.d() {
            self.count(rows);
        } else {
            self.traffic.read += (self.source.dtype().size() * rows.len() * columns.len()) as u64;
        }
        if let Source::Host { rows: host, .. } = &self.source {
            let value = |i: usize, k: usize| match i {
                ORIGIN => 0.0,
                GIVEN => self.given[k],
                i => host.values(i).at(k),
            };
            return Ok(rows.iter().flat_map(|&i| columns.iter().map(move |&k| value(i, k))).collect());
        }
        let (total, dtype) = (columns.len(), self.source.dtype());
        let table = self.table(Use::Storage, &RowEntry::plain(rows));
        let mut values = vec![0.0; rows.len() * total];
        let of = |chunk: &Chunk| {
            let at = columns.partition_point(|&k| k < chunk.first);
            (at, columns.partition_point(|&k| k < chunk.first + chunk.columns))
        };
        let encode = |device: &Device, encoder: &mut Encoder, chunk: &Chunk, slab: &Buffer, given: &Buffer| {
            let (at, end) = of(chunk);
            let wanted: Vec<u32> = columns[at..end].iter().map(|&k| (k - chunk.first) as u32).collect();
            let width = wanted.len() as u32;
            let params = Params { columns: width, blocks: width, ..Params::new(chunk, rows.len()) };
            let params = device.filled(Use::Uniform, &[params]);
            let wanted = device.filled(Use::Storage, if width == 0 { &[0] } else { &wanted[..] });
            let out = device.buffer(Use::Storage, 4 * u64::from(width.max(1)) * rows.len() as u64);
            let bound =
                device.bind(Kernel::Gather, dtype, &[(0, slab), (1, &table), (2, &params), (3, &out), (5, &wanted), (6, given)]);
            let [x, y, _] = groups((width as usize).div_ceil(Kernel::Gather.columns(device.room)));
            bound.dispatch(encoder, [x, y, rows.len() as u32]);
            (device.fetch(encoder, &out, 0, 4 * u64::from(width.max(1)) * rows.len() as u64), vec![params, wanted, out])
        };
        let take = |chunk: &Chunk, got: &[f32]| {
            let (at, end) = of(chunk);
            for i in 0..rows.len() {
                values[i * total + at..i * total + end].copy_from_slice(&got[i * (end - at)..][..end - at]);
            }
        };
        self.each_slab(rows, encode, take).await?;
        Ok(values)
    }

    async fn gram(&mut self, rows: &[usize], frames: &[Frame<'_>]) -> Result<Running> {
        self.count(rows);
        let m = rows.len();
        let sums_a_block = frames.len() * m * (m + 1) / 2;
        let row = |centre: Centre| match centre {
            Centre::Row(row) => (row as u32, 0),
            Centre::Median { voters } => (MEDIAN, voters as u32),
        };
        let (first, last) = (frames[0], frames[frames.len() - 1]);
        let ((centre, voters), (anchor, _)) = (row(first.centre), row(last.centre));
        let wanted = [rows, &[centre as usize, anchor as usize]].concat();
        let table = self.table(Use::Storage, &RowEntry::scaled_twice(rows, first.scales, last.scales));
        let notes = self.table(Use::Storage, &vec![0u32; m]);
        let mut running = Running::new(m, frames.len());
        let dtype = self.source.dtype();
        let encode = |device: &Device, encoder: &mut Encoder, chunk: &Chunk, slab: &Buffer, given: &Buffer| {
            let params = device.filled(Use::Uniform, &[Params { centre, voters, anchor, ..Params::new(chunk, m) }]);
            let bytes = 4 * (chunk.blocks() * sums_a_block) as u64;
            let sums = device.buffer(Use::Storage, bytes);
            let bindings = [(0, slab), (1, &table), (2, &params), (3, &sums), (4, &notes), (6, given)];
            let bound = device.bind(Kernel::Gram { rows: m, frames: frames.len() }, dtype, &bindings);
            let [x, y, _] = groups(chunk.blocks());
            bound.dispatch(encoder, [x, y, slices(m) as u32]);
            let largest = (&notes, 4 * m as u64);
            if chunk.blocks() <= BLOCKS_FETCHED {
                return (device.fetch_all(encoder, &[(&sums, bytes), largest]), vec![params, sums]);
            }
            let (exact, blocks) = added(device, encoder, dtype, &sums, [sums_a_block, chunk.blocks()]);
            let bytes = 4 * (ADDED * sums_a_block) as u64;
            (device.fetch_all(encoder, &[(&exact, bytes), largest]), vec![params, sums, blocks, exact])
        };
        let take = |chunk: &Chunk, values: &[u32]| {
            let (sums, largest) = values.split_at(values.len() - m);
            if chunk.blocks() <= BLOCKS_FETCHED {
                running.add_blocks(sums);
            } else {
                running.add_digits(sums);
            }
            running.raise(largest);
        };
        self.each_slab(&wanted, encode, take).await?;
        Ok(running)
    }

    async fn mix(&mut self, terms: &[Term], centre: usize, out: &mut Sink<'a>) -> Result<Vec<usize>> {
        self.count(&terms.iter().map(|term| term.row).collect::<Vec<_>>());
        let table = RowEntry::weighted(terms);
        let raised = self.columns(Kernel::Mix, &table, centre as u32, 0, &[], out).await?;
        Ok(terms.iter().zip(raised).filter(|(_, raised)| *raised != 0).map(|(term, _)| term.row).collect())
    }

    async fn coordinate(&mut self, what: &Columns<'_>, out: &mut Sink<'a>) -> Result<Found> {
        self.count(what.rows);
        let n = what.rows.len();
        let Columns { stat, diagnose, .. } = *what;
        let values = what.first.values(n);
        let own = if self.momentums.is_some() { Of::Momentums } else { Of::Rows };
        let (table, of, extra, centre) = match what.first {
            First::Rows => (RowEntry::plain(what.rows), own, Vec::new(), MEDIAN),
            First::Counted(counts) => (RowEntry::plain(what.rows), own, vec![(5, self.table(Use::Storage, counts))], MEDIAN),
            First::Weighted(weights) => (RowEntry::plain(what.rows), own, vec![(5, self.table(Use::Storage, weights))], MEDIAN),
            First::Mixed(mixed) => {
                let (of, extra) = self.mixed(&mixed);
                (RowEntry::scaled(what.rows, mixed.scales), of, extra, mixed.centre as u32)
            }
        };
        let kernel = Kernel::Coordinate(Coordinate { stat, values, of, diagnose });
        let more = if diagnose { values } else { 0 };
        let notes = self.columns(kernel, &table, centre, more, &extra, out).await?;
        let bad = what.rows.iter().zip(&notes).filter(|(_, raised)| **raised != 0).map(|(row, _)| *row).collect();
        Ok(Found { bad, outside: notes[n..].iter().map(|count| u64::from(*count)).collect() })
    }

    async fn deviations(&mut self, rows: &[usize], mixed: Mixed<'_>, sizes: &[f32]) -> Result<Vec<ExactSum>> {
        self.count(rows);
        let m = sizes.len();
        // Mesa's software rasterizer ends loops after 65,535 iterations of an invocation, in silence: here one for each row of each mixed row, and
        // for each mixed row 64 for the bits of two ranks and some others.
        if !self.device.info.real && m * (rows.len() + 70) > 65_000 {
            let few = "at most some 220 mixed rows on a software device; the CPU engine takes more";
            return Err(Error::parameter("deviations from the median", "n", m, few));
        }
        let wanted = [rows, &[mixed.centre]].concat();
        let table = self.table(Use::Storage, &RowEntry::scaled(rows, mixed.scales));
        let (weights, sizes) = (self.weights(&mixed), self.table(Use::Storage, sizes));
        let notes = self.table(Use::Storage, &vec![0u32; rows.len()]);
        let mut totals = vec![ExactSum::default(); m];
        let dtype = self.source.dtype();
        let encode = |device: &Device, encoder: &mut Encoder, chunk: &Chunk, slab: &Buffer, given: &Buffer| {
            let params = Params { centre: mixed.centre as u32, ..Params::new(chunk, rows.len()) };
            let params = device.filled(Use::Uniform, &[params]);
            let blocks = chunk.columns.div_ceil(DEVIATED);
            let bytes = 4 * (blocks * m) as u64;
            let sums = device.buffer(Use::Storage, bytes);
            let inputs = [(0, slab), (1, &table), (2, &params), (3, &sums), (4, &notes), (5, &weights), (6, given), (7, &sizes)];
            device.bind(Kernel::Deviations { values: m }, dtype, &inputs).dispatch(encoder, groups(blocks));
            let (exact, more) = added(device, encoder, dtype, &sums, [m, blocks]);
            (device.fetch(encoder, &exact, 0, 4 * (ADDED * m) as u64), vec![params, sums, exact, more])
        };
        let take = |_: &Chunk, sums: &[u32]| {
            totals.iter_mut().zip(sums.as_chunks().0).for_each(|(total, sum)| total.add_digits(sum));
        };
        self.each_slab(&wanted, encode, take).await?;
        Ok(totals)
    }

    async fn copy_row(&mut self, row: usize, out: &mut Sink<'a>) -> Result<()> {
        match (&self.source, out) {
            (_, Sink::Host(out)) if row == ORIGIN => out.fill(0.0),
            (_, Sink::Host(out)) if row == GIVEN => out.copy_from_slice(&self.given),
            (Source::Host { rows, .. }, Sink::Host(out)) => rows.values(row).copy_to(out),
            (Source::Resident(resident), Sink::Host(out)) => {
                for chunk in self.source.layout().chunks() {
                    let to = &mut out[chunk.first..chunk.first + chunk.columns];
                    self.traffic.downloaded += resident.copy_row(&chunk, row, to).await?;
                }
            }
            (_, out) => {
                // Of one value all ranks are that value, as bits.
                let same = Coordinate { stat: Stat::median(1), values: 1, of: Of::Rows, diagnose: false };
                self.columns(Kernel::Coordinate(same), &RowEntry::plain(&[row]), MEDIAN, 0, &[], out).await?;
            }
        }
        Ok(())
    }

    async fn weiszfeld_round(
        &mut self,
        rows: &[usize],
        centre: usize,
        scales: &[f32],
        state: &Weiszfelds,
    ) -> Result<(Vec<ExactSum>, Vec<u32>)> {
        self.count(rows);
        let (m, dtype) = (rows.len(), self.source.dtype());
        let weights = [0; 4].into_iter().chain(state.scaled_weights.iter().map(|w| w.to_bits()));
        let weights = self.table(Use::Storage, &weights.collect::<Vec<u32>>());
        let table = self.table(Use::Storage, &RowEntry::scaled_twice(rows, scales, &state.shrinks));
        let notes = self.table(Use::Storage, &vec![0u32; m]);
        let (mut squares, mut largest) = (vec![ExactSum::default(); m], vec![0; m]);
        let encode = |device: &Device, encoder: &mut Encoder, chunk: &Chunk, slab: &Buffer, given: &Buffer| {
            let params = device.filled(Use::Uniform, &[Params { centre: centre as u32, ..Params::new(chunk, m) }]);
            let bytes = 16 * (chunk.blocks() * quads(m)) as u64;
            let sums = device.buffer(Use::Storage, bytes);
            let bindings = [(0, slab), (1, &table), (2, &params), (3, &sums), (4, &notes), (5, &weights), (6, given)];
            device.bind(Kernel::Weiszfeld { rows: m }, dtype, &bindings).dispatch(encoder, groups(chunk.blocks()));
            (device.fetch_all(encoder, &[(&sums, bytes), (&notes, 4 * m as u64)]), vec![params, sums])
        };
        let take = |chunk: &Chunk, values: &[u32]| {
            let (sums, noted) = values.split_at(4 * chunk.blocks() * quads(m));
            for block in sums.chunks(4 * quads(m)) {
                squares.iter_mut().zip(block).for_each(|(square, sum)| square.add(f32::from_bits(*sum)));
            }
            largest.copy_from_slice(noted);
        };
        self.each_slab(rows, encode, take).await?;
        Ok((squares, largest))
    }

    /// The rounds' steps are taken on the device, in f32: it waits for the host once in [`ROUNDS`] of them.
    async fn weiszfeld(&mut self, rows: &[usize], centre: usize, scales: &[f32], how: Weiszfeld) -> Result<Weiszfelds> {
        let m = rows.len();
        let (device, dtype) = (self.device.clone(), self.source.dtype());
        let mut state = Weiszfelds::start(scales);
        let start = [0, 0, f32::INFINITY.to_bits(), 0].into_iter().chain(state.scaled_weights.iter().map(|w| w.to_bits()));
        let on_device = self.table(Use::Storage, &start.collect::<Vec<u32>>());
        let table = self.table(Use::Storage, &RowEntry::scaled_twice(rows, scales, &state.shrinks));
        let notes = self.table(Use::Storage, &vec![0u32; m]);
        let blocks: usize = self.source.layout().chunks().map(|c| c.blocks()).sum();
        let sums = device.buffer(Use::Storage, 16 * (blocks * quads(m)) as u64);
        let params = |chunk: &Chunk, before: usize| {
            let first = (before * quads(m)) as u32;
            let params = Params {
                centre: centre as u32,
                first,
                blocks: blocks as u32,
                tolerance: how.tolerance as f32,
                ..Params::new(chunk, m)
            };
            device.filled(Use::Uniform, &[params])
        };
        let bind = |params: &Buffer, slab: &Buffer| {
            let bindings = [(0, slab), (1, &table), (2, params), (3, &sums), (4, &notes), (5, &on_device), (6, slab)];
            device.bind(Kernel::Weiszfeld { rows: m }, dtype, &bindings)
        };
        let any = Chunk { index: 0, first: 0, columns: 0, stride: 0, base: 0 };
        let step_params = params(&any, 0);
        let step = device.bind(Kernel::WeiszfeldStep, dtype, &[(1, &table), (2, &step_params), (3, &sums), (5, &on_device)]);

        // Slabs that stay are bound once, and many rounds go in one submission.
        let (mut bound, mut held) = (Vec::new(), Vec::new());
        if self.source.stays() {
            let mut before = 0;
            for chunk in self.source.layout().chunks() {
                let slab = self.source.slab(&device, &chunk, rows, &mut self.traffic);
                let params = params(&chunk, before);
                bound.push((bind(&params, &slab), groups(chunk.blocks())));
                // A buffer that is dropped may be filled anew before the work that reads it is submitted.
                held.push((params, slab));
                before += chunk.blocks();
            }
        }
        let header = loop {
            if self.source.stays() {
                let mut encoder = self.encoder();
                for _ in 0..ROUNDS.min(how.rounds - state.rounds) {
                    bound.iter().for_each(|(bound, groups)| bound.dispatch(&mut encoder, *groups));
                    step.dispatch(&mut encoder, [1, 1, 1]);
                }
                device.submit(encoder);
            } else {
                let mut before = 0;
                let encode = |device: &Device, encoder: &mut Encoder, chunk: &Chunk, slab: &Buffer, _: &Buffer| {
                    let params = params(chunk, before);
                    before += chunk.blocks();
                    bind(&params, slab).dispatch(encoder, groups(chunk.blocks()));
                    (device.fetch(encoder, &on_device, 0, 16), vec![params])
                };
                self.each_slab(rows, encode, |_, _: &[u32]| ()).await?;
                let mut encoder = self.encoder();
                step.dispatch(&mut encoder, [1, 1, 1]);
                device.submit(encoder);
            }
            let [header, largest] = self.read_tables([(&on_device, 4 + m), (&notes, m)]).await?;
            state.largest = largest;
            state.rounds = header[0] as usize;
            if header[1] != 0 || state.rounds >= how.rounds {
                break header;
            }
        };
        for _ in 0..state.rounds {
            self.count(rows);
        }
        state.residual = f64::from(f32::from_bits(header[2]));
        state.scaled_weights = header[4..].iter().map(|&bits| f32::from_bits(bits)).collect();
        state.weights = state.scaled_weights.iter().zip(&state.shrinks).map(|(w, q)| f64::from(*w) * f64::from(*q)).collect();
        let total: f64 = state.weights.iter().sum();
        state.weights.iter_mut().for_each(|w| *w /= total);
        debug_assert!(total.is_finite() || state.largest.iter().any(|&l| l >= EXPONENT));
        Ok(state)
    }

    async fn plain(&mut self, what: Plain, _room: &mut [u16]) -> Result<u16> {
        let (n, dtype) = (self.n(), self.source.dtype());
        let everyone: Vec<usize> = (0..n).collect();
        self.count(&everyone);
        let encode = |device: &Device, encoder: &mut Encoder, chunk: &Chunk, slab: &Buffer, _: &Buffer| {
            let vectors = n * chunk.stride * dtype.size() / 16;
            let (kernel, count, made) = match what {
                Plain::Read => (Kernel::Read, vectors.div_ceil(READ_VECTORS), 4 * vectors.div_ceil(READ_VECTORS)),
                Plain::Copy => (Kernel::Copy, vectors.div_ceil(THREADS), 16 * vectors),
                Plain::Upload => return (device.fetch(encoder, slab, 0, 4), Vec::new()),
            };
            let to = device.buffer(Use::Storage, made as u64);
            device.bind(kernel, dtype, &[(0, slab), (3, &to)]).dispatch(encoder, groups(count));
            // Of a copy some values, as a sign that it is done.
            (device.fetch(encoder, &to, 0, if what == Plain::Read { made as u64 } else { 16 }), vec![to])
        };
        let mut folded = 0;
        self.each_slab(&everyone, encode, |_, values: &[u16]| folded = values.iter().fold(folded, |a, b| a ^ b)).await?;
        Ok(folded)
    }

    async fn device_seconds(&mut self) -> Option<f64> {
        self.clock.as_ref()?.seconds(&self.device).await.ok()
    }
}
