//! Why a model cannot be loaded or run.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The bytes are not a model: refused, whichever engine is asked.
    Malformed(String),
    /// A good model with something that has no kernel here: onnxruntime runs it.
    Unsupported(String),
    /// The model ran and could not answer: becomes the query's error.
    Failed(String),
}

pub type Result<T> = std::result::Result<T, Error>;

pub fn malformed<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::Malformed(why.into()))
}

pub fn unsupported<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Unsupported(what.into()))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed(why) => write!(f, "not a readable ONNX model: {why}"),
            Error::Unsupported(what) => write!(f, "no native kernel: {what}"),
            Error::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}
