"""The environments that models are loaded in: what a model was saved with, and a Python that has the same."""

from sqlml.environments.choosing import AUTO, CURRENT, Choice, choose
from sqlml.environments.environment import Environment, current

__all__ = ["AUTO", "CURRENT", "Choice", "Environment", "choose", "current"]
