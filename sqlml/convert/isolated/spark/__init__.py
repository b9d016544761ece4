"""Spark ML models, read from what Spark saved of them; Spark itself is not started."""
