"""The environment in front of production, as it is configured."""

from __future__ import annotations

from mlpipeline.config.sections.deploy import Deploy
from mlpipeline.config.sections.rollout import Rollout
from mlpipeline.config.sections.target import Target
from mlpipeline.config.sections.verification import Verify
from mlpipeline.config.values import Section


class Staging(Section, frozen=True):
    """A service of its own, named ``<service>-staging``, to which each package is released before it may reach production.

    What is not said here is as in production, but that nobody is compared with anybody: there are no users."""

    target: Target = Target()
    """Where it runs; beside production on one machine it needs another port."""
    deploy: Deploy = Deploy()
    """What a candidate must answer there."""
    rollout: Rollout = Rollout()
    """How it is switched to there: ``all_at_once`` and without a bake unless said otherwise. Hooks and cohorts of production
    do not count."""
    verify: Verify = Verify()
    """What is watched during the bake there, if there is one: conditions; comparisons are off unless said otherwise."""
