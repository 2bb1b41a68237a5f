"""A registry's own protocol (OCI distribution 1.1), as far as an image needs it.

Nothing is believed: what is pulled is compared with its digest, what was pushed is asked for again. A manifest goes last, so an
image is there completely or not at all.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from mlpipeline.adapters.oci.blobs import Blob, other_digest
from mlpipeline.adapters.oci.credentials import Login, login
from mlpipeline.core.image import (
    DOCKER_INDEX_TYPE,
    DOCKER_MANIFEST_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    Repository,
    digest_of,
)
from mlpipeline.errors import ConfigurationError, EnvironmentFault, MlpipelineError

if TYPE_CHECKING:
    import requests

CHUNK_BYTES = 64 << 20
"""A blob up to this size goes in one piece; a larger one in such pieces, so that a broken connection costs one of them."""
_MANIFEST_BYTES = 4 << 20
_TIMEOUT = (10.0, 120.0)
_TRIES = 4
_PAUSE_SECONDS = 0.5
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_CHALLENGE = re.compile(r'([a-zA-Z_]+)="([^"]*)"')
_ACCEPTED = ", ".join((MANIFEST_TYPE, INDEX_TYPE, DOCKER_MANIFEST_TYPE, DOCKER_INDEX_TYPE))


class Registry:
    """One repository of one registry.

    Args:
        repository: Which.
        environment: Where logins are looked for, and the proxies that ``requests`` reads.
        plain_http: Without TLS; a registry on this machine is always spoken to so.
    """

    def __init__(self, repository: Repository, environment: Mapping[str, str], *, plain_http: bool = False) -> None:
        self.repository = repository
        self._environment = environment
        scheme = "http" if plain_http or _is_loopback(repository.host) else "https"
        host = "registry-1.docker.io" if repository.host == "docker.io" else repository.host
        self._root = f"{scheme}://{host}/v2/"
        self._base = f"{self._root}{repository.name}/"
        self._authorization = ""
        self._scopes = f"repository:{repository.name}:pull,push"
        self._session: requests.Session | None = None
        self.sent = 0
        """Bytes of blobs and manifests that were sent since the start."""

    def manifest(self, reference: str) -> tuple[bytes, str] | None:
        """Content and type of a manifest by digest or tag; None when there is none. One with another digest is an error."""
        answer = self._ask("GET", f"manifests/{reference}", headers={"Accept": _ACCEPTED}, stream=True)
        with contextlib.closing(answer):
            if answer.status_code == 404:
                return None
            self._expect(answer, 200, "the manifest could not be read")
            content = answer.raw.read(_MANIFEST_BYTES + 1, decode_content=True)
        if len(content) > _MANIFEST_BYTES:
            raise EnvironmentFault("the registry's manifest is far too large", facts=self._facts(reference))
        if reference.startswith("sha256:") and digest_of(content) != reference:
            raise other_digest(reference, digest_of(content), f"{self.repository}@{reference}")
        return content, str(answer.headers.get("Content-Type", "")).partition(";")[0].strip()

    def referrers(self, digest: str) -> bytes | None:
        """The index of what refers to a manifest; None where the registry does not know that question."""
        answer = self._ask("GET", f"referrers/{digest}", headers={"Accept": INDEX_TYPE}, stream=True)
        with contextlib.closing(answer):
            if answer.status_code in (404, 405):
                return None
            self._expect(answer, 200, "the registry does not say what refers to the image")
            content: bytes = answer.raw.read(_MANIFEST_BYTES + 1, decode_content=True)
        return content

    def has_manifest(self, reference: str, digest: str) -> bool:
        """Whether the registry has it under this tag or digest. Raises EnvironmentFault when it says another digest."""
        answer = self._ask("HEAD", f"manifests/{reference}", headers={"Accept": _ACCEPTED})
        if answer.status_code == 404:
            return False
        self._expect(answer, 200, "the registry does not say whether it has the image")
        said = answer.headers.get("Docker-Content-Digest", "")
        if not said:
            found = self.manifest(reference)
            said = digest_of(found[0]) if found else ""
        if reference.startswith("sha256:") and said != digest:
            raise other_digest(digest, said, f"{self.repository}@{reference}")
        return bool(said == digest)

    def has_blob(self, blob: Descriptor) -> bool:
        answer = self._ask("HEAD", f"blobs/{blob.digest}")
        if answer.status_code == 404:
            return False
        self._expect(answer, 200, "the registry does not say whether it has a layer")
        said, size = answer.headers.get("Docker-Content-Digest", ""), answer.headers.get("Content-Length", "")
        if (said and said != blob.digest) or (size.isdigit() and int(size) != blob.size):
            raise other_digest(blob.digest, said or f"{size} bytes instead of {blob.size}", f"{self.repository}@{blob.digest}")
        return True

    def blob(self, wanted: Descriptor) -> Blob:
        """One that is streamed out of the registry; whoever writes it compares its digest."""
        return _RemoteBlob(self, wanted)

    def blob_blocks(self, wanted: Descriptor, start: int) -> Iterator[bytes]:
        """The content of a blob from an offset on; a connection that breaks is taken up where it broke."""
        at, tries = start, 0
        while at < wanted.size:
            headers = {"Range": f"bytes={at}-{wanted.size - 1}"} if at else {}
            answer = self._ask("GET", f"blobs/{wanted.digest}", headers=headers, stream=True)
            with contextlib.closing(answer):
                if answer.status_code not in (200, 206):
                    self._expect(answer, 200, "a layer could not be read")
                skip = at if answer.status_code == 200 else 0
                try:
                    for block in answer.iter_content(1 << 20):
                        if skip >= len(block):
                            skip -= len(block)
                            continue
                        part, skip = block[skip:], 0
                        if at + len(part) > wanted.size:
                            raise other_digest(
                                wanted.digest, f"more than {wanted.size} bytes", f"{self.repository}@{wanted.digest}"
                            )
                        at += len(part)
                        yield part
                except _client_errors() as error:
                    tries += 1
                    if tries >= _TRIES:
                        raise self._unreachable(error) from error
                    time.sleep(_PAUSE_SECONDS * tries)
                    continue
            if at < wanted.size:
                tries += 1
                if tries >= _TRIES:
                    raise EnvironmentFault("the registry sent only a part of a layer", facts=self._facts(wanted.digest))

    def push_blob(self, blob: Blob, mounts: tuple[str, ...] = ()) -> int:
        """Brings a blob into the repository unless it is there; returns the bytes sent.

        Args:
            mounts: Other repositories of this registry that may have it: then nothing is sent.
        """
        wanted = blob.descriptor
        if self.has_blob(wanted):
            return 0
        for name in mounts:
            if name != self.repository.name and self._mounted(wanted.digest, name):
                return 0
        before = self.sent
        for attempt in range(1, _TRIES + 1):
            try:
                self._upload(blob)
                break
            except _Broken as broken:
                if attempt == _TRIES:
                    raise broken.fault from broken
                time.sleep(_PAUSE_SECONDS * attempt)
        if not self.has_blob(wanted):
            raise EnvironmentFault(
                "the registry took a layer and does not have it",
                facts=self._facts(wanted.digest),
                likely="its storage is full or broken",
                tries=("run it again", "look into the registry's own log"),
            )
        return self.sent - before

    def push_manifest(self, content: bytes, media_type: str, reference: str = "") -> str:
        """Puts a manifest under its digest, or under a tag; returns the digest that the registry was seen to serve."""
        digest = digest_of(content)
        place = reference or digest
        if self.has_manifest(place, digest):
            return digest
        answer = self._ask("PUT", f"manifests/{place}", data=content, headers={"Content-Type": media_type})
        self._expect(answer, 201, "the registry refused the manifest, the image is not published")
        self.sent += len(content)
        said = answer.headers.get("Docker-Content-Digest", digest)
        served = self.manifest(place)
        found = digest_of(served[0]) if served else "nothing"
        if said != digest or found != digest:
            raise other_digest(digest, said if said != digest else found, f"{self.repository}:{place}")
        return digest

    def _mounted(self, digest: str, name: str) -> bool:
        """Takes a blob over from another repository; a registry that will not opens an upload instead, which is ended."""
        if f"repository:{name}:pull" not in self._scopes:
            self._scopes += f" repository:{name}:pull"
            self._authorization = ""
        answer = self._ask("POST", f"blobs/uploads/?mount={digest}&from={name}")
        if answer.status_code == 201:
            return True
        if answer.status_code == 202 and answer.headers.get("Location"):
            self._ask("DELETE", self._location(answer))
        return False

    def _upload(self, blob: Blob) -> None:
        wanted = blob.descriptor
        answer = self._ask("POST", "blobs/uploads/")
        self._expect(answer, 202, "the registry does not take a layer")
        place = self._location(answer)
        if wanted.size > CHUNK_BYTES:
            place = self._send_chunks(place, blob)
            piece: _Piece | bytes = b""
        else:
            piece = _Piece(self, blob, 0, wanted.size)
        separator = "&" if urlsplit(place).query else "?"
        answer = self._send("PUT", f"{place}{separator}digest={wanted.digest}", piece)
        self._expect(answer, 201, "the registry did not accept a layer, the image is not published")
        said = answer.headers.get("Docker-Content-Digest", wanted.digest)
        if said != wanted.digest:
            raise other_digest(wanted.digest, said, f"{self.repository}@{wanted.digest}")

    def _send_chunks(self, place: str, blob: Blob) -> str:
        """Sends the blob piece by piece, a broken one from where it broke; returns where the end of the upload goes.

        Raises _Broken when the registry takes no more.
        """
        at, stalls = 0, 0
        while at < blob.descriptor.size:
            size = min(CHUNK_BYTES, blob.descriptor.size - at)
            headers = {"Content-Range": f"{at}-{at + size - 1}"}
            fault: MlpipelineError | None = None
            try:
                answer = self._send("PATCH", place, _Piece(self, blob, at, size), headers)
                if answer.status_code not in (202, 416):
                    self._expect(answer, 202, "the registry did not accept a part of a layer")
            except _Broken as broken:
                fault = broken.fault
                answer = self._resumed(place, broken)
            place = self._location(answer, place)
            now = _received(answer, at + size if answer.status_code == 202 else at)
            stalls = 0 if now > at else stalls + 1
            if stalls >= _TRIES:
                wrong = EnvironmentFault("the registry does not take more of a layer", facts=self._facts(blob.descriptor.digest))
                raise _Broken(fault or wrong)
            at = now
        return place

    def _resumed(self, place: str, broken: _Broken) -> requests.Response:
        """What the registry has of an upload whose connection broke. Raises the break when it does not know the upload."""
        for attempt in range(1, _TRIES + 1):
            time.sleep(_PAUSE_SECONDS * attempt)
            with contextlib.suppress(_Broken):
                answer = self._send("GET", place, b"")
                if answer.status_code == 204 and answer.headers.get("Range") is not None:
                    return answer
                raise broken
        raise broken.fault from broken

    def _location(self, answer: requests.Response, otherwise: str = "") -> str:
        place = str(answer.headers.get("Location", "")) or otherwise
        if not place:
            raise EnvironmentFault("the registry does not say where a layer goes", facts=self._facts())
        return urljoin(self._base, place)

    def _send(self, method: str, url: str, data: _Piece | bytes, headers: Mapping[str, str] | None = None) -> requests.Response:
        """One piece of an upload, once. Raises _Broken when the connection or the registry broke, which is worth another try."""
        content = {"Content-Type": "application/octet-stream", "Content-Length": str(len(data)), **(headers or {})}
        try:
            answer = self._once(method, url, data=data, headers=content)
        except _client_errors() as error:
            raise _Broken(self._unreachable(error)) from error
        if answer.status_code in _TRANSIENT:
            raise _Broken(self._refusal(answer, "the registry failed in the middle of a push, the image is not published"))
        return answer

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """A request without a stream, tried again when the registry or the connection is at fault."""
        url = path if path.startswith(("http://", "https://")) else f"{self._base}{path}"
        for attempt in range(1, _TRIES + 1):
            try:
                answer = self._once(method, url, **options)
            except _client_errors() as error:
                if attempt == _TRIES:
                    raise self._unreachable(error) from error
            else:
                if answer.status_code not in _TRANSIENT or attempt == _TRIES:
                    return answer
                answer.close()
            time.sleep(_PAUSE_SECONDS * attempt)
        raise AssertionError("the last try returns or raises")

    def _once(self, method: str, url: str, **options: Any) -> requests.Response:
        """One request; a registry that asks who it is gets an answer once, and the request again."""
        headers = dict(options.pop("headers", {}))
        answer = self._call(method, url, headers, options)
        if answer.status_code == 401:
            challenge = str(answer.headers.get("WWW-Authenticate", ""))
            answer.close()
            self._authorization = self._answer(challenge)
            answer = self._call(method, url, headers, options)
        return answer

    def _call(self, method: str, url: str, headers: dict[str, str], options: Mapping[str, Any]) -> requests.Response:
        # An upload may be sent to another host; what proves who we are is for this one alone.
        ours = urlsplit(url).netloc == urlsplit(self._root).netloc
        proof = {"Authorization": self._authorization} if self._authorization and ours else {}
        return self._client().request(method, url, headers={**proof, **headers}, timeout=_TIMEOUT, **options)

    def _client(self) -> requests.Session:
        if self._session is None:
            import requests

            self._session = requests.Session()
            self._session.trust_env = True
            # Only our own logins: a .netrc of this machine is for other things.
            self._session.auth = _NoNetrc()
            self._session.headers["User-Agent"] = "mlpipeline"
        return self._session

    def _answer(self, challenge: str) -> str:
        """The Authorization header for what the registry asked."""
        kind, _, rest = challenge.partition(" ")
        known = login(self.repository.host, self._environment)
        if kind.lower() == "basic" and known.user:
            return _basic(known)
        if kind.lower() == "bearer":
            return f"Bearer {self._token(dict(_CHALLENGE.findall(rest)), known)}"
        raise self._not_allowed(known)

    def _token(self, asked: Mapping[str, str], known: Login) -> str:
        realm = asked.get("realm", "")
        host = urlsplit(realm)
        if host.scheme != "https" and not (host.scheme == "http" and self._root.startswith("http://")):
            raise EnvironmentFault(
                "the registry sends us to a place for tokens that nobody may be told a password at",
                facts={"registry": self.repository.host, "place": f"{host.scheme}://{host.netloc}"},
            )
        wanted = {"service": asked.get("service", ""), "scope": self._scopes.split(" ")}
        try:
            if known.token:
                form = {**wanted, "scope": self._scopes, "grant_type": "refresh_token", "refresh_token": known.token}
                form["client_id"] = "mlpipeline"
                answer = self._client().post(realm, data=form, timeout=_TIMEOUT, allow_redirects=False)
            else:
                proof = {"Authorization": _basic(known)} if known.user else {}
                answer = self._client().get(realm, params=wanted, headers=proof, timeout=_TIMEOUT, allow_redirects=False)
            if answer.status_code in (401, 403):
                raise self._not_allowed(known)
            self._expect(answer, 200, "the registry gives out no token")
            body = answer.json()
            return str(body.get("token") or body["access_token"])
        except _client_errors() as error:
            raise self._unreachable(error) from error
        except (ValueError, KeyError, AttributeError) as error:
            raise EnvironmentFault("the registry gives out no token that can be read", facts=self._facts()) from error

    def _expect(self, answer: requests.Response, status: int, what: str) -> None:
        if answer.status_code == 401 or (answer.status_code == 403 and status != 200):
            raise self._not_allowed(login(self.repository.host, self._environment))
        if answer.status_code != status:
            raise self._refusal(answer, what)

    def _refusal(self, answer: requests.Response, what: str) -> MlpipelineError:
        said = next(answer.iter_content(2000), b"")
        facts = self._facts() | {"status": str(answer.status_code), "registry said": said.decode("utf-8", "replace").strip()}
        tries = ("run it again: what is there already is not sent again", "look into the registry's own log")
        kind = EnvironmentFault if answer.status_code >= 500 or answer.status_code in _TRANSIENT else ConfigurationError
        return kind(what, facts=facts, tries=tries if kind is EnvironmentFault else ("check image.repository and image.base",))

    def _not_allowed(self, known: Login) -> ConfigurationError:
        return ConfigurationError(
            "the registry does not let us in" if known else "the registry wants to know who we are",
            facts=self._facts() | {"user": known.user or ("a token" if known.token else "nobody")},
            tries=(
                f"docker login {self.repository.host}",
                "MLPIPELINE_REGISTRY_USER=... MLPIPELINE_REGISTRY_PASSWORD=...    # in the environment",
            ),
        )

    def _unreachable(self, error: Exception) -> EnvironmentFault:
        import requests

        insecure = isinstance(error, requests.exceptions.SSLError)
        return EnvironmentFault(
            "the registry cannot be spoken to safely" if insecure else "the registry cannot be reached, or broke off",
            facts=self._facts() | {"found": _plain(error)},
            likely="its certificate is not trusted here, this machine's clock is wrong, or it speaks plain HTTP"
            if insecure
            else "it is down, or a proxy is in between; nothing was published that is not complete",
            tries=("REQUESTS_CA_BUNDLE=/path/to/ca.pem", "image.plain_http: true    # only on a network of your own")
            if insecure
            else ("run it again: what is there already is not sent again", f"curl -i {self._root}"),
        )

    def _facts(self, reference: str = "") -> dict[str, str]:
        mark = "@" if reference.startswith("sha256:") else ":" if reference else ""
        return {"repository": f"{self.repository}{mark}{reference}"}


class _Broken(Exception):
    """An upload broke; ``fault`` is what to say when it breaks for good."""

    def __init__(self, fault: MlpipelineError) -> None:
        super().__init__(fault.what)
        self.fault = fault


class _Piece:
    """A part of a blob as ``requests`` streams it: with a length, and from its begin each time it is iterated."""

    def __init__(self, registry: Registry, blob: Blob, start: int, size: int) -> None:
        self._registry = registry
        self._blob = blob
        self._start = start
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        left = self._size
        for block in self._blob.blocks(self._start):
            part = block[:left]
            left -= len(part)
            if part:
                yield part
                self._registry.sent += len(part)
            if not left:
                return


class _RemoteBlob:
    def __init__(self, registry: Registry, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self._registry = registry

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        yield from self._registry.blob_blocks(self.descriptor, start)


class _NoNetrc:
    """Keeps ``requests`` from adding what it finds in a .netrc."""

    def __call__(self, request: Any) -> Any:
        return request


def _received(answer: requests.Response, otherwise: int) -> int:
    """How many bytes of an upload the registry says it has: ``Range: 0-N`` names the last one."""
    found = re.fullmatch(r"(?:bytes=)?0-(\d+)", str(answer.headers.get("Range", "")))
    return int(found[1]) + 1 if found and int(found[1]) else otherwise


def _basic(known: Login) -> str:
    import base64

    return "Basic " + base64.b64encode(f"{known.user}:{known.password}".encode()).decode()


def _client_errors() -> tuple[type[Exception], ...]:
    import requests
    import urllib3

    return (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)


def _plain(error: Exception) -> str:
    """The innermost reason, without addresses that could carry a secret."""
    inner: BaseException = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    return re.sub(r"\?\S*", "", f"{type(inner).__name__}: {inner}")[:300]


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return False
