use super::args::ImatrixArgs;
use super::errors::Failure;
pub fn imatrix(_args: &ImatrixArgs) -> Result<(), Failure> { Ok(()) }
