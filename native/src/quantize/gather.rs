//! Gathers importance while a model reads: the squares of what comes into its matrices, summed per column.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use motelm_core::model::Watch;
use motelm_core::model::plan::TensorId;

use super::imatrix::{Gathered, Squares};
use motelm_core::gguf::File;

/// Sums squares of what comes into the matrices of a model's blocks.
#[derive(Debug)]
pub struct Gather {
    /// By tensor: its name, and its matrices where there are several of them.
    tensors: Vec<(String, usize)>,
    squares: Mutex<BTreeMap<TensorId, Squares>>,
}

impl Gather {
    /// For the model in `file`.
    pub fn new(file: &File) -> Self {
        let tensors = file.tensors().iter().map(|tensor| {
            let [_, _, matrices, more] = tensor.shape;
            (tensor.name.clone(), matrices * more)
        });
        Self { tensors: tensors.collect(), squares: Mutex::default() }
    }

    /// What was gathered so far.
    pub fn gathered(&self) -> Gathered {
        let squares = self.squares.lock().unwrap_or_else(PoisonError::into_inner);
        let named = squares.iter().map(|(&id, squares)| (self.tensors[id].0.clone(), squares.clone()));
        Gathered { squares: named.collect(), ..Gathered::default() }
    }
}

impl Watch for Gather {
    fn product(&self, tensor: TensorId, part: usize, rows: &[f32], cols: usize) {
        let (name, matrices) = &self.tensors[tensor];
        // The output matrix sees one row of each piece of text; that tells nothing.
        if !name.starts_with("blk.") || part >= *matrices {
            return;
        }
        let mut squares = self.squares.lock().unwrap_or_else(PoisonError::into_inner);
        let Squares { sums, counts } = squares
            .entry(tensor)
            .or_insert_with(|| Squares { sums: vec![0.0; matrices * cols], counts: vec![0.0; *matrices] });
        let sums = &mut sums[part * cols..][..cols];
        for row in rows.chunks_exact(cols) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * x);
        }
        counts[part] += (rows.len() / cols) as f32;
    }
}
