"""One Jenkins controller: questions with a time limit, and its many ways to say no told apart.

python-jenkins reports a wrong token, a missing permission and a broken request with the same exception; the answer's own
status and its ``X-Error`` header say which it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from mlpipeline.adapters.jenkins.credentials import Credentials
from mlpipeline.errors import ConfigurationError, EnvironmentFault, MlpipelineError

if TYPE_CHECKING:
    import jenkins

_BUILD_FIELDS = "number,result,building,timestamp,duration,url,actions[causes[_class,shortDescription],lastBuiltRevision[SHA1]]"
_JOB_FIELDS = "name,url,buildable,disabled,inQueue,queueItem[why,inQueueSince],property[parameterDefinitions[name,type]]"


class Question(msgspec.Struct, frozen=True):
    """An ``input`` that waits.

    Args:
        fields: Names of what it asks for, with the default of each, in order.
    """

    id: str
    message: str
    fields: Mapping[str, object] = {}


class JenkinsServer:
    """A controller.

    Args:
        timeout: Seconds that one answer may take.

    Every method raises EnvironmentFault when Jenkins cannot be reached or does not answer in time, and ConfigurationError
    when it refuses the credentials or the permission, or does not know the job.
    """

    def __init__(self, credentials: Credentials, timeout: float = 20.0) -> None:
        self._credentials = credentials
        self._timeout = timeout
        self._client: jenkins.Jenkins | None = None

    def check(self) -> str:
        """Who Jenkins says these credentials are."""
        return str(self._json("GET", "me/api/json").get("id", ""))

    def job(self, name: str) -> dict[str, Any] | None:
        """What Jenkins knows of a job; nothing when there is none of this name (or none this user may see)."""
        try:
            return dict(self._json("GET", f"{path_of(name)}/api/json?tree={_JOB_FIELDS}"))
        except _Missing:
            return None

    def configuration(self, name: str) -> str | None:
        """A job's or folder's ``config.xml``; nothing when there is none."""
        try:
            return str(self._ask("GET", f"{path_of(name)}/config.xml").text)
        except _Missing:
            return None

    def create(self, name: str, xml: str) -> None:
        """Makes a job or a folder. Raises ConfigurationError when Jenkins does not accept the XML."""
        parent, _, short = name.rpartition("/")
        inside = f"{path_of(parent)}/" if parent else ""
        self._send(name, f"{inside}createItem?name={quote(short, safe='')}", xml)

    def update(self, name: str, xml: str) -> None:
        """Replaces a job's or folder's configuration."""
        self._send(name, f"{path_of(name)}/config.xml", xml)

    def start(self, name: str, parameters: Mapping[str, str]) -> str:
        """Starts a build; returns the URL of its place in the queue.

        Parameters that the job does not declare are left out: Jenkins would drop them, or refuse the call altogether.
        """
        known = self.job(name)
        if known is None:
            raise _no_job(name, self._credentials)
        declared = _declared(known)
        form = {key: value for key, value in parameters.items() if key in declared}
        ending = "buildWithParameters" if declared else "build"
        try:
            answer = self._ask("POST", f"{path_of(name)}/{ending}", form=form)
        except _Refused as refusal:
            if refusal.status == 409:
                raise ConfigurationError(
                    f"the job {name} is disabled", facts={"job": known.get("url", name)}, tries=("enable it in Jenkins",)
                ) from refusal
            raise
        return str(answer.headers.get("Location", ""))

    def builds(self, name: str, most: int) -> list[dict[str, Any]]:
        """The newest builds, newest first."""
        try:
            return list(self._json("GET", f"{path_of(name)}/api/json?tree=builds[{_BUILD_FIELDS}]{{0,{most}}}")["builds"])
        except _Missing as missing:
            raise _no_job(name, self._credentials) from missing

    def stages(self, name: str, build: int) -> list[dict[str, Any]] | None:
        """The stages of a build; nothing when Jenkins has no such page (the plugin pipeline-rest-api is missing)."""
        try:
            return list(self._json("GET", f"{path_of(name)}/{build}/wfapi/describe")["stages"])
        except _Missing:
            return None

    def questions(self, name: str, build: int) -> list[Question]:
        """What a build waits for. Raises ConfigurationError when there is no such build."""
        try:
            waiting = self._json("GET", f"{path_of(name)}/{build}/wfapi/pendingInputActions")
        except _Missing as missing:
            raise ConfigurationError(
                f"Jenkins shows no questions of {name} #{build}",
                facts={"server": self._credentials.url},
                likely="there is no such build, or the plugin pipeline-rest-api is missing",
                tries=("look at the job's page",),
            ) from missing
        return [
            Question(
                id=str(one["id"]),
                message=str(one.get("message", "")),
                fields={
                    str(field["name"]): (field.get("definition") or {}).get("defaultVal", "") for field in one.get("inputs", ())
                },
            )
            for one in waiting
        ]

    def answer(self, name: str, build: int, question: Question, values: Mapping[str, object] | None) -> None:
        """Says yes with these values, or no without any (``None``)."""
        place = f"{path_of(name)}/{build}"
        identity = quote(question.id, safe="")
        try:
            if values is None:
                self._ask("POST", f"{place}/input/{identity}/abort")
            elif values:
                listed = [{"name": key, "value": value} for key, value in values.items()]
                form = {"proceed": "Proceed", "json": msgspec.json.encode({"parameter": listed}).decode()}
                self._ask("POST", f"{place}/wfapi/inputSubmit?inputId={identity}", form=form)
            else:
                self._ask("POST", f"{place}/input/{identity}/proceedEmpty")
        except _Missing as missing:
            raise ConfigurationError(
                f"{name} #{build} no longer waits for {question.id}",
                likely="somebody answered it already, it timed out, or the build ended",
                tries=("mlpipeline jenkins health",),
            ) from missing

    def _send(self, name: str, path: str, xml: str) -> None:
        try:
            self._ask("POST", path, body=xml.encode())
        except _Missing as missing:
            raise _no_job(name.rpartition("/")[0] or name, self._credentials) from missing
        except _Broken as broken:
            raise ConfigurationError(
                f"Jenkins did not accept the configuration of {name}",
                facts={"server": self._credentials.url, "status": broken.status},
                likely="a plugin that it needs is missing, see plugins.txt",
                tries=("the controller's log names the class it does not know",),
            ) from broken

    def _json(self, method: str, path: str) -> Any:
        answer = self._ask(method, path)
        try:
            return msgspec.json.decode(answer.content)
        except msgspec.DecodeError as error:
            raise EnvironmentFault(
                "the answer is not Jenkins'",
                facts={"server": self._credentials.url, "path": path},
                likely="a proxy or a login page stands before it",
                tries=("check the address, and that API tokens pass the proxy",),
            ) from error

    def _ask(self, method: str, path: str, *, form: Mapping[str, str] | None = None, body: bytes | None = None) -> Any:
        import jenkins
        import requests

        url = f"{self._credentials.url}/{path}"
        headers = {"Content-Type": "text/xml; charset=utf-8"} if body is not None else {}
        try:
            return self._connected().jenkins_request(
                requests.Request(method, url, data=body if body is not None else form, headers=headers)
            )
        except (jenkins.TimeoutException, requests.Timeout) as error:
            raise EnvironmentFault(
                f"Jenkins did not answer within {self._timeout:g} s",
                facts={"server": self._credentials.url, "path": path},
                tries=("run the same again", "--timeout 60"),
            ) from error
        except jenkins.NotFoundException as error:
            raise _Missing(f"Jenkins has no {path}", facts={"server": self._credentials.url}) from error
        except (jenkins.JenkinsException, requests.HTTPError) as error:
            raise self._refusal(error, path) from error
        except requests.RequestException as error:
            raise EnvironmentFault(
                "Jenkins cannot be reached",
                facts={"server": self._credentials.url, "said": _innermost(error)},
                likely="it is restarting, or the address is wrong",
                tries=(f"curl -I {self._credentials.url}/login", "run the same again"),
            ) from error

    def _connected(self) -> jenkins.Jenkins:
        if self._client is None:
            import jenkins

            self._client = jenkins.Jenkins(
                self._credentials.url, self._credentials.user, self._credentials.token, timeout=self._timeout, retries=0
            )
        return self._client

    def _refusal(self, error: BaseException, path: str) -> MlpipelineError:
        answer = getattr(error, "response", None)
        if answer is None:
            answer = getattr(error.__context__, "response", None)
        status = answer.status_code if answer is not None else 0
        facts = {"server": self._credentials.url, "user": self._credentials.user, "path": path, "status": status or "none"}
        if status == 401:
            return ConfigurationError(
                "Jenkins does not accept these credentials",
                facts=facts,
                likely="the token was revoked, or belongs to another user",
                tries=("make a new API token on the user's page in Jenkins, and set MLPIPELINE_JENKINS_TOKEN",),
            )
        if status == 403:
            return Forbidden(
                "this user may not do that in Jenkins",
                facts=facts,
                likely="a permission is missing: Job/Read and Job/Build, and for setup Job/Create and Job/Configure",
                tries=("see resources/mlpipeline/jcasc.yaml for the least that is needed",),
            )
        said = answer.headers.get("X-Error", "") if answer is not None else ""
        if said:
            return ConfigurationError(f"Jenkins refused: {said}", facts=facts)
        kind = _Broken if status >= 500 else _Refused
        return kind(f"Jenkins answered with an error (status {status or 'unknown'})", facts=facts, status=status)


class Forbidden(ConfigurationError):
    """The user is known, and lacks a permission."""


class _Missing(ConfigurationError):
    """There is nothing at this path, or nothing that this user may see."""


class _Refused(EnvironmentFault):
    """An answer of 4xx that says nothing more."""

    def __init__(self, what: str, *, facts: Mapping[str, object], status: int, tries: Sequence[str] = ()) -> None:
        super().__init__(what, facts=facts, tries=tries or ("look at the controller's log",))
        self.status = status


class _Broken(_Refused):
    """An answer of 5xx."""


def path_of(name: str) -> str:
    """The URL path of a full name: ``a/b c`` is ``job/a/job/b%20c``."""
    return "/".join(f"job/{quote(part, safe='')}" for part in name.strip("/").split("/"))


def _declared(job: Mapping[str, Any]) -> set[str]:
    properties = job.get("property") or ()
    return {str(one["name"]) for known in properties for one in known.get("parameterDefinitions") or ()}


def _no_job(name: str, credentials: Credentials) -> ConfigurationError:
    return ConfigurationError(
        f"there is no job {name} in this Jenkins",
        facts={"server": credentials.url, "user": credentials.user},
        likely="it was not set up yet, has another name, or this user may not see it",
        tries=("mlpipeline jenkins setup", "--job FOLDER/NAME"),
    )


def _innermost(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error)
