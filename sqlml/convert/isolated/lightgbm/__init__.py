"""LightGBM's models, read from their own text and answered as LightGBM answers; LightGBM itself is only asked to compare."""
