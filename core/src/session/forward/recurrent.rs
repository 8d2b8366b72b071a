//! Mixers with a state: short convolutions and state spaces.

use super::{Pass, apply, weights};
use crate::cache::Cache;
use crate::model::plan::{ShortConv, StateSpace};
use crate::ops::elementwise::map;
use crate::ops::functions::Silu;
use crate::ops::norm::normalize;
use crate::ops::recurrent::{ScanWeights, convolve, scan};
use crate::session::buffers::Buffers;

impl Pass<'_> {
    /// `o = short_conv(h)`
    pub(super) fn short_conv(&mut self, layer: &ShortConv) {
        let (n, stream) = (self.positions.n, self.width());
        let width = layer.conv.width;
        let (cx, model) = (&self.cx, self.model);
        let Buffers { h, o, fused, attended, activations, .. } = &mut *self.buffers;
        let (rows, mixed) = (&mut fused[..n * 3 * width], &mut attended[..n * width]);
        apply(cx, model, activations, &h[..stream], [(&layer.input, &mut *rows)]);
        let weight = model.vector(layer.conv.weight);
        let bias = layer.conv.bias.map(|bias| model.vector(bias));
        let state = state(self.cache);
        for (row, mixed) in rows.chunks_exact(3 * width).zip(mixed.chunks_exact_mut(width)) {
            let (b, row) = row.split_at(width);
            let (c, x) = row.split_at(width);
            mixed.iter_mut().zip(b).zip(x).for_each(|((mixed, b), x)| *mixed = b * x);
            convolve(&layer.conv, weight, bias, state, mixed);
            mixed.iter_mut().zip(c).for_each(|(mixed, c)| *mixed *= c);
        }
        apply(cx, model, activations, mixed, [(&layer.out, &mut o[..stream])]);
    }

    /// `o = state_space(h)`
    pub(super) fn state_space(&mut self, space: &StateSpace) {
        let (n, stream) = (self.positions.n, self.width());
        let inner = space.inner;
        let (cx, model) = (&self.cx, self.model);
        let Buffers { h, o, fused, attended, activations, .. } = &mut *self.buffers;
        let (rows, y) = (&mut fused[..n * space.input.n_out], &mut attended[..n * inner]);
        apply(cx, model, activations, &h[..stream], [(&space.input, &mut *rows)]);
        let weight = model.vector(space.conv.weight);
        let bias = space.conv.bias.map(|bias| model.vector(bias));
        let (conv_state, scan_state) = state(self.cache).split_at_mut(space.conv.state());
        for row in rows.chunks_exact_mut(space.input.n_out) {
            let xbc = &mut row[inner..][..space.conv.width];
            convolve(&space.conv, weight, bias, conv_state, xbc);
            map(cx, Silu, xbc);
        }
        let scan_weights = ScanWeights {
            dt_bias: model.vector(space.dt_bias),
            decay: model.vector(space.decay),
            skip: model.vector(space.skip),
        };
        scan(cx, space, scan_weights, rows, scan_state, y);
        normalize(cx, weights(model, &space.norm), inner, inner / space.n_groups, y);
        apply(cx, model, activations, y, [(&space.out, &mut o[..stream])]);
    }
}

/// The state of a recurrent layer.
fn state(cache: &mut Cache) -> &mut [f32] {
    match cache {
        Cache::State(state) => state,
        Cache::Rows(_) => unreachable!("the cache was made for the mixer"),
    }
}
