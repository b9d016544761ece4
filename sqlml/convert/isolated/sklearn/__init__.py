"""scikit-learn estimators as ONNX that computes what they compute: one module per family, dispatched in convert.py."""
