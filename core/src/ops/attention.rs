//! Softmax attention over cached keys and values.
//!
//! A tile of the work is one key head with all query heads that share it, over some neighbouring tokens: its rows. It
//! walks along the context in blocks of `BLOCK` positions. A block's keys and values are decoded once for all rows,
//! the keys transposed, so that both products (queries with keys, and probabilities with values) are one and the same
//! `Product`, which keeps a few rows' sums in registers. Where there are only a few rows, as when generating, it is
//! not worth transposing: `Dots` multiplies along the keys. Scores live for one block of a few rows: probabilities
//! are made with a running maximum (Milakov and Gimelshein, 2018), so nothing grows with the context.
//!
//! Blocks begin at multiples of their length from the text's beginning, whatever is attended to, so that a token's sums
//! do not depend on the tokens that it was read with.
#![expect(clippy::needless_range_loop, reason = "one index into several arrays reads best here")]

use core::array;
use core::ops::Range;

use super::functions::{Exp, Function, Softcap, one};
use super::matmul::Cx;
use crate::cache::LayerCache;
use crate::exec::{Columns, for_tiles};
use crate::model::plan::{KvShape, Mask};
use crate::simd::{Isa, Kernel};

/// Positions that are worked on together.
const BLOCK: usize = 64;

/// Rows of a tile, as far as one token's heads are not more.
const ROWS: usize = 128;

/// Where a batch has no more rows than these for a key head, they are multiplied along the keys.
const FEW: usize = 4;

/// Rows whose scores are made together.
const SCORED: usize = 6;

/// Floats of a line of the processor's cache.
const LINE: usize = 16;

/// Which tokens attend: neighbours of one text.
#[derive(Debug, Clone, Copy)]
pub struct Positions {
    /// Where their text begins, of which there may be several behind each other.
    pub start: usize,
    /// The first token's position.
    pub first: usize,
    /// How many tokens.
    pub n: usize,
}

impl Positions {
    /// The positions that the token `i` of these sees.
    fn seen_by(self, mask: Mask, i: usize) -> Range<usize> {
        let at = self.first + i;
        let end = match mask {
            Mask::Causal | Mask::Sliding(_) => at + 1,
            Mask::Full => self.first + self.n,
            Mask::SlidingBothWays(window) => (at + window / 2 + 1).min(self.first + self.n),
        };
        mask.oldest_seen(at).max(self.start)..end
    }
}

/// What query heads do with scores.
#[derive(Debug, Clone, Copy)]
pub struct Queries<'a> {
    /// How many; a multiple of the key heads.
    pub n_heads: usize,
    /// Multiplies scores.
    pub scale: f32,
    /// What scores are bent to stay below.
    pub softcap: Option<f32>,
    /// ALiBi's exponent: see [`Attention`](crate::model::plan::Attention).
    pub alibi: Option<f32>,
    /// A score of each head that has no value.
    pub sinks: Option<&'a [f32]>,
}

impl Queries<'_> {
    /// By how much a head's scores fall with each position of distance (Press, Smith, Lewis 2021). Where the number of
    /// heads is no power of two, those beyond one have rates between the others'.
    fn slope(&self, head: usize, alibi: f32) -> f32 {
        let whole = 1 << self.n_heads.ilog2();
        let step = if head < whole { head + 1 } else { 2 * (head - whole) + 1 };
        let steps = if head < whole { whole } else { 2 * whole };
        libm::exp2f(-alibi * step as f32 / steps as f32)
    }
}

/// What a task has to itself, in one buffer: lengths in floats, each whole cache lines.
#[derive(Debug, Clone, Copy)]
pub struct Scratch {
    /// Query heads of one key head.
    group: usize,
    /// Tokens of a tile.
    tokens: usize,
    /// A key's row while it is transposed, or multiplied.
    key: usize,
    /// A value's row, and a row of sums.
    value: usize,
}

impl Scratch {
    /// For layers of this shape with `n_heads` query heads, and batches of up to `batch` tokens.
    pub fn new(n_heads: usize, shape: &KvShape, batch: usize) -> Self {
        let group = n_heads / shape.n_heads;
        Self {
            group,
            tokens: (ROWS / group).clamp(1, batch.max(1)),
            key: shape.key.next_multiple_of(LINE),
            value: shape.value.next_multiple_of(LINE),
        }
    }

    fn rows(self) -> usize {
        self.tokens * self.group
    }

