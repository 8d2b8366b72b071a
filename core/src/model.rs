//! A model: its plan, and the weights where they lie in the file.

mod display;
pub mod plan;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::arch;
use crate::bytes::Bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::gguf::{File, TensorInfo};
use crate::ops::matmul::{Matrix, Watched};
use crate::quant::fours::Layout;
use plan::{Linear, Plan, TensorId};

/// A model that is ready to run, shared by any number of sessions on any number of threads. Cloning costs a
/// reference count. Matrices stay in the file's bytes; only norms and biases are decoded.
#[derive(Debug, Clone)]
pub struct Model {
    inner: Arc<Inner>,
    watch: Option<Arc<dyn Watch>>,
}

/// Sees what comes into the matrices of a model; see [`Model::watched`].
pub trait Watch: core::fmt::Debug + Send + Sync {
    /// Rows of `cols` values each are about to be multiplied with a matrix: the tensor at this position of the file's
    /// table or, where several are stacked in it, its part `part`.
    fn product(&self, tensor: TensorId, part: usize, rows: &[f32], cols: usize);
}

#[derive(Debug)]
struct Inner {
    file: File,
    plan: Plan,
    /// The bytes of every tensor, and how they lie.
    data: Vec<(Bytes, Layout)>,
    /// Of tensors that are vectors of weights: their values.
    vectors: Vec<Option<Box<[f32]>>>,
}

impl Model {
    /// Plans the model in `file` and decodes its small vectors.
    ///
    /// # Errors
    /// As [`arch::plan`]; [`ErrorKind::Missing`] when only the heads of the files are here.
    pub fn new(file: &File) -> Result<Self> {
        if !file.has_data() {
            return Err(Error::new(
                ErrorKind::Missing,
                "the weights are not here, only the heads of the files",
            ));
        }
        let plan = arch::plan(file)?;
        let data: Vec<_> =
            file.tensors().iter().map(|tensor| (file.data(tensor), file.layout(tensor))).collect();
        let mut vectors: Vec<Option<Box<[f32]>>> = Vec::new();
        vectors.resize_with(data.len(), || None);
        let mut result = Ok(());
        plan.for_each_vector(&mut |id| {
            let tensor = &file.tensors()[id];
            let mut values = alloc::vec![0.0; tensor.elements()].into_boxed_slice();
            match matrix(tensor, &data[id], 0, 1) {
                Ok(rows) => {
                    (0..rows.rows()).zip(values.chunks_mut(rows.cols())).for_each(|(r, to)| rows.row(r, to))
                }
                Err(error) => result = Err(error.at_tensor(&*tensor.name)),
            }
            vectors[id] = Some(values);
        });
        result?;
        Ok(Self { inner: Arc::new(Inner { file: file.clone(), plan, data, vectors }), watch: None })
    }

    /// Whether somebody sees what comes into the matrices.
    pub(crate) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// The same model, whose products are watched.
    #[must_use]
    pub fn watched(&self, watch: Arc<dyn Watch>) -> Self {
        Self { inner: Arc::clone(&self.inner), watch: Some(watch) }
    }

    /// What the model computes.
    pub fn plan(&self) -> &Plan {
        &self.inner.plan
    }

    /// The file it comes from: metadata, vocabulary.
    pub fn file(&self) -> &File {
        &self.inner.file
    }

    /// The values of a norm, a bias or a factor of the plan.
    pub(crate) fn vector(&self, id: TensorId) -> &[f32] {
        self.inner.vectors[id].as_deref().expect("the plan's vectors were decoded")
    }

    /// The weights of a linear map of the plan.
    pub(crate) fn matrix(&self, linear: &Linear) -> Matrix<'_> {
        self.table(linear.weight)
    }

    /// A tensor of the plan as rows.
    pub(crate) fn table(&self, id: TensorId) -> Matrix<'_> {
        self.expert(id, 0, 1)
    }

    /// One of `n` matrices that are stacked in a tensor of the plan.
    pub(crate) fn expert(&self, id: TensorId, expert: usize, n: usize) -> Matrix<'_> {
        let tensor = &self.inner.file.tensors()[id];
        let matrix =
            matrix(tensor, &self.inner.data[id], expert, n).expect("shapes were checked with the file");
        self.watch(matrix, id, expert)
    }

    fn watch<'a>(&'a self, matrix: Matrix<'a>, tensor: TensorId, part: usize) -> Matrix<'a> {
        match &self.watch {
            None => matrix,
            Some(watch) => matrix.watched(Watched { watch: &**watch, tensor, part }),
        }
    }
}

/// Part `part` of `n` of a tensor's rows.
fn matrix<'a>(
    tensor: &TensorInfo,
    (data, layout): &'a (Bytes, Layout),
    part: usize,
    n: usize,
) -> Result<Matrix<'a>> {
    let bytes = data.len() / n;
    let data = &data[part * bytes..][..bytes];
    Ok(Matrix::new(tensor.dtype, tensor.rows() / n, tensor.cols(), data)?.laid(*layout))
}
