//! Loaded models of this process, by the sha256 of their bytes.
