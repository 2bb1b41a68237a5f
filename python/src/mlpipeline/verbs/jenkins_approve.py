"""``jenkins approve``: answers the waiting question of a build with yes."""

from __future__ import annotations

from functools import partial

from mlpipeline.verbs.jenkins_answering import answer

VERB = "jenkins-approve"

run = partial(answer, VERB, yes=True)
"""Options and errors as in :func:`mlpipeline.verbs.jenkins_answering.answer`."""
