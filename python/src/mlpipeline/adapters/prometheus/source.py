"""Implements :class:`mlpipeline.ports.MetricSource` over prometheus-api-client, imported on the first query.

The client on its own retries for seconds, has no time-out and drops warnings; here every request has a time-out, nothing
is retried (the next look is the retry), and partial answers are refused.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipeline.adapters.prometheus.access import Access
from mlpipeline.config.sections.verification import Verify
from mlpipeline.core.histogram import classic_of, native_bounds, parse_native
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.ports import Sample

if TYPE_CHECKING:
    from prometheus_api_client import PrometheusConnect
    from requests import Response

NATIVE_BOUNDS = native_bounds()
_MOST_TOLD = 400
"""Characters of what a server said."""
_PLAIN = "WRONG_VERSION_NUMBER"
"""What OpenSSL says of an answer that is none of TLS."""
_REFUSAL = re.compile(r"HTTP Status Code (\d+) \((b['\"].*)\)", re.DOTALL)
_HARMLESS = "PromQL info:"
"""How a remark on a query begins that Prometheus before 3 tells among its warnings."""


class PrometheusSource:
    """One Prometheus.

    Args:
        url: Its base URL, with the path prefix if it has one; ``https`` verifies the certificate.
        settings: Its ``timeout`` bounds each request (seconds); its ``headers`` and ``login`` are sent with each, ``$NAME``
            and ``${NAME}`` replaced from the environment; its ``tls`` says whom to trust.
        environment: The environment variables that may be named; the process' own when not given.
        folder: Where relative paths of ``tls`` start.

    Raises:
        ConfigurationError: A variable that is named is not set, a header cannot be sent, a file of ``tls`` does not exist, or the
            URL is none or carries a login, which every error would tell.
    """

    def __init__(
        self,
        url: str,
        settings: Verify | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path = Path(),
    ) -> None:
        settings = settings or Verify()
        environment = os.environ if environment is None else environment
        if "@" in url:
            raise ConfigurationError(
                "the URL of Prometheus carries a user or a password, which whatever names it would tell",
                facts={"key": "verify.prometheus"},
                tries=('verify.login: {user: reader, password: "$PROMETHEUS_PASSWORD"}',),
            )
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"{url!r} is not the URL of a Prometheus",
                facts={"key": "verify.prometheus"},
                tries=("write it with its scheme, such as http://prometheus:9090",),
            )
        self._url = url.rstrip("/")
        self._timeout = float(settings.timeout)
        self._access = Access.of(settings, environment)
        self._tls = _tls_files(settings, folder)
        self._client: PrometheusConnect | None = None

    def instant(self, query: str, at: float | None = None) -> Sequence[Sample]:
        """The raw answer to an instant query, unseen series absent.

        A range selector (``metric[30s]``) answers every scrape as a sample of its own, with its own time; a scalar one
        sample without labels; a native histogram those of a classic one, ``..._bucket`` at fixed bounds of powers of the fourth
        root of 2. Raises ConfigurationError for a query that Prometheus cannot read, or that answers text.
        """
        params = {} if at is None else {"time": f"{at:.3f}"}
        return list(self._ask(query, lambda client: self._numbers(query, client.custom_query(query, params=params))))

    def series(
        self, query: str, start: float, end: float, step: float
    ) -> Mapping[tuple[tuple[str, str], ...], Sequence[tuple[float, float]]]:
        """A range query between Unix seconds, rounded to whole seconds; sorted label pairs to (time, value) points."""
        first, last = (datetime.fromtimestamp(moment, UTC) for moment in (start, end))
        found = self._ask(query, lambda client: client.custom_query_range(query, first, last, f"{step:g}"))
        return {
            tuple(sorted(row["metric"].items())): [(float(moment), float(value)) for moment, value in row["values"]]
            for row in found
        }

    def _ask(self, query: str, call: Any) -> Any:
        import requests
        from prometheus_api_client import PrometheusApiClientException

        try:
            return call(self._connected())
        except PrometheusApiClientException as error:
            # the whole answer is in it, and nothing that is not told
            raise self._refused(query, str(error)) from None
        except requests.Timeout as error:
            raise self._fault(
                f"Prometheus did not answer within {self._timeout:g} s", query, "it is overloaded, or the query is too wide"
            ) from error
        except requests.exceptions.SSLError as error:
            raise self._untrusted(self._told(innermost(error))) from error
        except requests.JSONDecodeError as error:
            raise self._foreign(query, error) from error
        except requests.RequestException as error:
            raise self._fault(
                "Prometheus cannot be reached",
                query,
                f"it is not running, or the address is wrong ({self._told(innermost(error))})",
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._foreign(query, error) from error

    def _numbers(self, query: str, found: Any) -> list[Sample]:
        if found and isinstance(found[-1], str) and not _is_number(found[-1]):
            raise ConfigurationError(
                "the query answers text, not a number",
                facts={"query": query, "server": self._url, "said": repr(found[-1])[:100]},
                likely="it is a text in quotes",
                tries=("write the metric's name without quotes around it",),
            )
        return _samples(found)

    def _connected(self) -> PrometheusConnect:
        if self._client is None:
            from prometheus_api_client import PrometheusConnect
            from requests import Session
            from urllib3.util.retry import Retry

            session = Session()
            session.verify = self._tls[0] or True
            session.cert = self._tls[1]
            session.hooks["response"].append(self._whole)
            # requests takes fractions of a second; the client's annotation says int only.
            self._client = PrometheusConnect(
                url=self._url,
                headers=dict(self._access.headers) or None,
                retry=Retry(total=0),
                auth=self._access.login,
                session=session,
                timeout=self._timeout,
                method="POST",
            )
        return self._client

    def _whole(self, answer: Response, **_: object) -> None:
        """Raises EnvironmentFault for an answer with warnings, which the client drops: something behind it was missing."""
        if b'"warnings"' not in answer.content or answer.status_code != HTTPStatus.OK:
            return
        found = answer.json()
        warnings = found.get("warnings") if isinstance(found, Mapping) else None
        told = [str(warning) for warning in warnings or () if not str(warning).startswith(_HARMLESS)]
        if told:
            raise EnvironmentFault(
                f"Prometheus answered only in part, it warns: {self._told('; '.join(told))}",
                facts={"server": self._url},
                likely="a store or another Prometheus behind it did not answer, so that series may be missing",
                tries=("look at the stores of Thanos, or whatever stands behind the address", "run the same again"),
            )

    def _told(self, text: str) -> str:
        """What a server or library said, for an error: without secrets, which a proxy may echo, then cut."""
        return self._access.hidden(text)[:_MOST_TOLD]

    def _refused(self, query: str, message: str) -> ConfigurationError | EnvironmentFault:
        status, body = _refusal(message)
        if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
            return ConfigurationError(
                "Prometheus cannot run this query",
                facts={"query": query, "server": self._url, "said": self._told(_said(body))},
            )
        told = self._told(f"HTTP status {status}: {_said(body)}")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return ConfigurationError(
                "Prometheus refuses access",
                facts={"server": self._url, "said": told},
                likely="verify.headers or verify.login lacks the credentials, or verify.headers the tenant",
                tries=(
                    'verify.headers: {Authorization: "Bearer $PROMETHEUS_TOKEN"}',
                    'verify.login: {user: reader, password: "$PROMETHEUS_PASSWORD"}',
                    "verify.headers: {X-Scope-OrgID: team}",
                ),
            )
        return self._fault("Prometheus answered with an error", query, told)

    def _untrusted(self, found: str) -> EnvironmentFault:
        if _PLAIN in found:
            return EnvironmentFault(
                "Prometheus was asked over https and answers without TLS",
                facts={"server": self._url, "found": found},
                likely="it speaks http",
                tries=(f"verify.prometheus: http{self._url.removeprefix('https')}",),
            )
        return EnvironmentFault(
            "the TLS connection to Prometheus is not trusted, or not accepted",
            facts={"server": self._url, "verify.tls.ca": self._tls[0] or "the public authorities", "found": found},
            likely="an authority of your own issued its certificate, or for another name; or it wants one of the worker",
            tries=("verify.tls.ca: the PEM file of that authority", "verify.tls.certificate and verify.tls.key"),
        )

    def _foreign(self, query: str, error: Exception) -> EnvironmentFault:
        return self._fault("the answer is not Prometheus'", query, f"something else listens there ({self._told(str(error))})")

    def _fault(self, what: str, query: str, likely: str) -> EnvironmentFault:
        return EnvironmentFault(
            what,
            facts={"server": self._url, "query": query},
            likely=likely,
            tries=(f"curl {self._url}/-/ready", "run the same again"),
        )


def _tls_files(settings: Verify, folder: Path) -> tuple[str | None, str | tuple[str, str] | None]:
    """Authorities, and the worker's own certificate (with its key when that is a file of its own)."""
    found: dict[str, str] = {}
    for key in ("ca", "certificate", "key"):
        named = getattr(settings.tls, key)
        if named:
            path = folder / named
            if not path.is_file():
                what = "this is a folder, and one PEM file is needed" if path.is_dir() else "the file does not exist"
                raise ConfigurationError(what, facts={"key": f"verify.tls.{key}", "file": path})
            found[key] = str(path)
    own = found.get("certificate")
    return found.get("ca"), (own, found["key"]) if own and "key" in found else own