    /// Floats for each thread that can run; `None` beyond a `usize`.
    pub fn floats(self) -> Option<usize> {
        let sums = self.rows().checked_mul(self.value.checked_add(2)?)?;
        let staged = self.key.checked_mul(8)?;
        let keys = self.key.checked_mul(BLOCK)?;
        let values = self.value.checked_mul(BLOCK)?;
        let len = sums.checked_add(staged)?.checked_add(keys)?.checked_add(values)?;
        len.checked_next_multiple_of(LINE)?.checked_add(LINE)
    }

    #[inline(always)]
    fn split(self, scratch: &mut [f32]) -> Parts<'_> {
        let unaligned = scratch.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let (keys, rest) = scratch[unaligned..].split_at_mut(self.key * BLOCK);
        let (values, rest) = rest.split_at_mut(self.value * BLOCK);
        let (staged, rest) = rest.split_at_mut(self.key * 8);
        let (sums, rest) = rest.split_at_mut(self.value * self.rows());
        let (maxima, totals) = rest.split_at_mut(self.rows());
        Parts { keys, values, staged, sums, maxima, totals }
    }
}

/// [`Scratch`], cut.
struct Parts<'a> {
    /// A block's keys: a row for every position, where rows are few ([`Tile::few`]), or else transposed, a row of [`BLOCK`]
    /// positions for every element.
    keys: &'a mut [f32],
    /// A block's values, a row for every position.
    values: &'a mut [f32],
    /// Eight positions' keys.
    staged: &'a mut [f32],
    /// Each row's weighted sum of the values so far,
    sums: &'a mut [f32],
    /// its greatest score,
    maxima: &'a mut [f32],
    /// and the sum of its weights.
    totals: &'a mut [f32],
}

/// `out = softmax(scale q k) v` for every head of every token. `q`: tokens x heads of the cache's key width; `out`:
/// tokens x heads of its value width. The cache already holds the tokens' keys and values. `scratch` is
/// [`Scratch::floats`] floats for each thread.
pub fn attend(
    cx: &Cx<'_>,
    queries: &Queries<'_>,
    cache: &LayerCache,
    positions: Positions,
    q: &[f32],
    out: &mut [f32],
    scratch: &mut [f32],
) {
    let shape = cache.shape();
    let layout = Scratch::new(queries.n_heads, shape, positions.n);
    let per_task = layout.floats().expect("the session has allocated it");
    let exec = cx.exec_for(q.len().saturating_mul(positions.first - positions.start + positions.n));
    let width = exec.width();
    // Some tiles for each thread, even if that makes them lower.
    let bands = if width == 1 { 1 } else { (4 * width).div_ceil(shape.n_heads) };
    let tokens = layout.tokens.min(positions.n.div_ceil(bands));
    let columns = layout.group * shape.value;
    let scratch = &mut scratch[..width * per_task];
    for_tiles(
        exec,
        out,
        queries.n_heads * shape.value,
        tokens,
        columns,
        scratch,
        per_task,
        |first, column, out, own| {
            let head = column / columns;
            cx.level.run(Tile { queries, cache, positions, q, layout, first, head, out, scratch: own });
        },
    );
}

/// Some tokens' query heads of one key head.
struct Tile<'a, 'b> {
    queries: &'a Queries<'a>,
    cache: &'a LayerCache,
    positions: Positions,
    q: &'a [f32],
    layout: Scratch,
    /// The first token.
    first: usize,
    /// The key head.
    head: usize,
    out: &'a mut Columns<'b, f32>,
    scratch: &'a mut [f32],
}

impl Kernel for Tile<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        let mut parts = self.layout.split(core::mem::take(&mut self.scratch));
        let rows = self.out.rows() * self.layout.group;
        for row in 0..rows {
            let sink = self.queries.sinks.map(|sinks| sinks[self.query_head(row)]);
            (parts.maxima[row], parts.totals[row]) =
                sink.map_or((f32::NEG_INFINITY, 0.0), |sink| (sink, 1.0));
        }
        parts.sums[..rows * self.layout.value].fill(0.0);
        let (oldest, end) = (self.seen(0).start, self.seen(rows - 1).end);
        let first_block = oldest - (oldest - self.positions.start) % BLOCK;
        for start in (first_block..end).step_by(BLOCK) {
            let block = Block { start, from: oldest.max(start), to: end.min(start + BLOCK) };
            let at = (block.from - start) * self.layout.value;
            let values = &mut parts.values[at..];
            self.cache.values(isa, self.head, block.from..block.to, self.layout.value, values);
            if self.few() {
                self.cache.keys(isa, self.head, block.from..block.to, self.layout.key, parts.keys);
            } else {
                self.transpose_keys(isa, block, &mut parts);
            }
            for row in (0..rows).step_by(SCORED) {
                self.rows(isa, block, row..rows.min(row + SCORED), &mut parts);
            }
        }
        let value = self.cache.shape().value;
        for row in 0..rows {
            let scale = 1.0 / parts.totals[row];
            let sums = &parts.sums[row * self.layout.value..][..value];
            let out = &mut self.out.row(row / self.layout.group)[row % self.layout.group * value..][..value];
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * scale);
        }
    }
}

