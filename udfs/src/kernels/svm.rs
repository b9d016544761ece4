//! Kernels: svm.
