//! Kernels: matmul.
