"""The main job on real data, as a person would do it: train, register, deploy, query, compare, roll back."""
