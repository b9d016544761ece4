"""Run events for an OpenLineage receiver: each deploy and each scoring, where its standard configuration names one.

Without a configuration nothing is imported and nothing is sent. With one, events are built and sent by a thread of their
own: a receiver that is down neither fails nor slows what is reported.
"""

from sqlml.openlineage.reporting import (
    deploy_begun,
    deploy_completed,
    deploy_started,
    scoring_completed,
    scoring_started,
)
from sqlml.openlineage.sending import finish

__all__ = ["deploy_begun", "deploy_completed", "deploy_started", "finish", "scoring_completed", "scoring_started"]
