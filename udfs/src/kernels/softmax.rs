//! Kernels: softmax.