/// [`BLOCK`] positions from `start`, of which a tile has the keys and values of `from..to`. Position `start + i` is lane
/// `i`.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    from: usize,
    to: usize,
}

impl Tile<'_, '_> {
    /// Whether keys are multiplied as they lie. It is not a matter of this tile's height, which depends on the number
    /// of threads: that must not change the sums.
    #[inline(always)]
    fn few(&self) -> bool {
        self.positions.n * self.layout.group <= FEW
    }

    #[inline(always)]
    fn query_head(&self, row: usize) -> usize {
        self.head * self.layout.group + row % self.layout.group
    }

    #[inline(always)]
    fn token(&self, row: usize) -> usize {
        self.first + row / self.layout.group
    }

    /// The positions that a row sees.
    #[inline(always)]
    fn seen(&self, row: usize) -> Range<usize> {
        self.positions.seen_by(self.cache.shape().mask, self.token(row))
    }

    #[inline(always)]
    fn query(&self, row: usize) -> &[f32] {
        let key = self.cache.shape().key;
        &self.q[(self.token(row) * self.queries.n_heads + self.query_head(row)) * key..][..key]
    }

    /// Adds a block to the sums of at most [`SCORED`] rows.
    #[inline(always)]
    fn rows<I: Isa>(&self, isa: I, block: Block, rows: Range<usize>, parts: &mut Parts<'_>) {
        let n = rows.len();
        let mut q = [self.query(rows.start); SCORED];
        // The lanes that each row sees, and those that any of them sees.
        let mut seen = [(0, 0); SCORED];
        let (mut low, mut high) = (BLOCK, 0);
        for i in 0..n {
            q[i] = self.query(rows.start + i);
            let all = self.seen(rows.start + i);
            let (from, to) = (all.start.max(block.from), all.end.min(block.to));
            if from < to {
                seen[i] = (from - block.start, to - block.start);
                (low, high) = (low.min(seen[i].0), high.max(seen[i].1));
            }
        }
        if high == 0 {
            return;
        }
        let mut scores = [[0.0; BLOCK]; SCORED];
        // Whole vectors of scores.
        let (from, to) = (low / 8 * 8, high.next_multiple_of(8));
        if self.few() {
            let keys = &parts.keys[(block.start + low - block.from) * self.layout.key..];
            dots(isa, &q[..n], keys, self.layout.key, &mut scores, low..high);
        } else {
            product(isa, &q[..n], parts.keys, scores.as_flattened_mut(), BLOCK, from..to);
        }
        let width = self.layout.value;
        let mut weights: [&[f32]; SCORED] = [&[]; SCORED];
        for (i, scores) in scores[..n].iter_mut().enumerate() {
            let row = rows.start + i;
            if let Some(alibi) = self.queries.alibi {
                let slope = self.queries.slope(self.query_head(row), alibi) / self.queries.scale;
                let at = (self.positions.first + self.token(row)) as f32 - (block.start + from) as f32;
                lean(isa, slope, at, &mut scores[from..to]);
            }
            let (max, total) = (&mut parts.maxima[row], &mut parts.totals[row]);
            let factor = soften(isa, self.queries, &mut scores[from..to], from, seen[i], max, total);
            if factor != 1.0 {
                let factor = isa.splat(factor);
                for sum in parts.sums[row * width..][..width].as_chunks_mut::<8>().0 {
                    isa.store(isa.mul(isa.load(sum), factor), sum);
                }
            }
            weights[i] = &scores[low..high];
        }
        let sums = &mut parts.sums[rows.start * width..];
        product(isa, &weights[..n], &parts.values[low * width..], sums, width, 0..width);
    }

    /// Decodes a block's keys, the elements of a position below each other.
    #[inline(always)]
    fn transpose_keys<I: Isa>(&self, isa: I, block: Block, parts: &mut Parts<'_>) {
        let stride = self.layout.key;
        for lane in (0..BLOCK).step_by(8) {
            let first = block.start + lane;
            let (from, to) = (block.from.max(first), block.to.min(first + 8));
            if from >= to {
                continue;
            }
            let staged = &mut parts.staged[(from - first) * stride..];
            self.cache.keys(isa, self.head, from..to, stride, staged);
            for column in (0..stride).step_by(8) {
                let mut rows = [isa.zero(); 8];
                for i in 0..8 {
                    rows[i] = isa.load(eight(parts.staged, i * stride + column));
                }
                let rows = isa.transpose(rows);
                for i in 0..8 {
                    let at = (column + i) * BLOCK + lane;
                    isa.store(rows[i], parts.keys[at..].first_chunk_mut().expect("a whole vector"));
                }
            }
        }
    }
}

