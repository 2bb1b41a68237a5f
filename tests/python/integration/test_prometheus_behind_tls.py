"""A Prometheus behind https, basic authentication, tokens and tenants: what is sent, and what an error says."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mlpipeline.adapters.prometheus import PrometheusSource
from mlpipeline.adapters.prometheus.access import Access
from mlpipeline.config.sections.verification import PrometheusLogin, PrometheusTls, Verify
from mlpipeline.errors import ConfigurationError, EnvironmentFault, MlpipelineError
from prometheus_server import MetricsPage

ANSWER = b'{"status":"success","data":{"resultType":"scalar","result":[1700000000,"1"]}}'
WARNED = ANSWER[:-1] + b',"warnings":["store 10.0.0.1:10901 is away"]}'
REMARKED = ANSWER[:-1] + b',"warnings":["PromQL info: metric might not be a counter"],"infos":["PromQL info: the same"]}'


def certificate(folder: Path, name: str, authority: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None = None) -> Path:
    """Writes ``name.pem`` (certificate and key); self-signed, and then an authority, unless one is given."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = authority or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / f"{name}.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + pem)
    return file


class Guarded:
    """Speaks https, wants a certificate of the caller if told so, and keeps the headers it was sent."""

    def __init__(self, own: Path, callers: Path | None = None) -> None:
        seen = self.seen = []  # type: list[dict[str, str]]

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                seen.append({name.lower(): value for name, value in self.headers.items()})
                kind, _, status = self.path.split("/")[1].partition("-")
                echo = str(seen[-1])
                pages = {
                    "echo": echo.encode(),
                    "json": json.dumps({"error": echo}).encode(),
                    "warns": WARNED,
                    "remarks": REMARKED,
                }
                body = pages.get(kind, ANSWER)
                self.send_response(int(status or 200))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_request(self, code: object = None, size: object = None) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own)
        if callers:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(callers)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> Guarded:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Guarded]:
    with Guarded(certificate(tmp_path, "own")) as running:
        yield running


def test_an_authority_of_ones_own_is_trusted_when_it_is_named(server: Guarded, tmp_path: Path) -> None:
    source = PrometheusSource(server.url, Verify(tls=PrometheusTls(ca="own.pem")), {}, tmp_path)
    assert [sample.value for sample in source.instant("1")] == [1.0]


def test_an_unknown_authority_is_refused_and_the_key_is_named(server: Guarded, tmp_path: Path) -> None:
    certificate(tmp_path, "another")
    for tls in (PrometheusTls(), PrometheusTls(ca="another.pem")):
        with pytest.raises(EnvironmentFault, match="not trusted") as caught:
            PrometheusSource(server.url, Verify(tls=tls), {}, tmp_path).instant("1")
        assert "verify.tls.ca" in caught.value.render()
    assert server.seen == []


def test_a_server_without_tls_is_named_as_one(tmp_path: Path) -> None:
    with MetricsPage() as page, pytest.raises(EnvironmentFault, match="answers without TLS") as caught:
        PrometheusSource(f"https://{page.address}", Verify(), {}, tmp_path).instant("1")
    assert f"verify.prometheus: http://{page.address}" in caught.value.render()


def test_a_server_that_asks_for_a_certificate_gets_the_workers(tmp_path: Path) -> None:
    own, worker = certificate(tmp_path, "own"), certificate(tmp_path, "worker")
    with Guarded(own, callers=worker) as server:
        source = PrometheusSource(server.url, Verify(tls=PrometheusTls(ca="own.pem", certificate="worker.pem")), {}, tmp_path)
        assert [sample.value for sample in source.instant("1")] == [1.0]
        with pytest.raises(EnvironmentFault):
            PrometheusSource(server.url, Verify(tls=PrometheusTls(ca="own.pem")), {}, tmp_path).instant("1")


def test_a_file_that_is_not_there_is_the_configurations_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist") as caught:
        PrometheusSource("https://prometheus", Verify(tls=PrometheusTls(ca="none.pem")), {}, tmp_path)
    assert "verify.tls.ca" in caught.value.render()


def test_user_password_token_and_tenant_are_sent_and_secrets_come_from_the_environment(server: Guarded, tmp_path: Path) -> None:
    tls = PrometheusTls(ca="own.pem")
    login = PrometheusLogin(user="reader", password="$WORD")
    tenant = Verify(tls=tls, login=login, headers={"X-Scope-OrgID": "team", "THANOS-TENANT": "team"})
    PrometheusSource(server.url, tenant, {"WORD": "secret"}, tmp_path).instant("1")
    assert server.seen[-1]["authorization"] == "Basic " + base64.b64encode(b"reader:secret").decode()
    assert (server.seen[-1]["x-scope-orgid"], server.seen[-1]["thanos-tenant"]) == ("team", "team")
    token = Verify(tls=tls, headers={"Authorization": "Bearer $TOKEN"})
    PrometheusSource(server.url, token, {"TOKEN": "t0k"}, tmp_path).instant("1")
    assert server.seen[-1]["authorization"] == "Bearer t0k"
    with pytest.raises(ConfigurationError, match="WORD"):
        PrometheusSource(server.url, tenant, {}, tmp_path)


