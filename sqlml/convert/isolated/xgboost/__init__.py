"""XGBoost's models, read from their own JSON or UBJSON and answered as XGBoost answers; XGBoost itself is only asked to compare."""