/// Lowers each score by `slope` times its distance from lane `at`, which may lie outside.
#[inline(always)]
fn lean<I: Isa>(isa: I, slope: f32, at: f32, scores: &mut [f32]) {
    let mut distance = isa.add(isa.load(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), isa.splat(-at));
    for eight in scores.as_chunks_mut::<8>().0 {
        let apart = isa.max(distance, isa.mul(distance, isa.splat(-1.0)));
        isa.store(isa.mul_add(isa.splat(-slope), apart, isa.load(eight)), eight);
        distance = isa.add(distance, isa.splat(8.0));
    }
}

/// Makes weights of a row's scores, which are those of lanes `first..` of a block and seen from `seen.0` up to `seen.1`:
/// exponentials below the greatest so far, which `max` becomes, and adds them to `total`. Returns what everything that
/// was summed before must be multiplied with.
#[inline(always)]
fn soften<I: Isa>(
    isa: I,
    queries: &Queries<'_>,
    scores: &mut [f32],
    first: usize,
    seen: (usize, usize),
    max: &mut f32,
    total: &mut f32,
) -> f32 {
    if seen.0 == seen.1 {
        scores.fill(0.0);
        return 1.0;
    }
    let scale = isa.splat(queries.scale);
    for eight in scores.as_chunks_mut::<8>().0 {
        let scaled = isa.mul(isa.load(eight), scale);
        let capped = match queries.softcap {
            Some(cap) => Softcap(cap).of(isa, scaled),
            None => scaled,
        };
        isa.store(capped, eight);
    }
    // A selection: what lies in unseen lanes may be anything.
    scores[..seen.0 - first].fill(f32::NEG_INFINITY);
    scores[seen.1 - first..].fill(f32::NEG_INFINITY);
    let mut greatest = isa.splat(*max);
    for eight in scores.as_chunks::<8>().0 {
        greatest = isa.max(isa.load(eight), greatest);
    }
    let mut new_max = *max;
    for lane in isa.to_array(greatest) {
        new_max = if lane > new_max { lane } else { new_max };
    }
    // All scores so far may be minus infinity, or no number.
    let factor = if *max == new_max { 1.0 } else { one(Exp, *max - new_max) };
    *max = new_max;
    let (below, mut sum) = (isa.splat(-new_max), isa.zero());
    for eight in scores.as_chunks_mut::<8>().0 {
        let weights = Exp.of(isa, isa.add(isa.load(eight), below));
        sum = isa.add(sum, weights);
        isa.store(weights, eight);
    }
    *total = *total * factor + isa.sum(sum);
    factor
}

#[inline(always)]
fn eight(x: &[f32], at: usize) -> &[f32; 8] {
    x[at..].first_chunk().expect("a whole vector")
}

/// `scores[i][lanes.start + p] = sum over c of q[i][c] * keys[p * stride + c]`, for at most [`FEW`] rows.
#[inline(always)]
fn dots<I: Isa>(
    isa: I,
    q: &[&[f32]],
    keys: &[f32],
    stride: usize,
    scores: &mut [[f32; BLOCK]; SCORED],
    lanes: Range<usize>,
) {
    match *q {
        [a, b, c, d] => isa.enter(Dots { q: [a, b, c, d], keys, stride, scores, lanes }),
        [a, b, c] => isa.enter(Dots { q: [a, b, c], keys, stride, scores, lanes }),
        [a, b] => isa.enter(Dots { q: [a, b], keys, stride, scores, lanes }),
        [a] => isa.enter(Dots { q: [a], keys, stride, scores, lanes }),
        _ => unreachable!("{} rows are not few", q.len()),
    }
}

struct Dots<'a, const N: usize> {
    q: [&'a [f32]; N],
    keys: &'a [f32],
    stride: usize,
    scores: &'a mut [[f32; BLOCK]; SCORED],
    lanes: Range<usize>,
}

impl<const N: usize> Kernel for Dots<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        // What is multiplied at once has to fit the registers.
        if I::REGISTERS >= 16 { self.by::<I, 2>(isa) } else { self.by::<I, 1>(isa) }
    }
}

