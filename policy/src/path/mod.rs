//! The path of a request in the one form that policies are held against, and the patterns that they hold against it.

mod escape;
mod normalization;
mod pattern;
mod template;

pub use normalization::{FragmentRule, MAX_PATH_BYTES, NormalPath, PathNormalization, PathRefusal, normalize};
pub use pattern::{PathPattern, PathPatternError};
pub use template::{PathTemplate, PathTemplateError};
