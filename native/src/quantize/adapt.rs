//! Types chosen by what they cost.
