"""A Jenkins controller, over python-jenkins; the client is imported on the first question."""

from __future__ import annotations

from mlpipeline.adapters.jenkins.credentials import Credentials, find_credentials
from mlpipeline.adapters.jenkins.jobs import JobText, difference, folder_text, merged, rendered, schedule_in
from mlpipeline.adapters.jenkins.server import Forbidden, JenkinsServer, Question

__all__ = [
    "Credentials",
    "Forbidden",
    "JenkinsServer",
    "JobText",
    "Question",
    "difference",
    "find_credentials",
    "folder_text",
    "merged",
    "rendered",
    "schedule_in",
]
