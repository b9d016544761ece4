"""Labels that were observed, beside the predictions of then, and what they say of each version."""
