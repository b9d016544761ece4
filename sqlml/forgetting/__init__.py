"""Erasing a key from a deployment, and saying where it is still."""

from sqlml.forgetting.erased import Erased, Forgotten
from sqlml.forgetting.routine import forget
from sqlml.forgetting.subject import key_of

__all__ = ["Erased", "Forgotten", "forget", "key_of"]
