"""Every estimator of scikit-learn, fitted on small made data: which are exact, and which are refused and why."""
