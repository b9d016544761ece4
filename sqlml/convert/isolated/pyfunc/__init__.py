"""A python_function of MLflow's in the isolated process: it is asked, never converted."""
