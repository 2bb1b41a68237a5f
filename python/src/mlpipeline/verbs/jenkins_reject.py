"""``jenkins reject``: answers the waiting question of a build with no."""

from __future__ import annotations

from functools import partial

from mlpipeline.verbs.jenkins_answering import answer

VERB = "jenkins-reject"

run = partial(answer, VERB, yes=False)
"""Options and errors as in :func:`mlpipeline.verbs.jenkins_answering.answer`."""