impl<const N: usize> Dots<'_, N> {
    /// `P` positions at a time.
    #[inline(always)]
    fn by<I: Isa, const P: usize>(self, isa: I) {
        let Self { q, keys, stride, scores, lanes } = self;
        let width = q[0].len();
        let last = lanes.len() - 1;
        for p in (0..lanes.len()).step_by(P) {
            // The last positions may be multiplied again.
            let positions: [usize; P] = array::from_fn(|j| (p + j).min(last));
            let keys = positions.map(|p| &keys[p * stride..][..width]);
            let mut sums = [[isa.zero(); P]; N];
            for c in (0..width / 8 * 8).step_by(8) {
                let mut k = [isa.zero(); P];
                for j in 0..P {
                    k[j] = isa.load(eight(keys[j], c));
                }
                for i in 0..N {
                    let q = isa.load(eight(q[i], c));
                    for j in 0..P {
                        sums[i][j] = isa.mul_add(q, k[j], sums[i][j]);
                    }
                }
            }
            for i in 0..N {
                for j in 0..P {
                    let mut sum = isa.sum(sums[i][j]);
                    for c in width / 8 * 8..width {
                        sum += q[i][c] * keys[j][c];
                    }
                    scores[i][lanes.start + positions[j]] = sum;
                }
            }
        }
    }
}

/// `out[i][c] += sum over k of a[i][k] * b[k][c]` for the columns `c`, a multiple of 8. The rows of `b` and of `out` are
/// `stride` apart.
#[inline(always)]
fn product<I: Isa>(isa: I, a: &[&[f32]], b: &[f32], out: &mut [f32], stride: usize, columns: Range<usize>) {
    let mut i = 0;
    while i < a.len() {
        let (out, columns) = (&mut out[i * stride..], columns.clone());
        i += match a[i..] {
            [a0, a1, a2, a3, a4, a5, ..] if I::REGISTERS >= 16 => {
                isa.enter(Product { a: [a0, a1, a2, a3, a4, a5], b, out, stride, columns })
            }
            [a0, a1, a2, a3, ..] if I::REGISTERS >= 16 => {
                isa.enter(Product { a: [a0, a1, a2, a3], b, out, stride, columns })
            }
            [a0, a1, a2, ..] if I::REGISTERS >= 16 => {
                isa.enter(Product { a: [a0, a1, a2], b, out, stride, columns })
            }
            [a0, a1, ..] => isa.enter(Product { a: [a0, a1], b, out, stride, columns }),
            [a0] => isa.enter(Product { a: [a0], b, out, stride, columns }),
            [] => break,
        };
    }
}

/// `N` rows of a product; returns `N`.
struct Product<'a, const N: usize> {
    a: [&'a [f32]; N],
    b: &'a [f32],
    out: &'a mut [f32],
    stride: usize,
    columns: Range<usize>,
}

impl<const N: usize> Kernel for Product<'_, N> {
    type Output = usize;

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) -> usize {
        while !self.columns.is_empty() {
            self.columns.start += match self.columns.len() / 8 {
                4.. if I::REGISTERS >= 32 => self.some_columns::<I, 4>(isa),
                2.. if I::REGISTERS < 32 => self.some_columns::<I, 2>(isa),
                _ => self.some_columns::<I, 1>(isa),
            };
        }
        N
    }
}

impl<const N: usize> Product<'_, N> {
    /// The first `8 * C` columns, whose sums stay in registers; returns how many.
    #[inline(always)]
    fn some_columns<I: Isa, const C: usize>(&mut self, isa: I) -> usize {
        let Self { a, b, out, stride, columns: Range { start, .. } } = self;
        let len = a[0].len();
        let mut factors: [&[f32]; N] = [&[]; N];
        for i in 0..N {
            factors[i] = &a[i][..len];
        }
        let mut sums = [[isa.zero(); C]; N];
        for i in 0..N {
            for j in 0..C {
                sums[i][j] = isa.load(eight(out, i * *stride + *start + 8 * j));
            }
        }
        // Rows have one length, so the compiler looks once whether columns lie in them.
        for (k, row) in b.chunks_exact(*stride).take(len).enumerate() {
            let row = &row[*start..][..8 * C];
            let mut vectors = [isa.zero(); C];
            for j in 0..C {
                vectors[j] = isa.load(eight(row, 8 * j));
            }
            for i in 0..N {
                let factor = isa.splat(factors[i][k]);
                for j in 0..C {
                    sums[i][j] = isa.mul_add(factor, vectors[j], sums[i][j]);
                }
            }
        }
        for i in 0..N {
            for j in 0..C {
                let at = i * *stride + *start + 8 * j;
                isa.store(sums[i][j], out[at..].first_chunk_mut().expect("a whole vector"));
            }
        }
        8 * C
    }
}
