//! The fallback: onnxruntime, found at run time.