def test_a_refusal_names_every_way_to_prove_oneself(server: Guarded, tmp_path: Path) -> None:
    source = PrometheusSource(f"{server.url}/refused-401", Verify(tls=PrometheusTls(ca="own.pem")), {}, tmp_path)
    with pytest.raises(ConfigurationError, match="refuses access") as caught:
        source.instant("1")
    assert all(word in caught.value.render() for word in ("verify.headers", "verify.login", "X-Scope-OrgID"))


GUARDED = Verify(
    tls=PrometheusTls(ca="own.pem"),
    login=PrometheusLogin(user="reader", password="$WORD"),
    headers={"X-Token": "Bearer $TOKEN", "X-Scope-OrgID": "$TENANT"},
)
SECRETS = {"WORD": "pa'ss wörd", "TOKEN": 'tok"SECRET1', "TENANT": "team-7"}


@pytest.mark.parametrize("page", ["echo-401", "json-403", "echo-500", "json-400", "json-503"])
def test_what_a_proxy_echoes_of_our_headers_is_told_without_any_secret(server: Guarded, tmp_path: Path, page: str) -> None:
    with pytest.raises(MlpipelineError) as caught:
        PrometheusSource(f"{server.url}/{page}", GUARDED, SECRETS, tmp_path).instant("up")
    told = "".join(traceback.format_exception(caught.value)) + caught.value.render()
    assert "***" in told
    encoded = base64.b64encode("reader:pa'ss wörd".encode()).decode()
    assert server.seen[-1]["authorization"] == f"Basic {encoded}"
    assert not [secret for secret in ("wörd", "w\\xc3", "SECRET1", "team-7", encoded) if secret in told]


def test_a_short_secret_is_hidden_where_it_stands_alone_only() -> None:
    access = Access.of(Verify(headers={"X-Scope-OrgID": "1"}), {})
    assert access.hidden("tenant 1, status 401") == "tenant ***, status 401"


@pytest.mark.parametrize("name", ["TOKEN", "TENANT", "WORD"])
def test_space_around_a_secret_is_no_part_of_it(server: Guarded, tmp_path: Path, name: str) -> None:
    PrometheusSource(server.url, GUARDED, SECRETS, tmp_path).instant("1")
    PrometheusSource(server.url, GUARDED, {**SECRETS, name: f"  {SECRETS[name]}\r\n"}, tmp_path).instant("1")
    assert server.seen[0] == server.seen[1]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Authorization": "Bearer $TOKEN"}, "verify.headers.Authorization cannot be sent: its value has a line break"),
        ({"X-Scope-OrgID": "$WIDE"}, "verify.headers.X-Scope-OrgID cannot be sent: its value has a character .* Latin-1"),
        ({"X Scope": "$TENANT"}, "verify.headers.X Scope cannot be sent: its name"),
    ],
)
def test_a_header_that_cannot_be_sent_is_named_without_its_value(headers: dict[str, str], words: str) -> None:
    secrets = {"TOKEN": "tok-SECRET1\nX: y", "WIDE": "SECRET1-\u20ac", "TENANT": "SECRET1"}
    with pytest.raises(ConfigurationError, match=words) as caught:
        PrometheusSource("https://prometheus", Verify(headers=headers), secrets)
    assert "SECRET1" not in "".join(traceback.format_exception(caught.value)) + caught.value.render()


def test_a_login_in_the_address_is_refused_and_not_told() -> None:
    for url in ("http://reader:SECRET1@prometheus:9090", "reader:SECRET1@prometheus:9090"):
        with pytest.raises(ConfigurationError, match="carries a user or a password") as caught:
            PrometheusSource(url)
        assert "SECRET1" not in caught.value.render()
        assert "verify.login" in caught.value.render()


def test_an_answer_with_warnings_is_an_outage_and_one_with_remarks_is_none(server: Guarded, tmp_path: Path) -> None:
    tls = Verify(tls=PrometheusTls(ca="own.pem"))
    with pytest.raises(EnvironmentFault, match=r"only in part, it warns: store 10\.0\.0\.1:10901 is away"):
        PrometheusSource(f"{server.url}/warns", tls, {}, tmp_path).instant("1")
    assert [sample.value for sample in PrometheusSource(f"{server.url}/remarks", tls, {}, tmp_path).instant("1")] == [1.0]


def test_a_page_that_answers_instead_of_a_prometheus_is_told_as_that(server: Guarded, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="the answer is not Prometheus'"):
        PrometheusSource(f"{server.url}/echo", Verify(tls=PrometheusTls(ca="own.pem")), {}, tmp_path).instant("1")


def test_a_folder_of_authorities_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a folder"):
        PrometheusSource("https://prometheus", Verify(tls=PrometheusTls(ca=".")), {}, tmp_path)