def _samples(found: Any) -> list[Sample]:
    if found and not isinstance(found[0], Mapping):
        return [Sample({}, float(found[1]), float(found[0]))]
    classic = {row["metric"].get("__name__", "") for row in found}
    samples: list[Sample] = []
    for row in found:
        points = row["values"] if "values" in row else [row["value"]] if "value" in row else []
        samples.extend(Sample(row["metric"], float(value), float(moment)) for moment, value in points)
        if f"{row['metric'].get('__name__', '')}_bucket" not in classic:
            samples.extend(_native(row))
    return samples


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _native(row: Mapping[str, Any]) -> Iterator[Sample]:
    """The samples of a native histogram as if it were a classic one: cumulative counts at fixed bounds."""
    histograms = row["histograms"] if "histograms" in row else [row["histogram"]] if "histogram" in row else []
    labels = {**row["metric"], "__name__": f"{row['metric'].get('__name__', '')}_bucket"}
    for moment, histogram in histograms:
        for bound, count in classic_of(parse_native(histogram), NATIVE_BOUNDS).items():
            yield Sample({**labels, "le": "+Inf" if bound == inf else repr(bound)}, count, float(moment))


def _refusal(message: str) -> tuple[int, str]:
    """Status and body of an answer, from what the client says of it: it quotes the body's bytes as Python writes them."""
    found = _REFUSAL.fullmatch(message)
    if found is None:
        return 0, message
    raw: bytes = ast.literal_eval(found[2])
    try:
        return int(found[1]), raw.decode()
    except UnicodeDecodeError:
        return int(found[1]), raw.decode("latin-1")


def _said(body: str) -> str:
    """Prometheus' own words; the whole body where something else answered."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body


def innermost(error: BaseException) -> str:
    """The innermost reason, in one line: requests wraps three times."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
