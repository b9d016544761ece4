//! A model that scores: native kernels, or onnxruntime.
