//! Kernels: linear.
