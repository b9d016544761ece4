//! Kernels: reduce.
