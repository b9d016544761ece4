"""CatBoost's models, read from the JSON that CatBoost itself writes of them, and answered as CatBoost answers."""
