"""A fake bundle whose serving process is a few lines of asyncio, so that tests of a target need no model and start fast.

The process speaks the arguments, paths, metrics and response header of ``python -m mlpipeline.serving``. How it behaves is
read from ``model/behaviour.json``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from mlpipeline.ports import Artifact
from mlpipeline.serving import answers

SERVER = '''"""Written by tests/python/tiny_service.py."""
import argparse, asyncio, json, os, pathlib, signal, sys, time
from mlpipeline.serving import answers

parser = argparse.ArgumentParser()
for name in ("model", "host", "service", "colour", "model-version", "digest"):
    parser.add_argument("--" + name, default="")
for name in ("port", "threads", "drain-timeout"):
    parser.add_argument("--" + name, type=float)
args = parser.parse_args()
behaviour = json.loads((pathlib.Path(args.model) / "behaviour.json").read_text())
if behaviour["exits"]:
    sys.exit("the model cannot be loaded: " + behaviour["exits"])
draining, last = False, 0.0
counts = {(traffic, code): 0 for traffic in ("live", "mirror") for code in ("2xx", "4xx", "5xx")}
active = 0
kept = answers.Kept(int(os.environ.get(answers.KEEP) or 0))


def metrics():
    own = f'service="{args.service}",colour="{args.colour}",model_version="{args.model_version}"'
    lines = ["# TYPE mlpipeline_requests_total counter"]
    for (traffic, code), number in counts.items():
        lines.append(f'mlpipeline_requests_total{{{own},traffic="{traffic}",code="{code}"}} {number}')
    return ("\\n".join(lines) + "\\n").encode()


async def answer(path, traffic, request, posted):
    if path == "/ready":
        return (503, b"loading") if behaviour["never_ready"] else (200, b"ready")
    if path == "/ping":
        return 200, b""
    if path == "/metrics":
        return 200, metrics()
    if path == "/answers" and answers.is_key(os.environ.get(answers.KEY, ""), posted):
        return 200, kept.render()
    if path != "/invocations":
        return 404, b"no such page"
    await asyncio.sleep(behaviour["seconds"])
    status = 500 if behaviour["fails"] else 200
    counts[traffic, f"{status // 100}xx"] += 1
    body = json.dumps({"predictions": [args.digest]}).encode()
    kept.add(request.encode(), body)
    return status, body


async def serve(reader, writer):
    global active, last
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            first, *rest = head.decode().split("\\r\\n")
            headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in rest)}
            active, last = active + 1, time.monotonic()
            try:
                posted = await reader.readexactly(int(headers.get("content-length", 0)))
                host = headers.get("host", "").partition(":")[0]
                traffic = "mirror" if host.endswith("-shadow") else "live"
                status, body = await answer(first.split()[1], traffic, headers.get("x-request-id", ""), posted)
            finally:
                active -= 1
            lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", f"x-mlpipeline-colour: {args.colour}"]
            closing = draining
            lines += ["connection: close"] if closing else []
            writer.write("\\r\\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
            if closing:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    stop = asyncio.Event()
    if not behaviour["ignores_sigterm"]:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    else:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: print("not now", flush=True))
    server = await asyncio.start_server(serve, args.host, int(args.port), backlog=512)
    await stop.wait()
    global draining
    draining = True
    deadline = time.monotonic() + args.drain_timeout
    while (active or time.monotonic() - last < 0.3) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    server.close()


asyncio.run(main())
'''


@dataclass(frozen=True)
class Behaviour:
    """What the process does.

    Args:
        name: Tells two artifacts of the same behaviour apart.
        seconds: Time per scoring request.
        fails: Answers each scoring request with 500.
        exits: Ends at once and says this.
        never_ready: Lives, but ``/ready`` is 503.
        ignores_sigterm: Has to be killed.
    """

    name: str = "one"
    seconds: float = 0.0
    fails: bool = False
    exits: str = ""
    never_ready: bool = False
    ignores_sigterm: bool = False


def make_bundle(folder: Path, behaviour: Behaviour | None = None) -> Artifact:
    """Writes the bundle below ``folder`` and returns its artifact; the digest is that of the behaviour."""
    content = json.dumps(asdict(behaviour or Behaviour()), sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    bundle = folder / digest
    serving = bundle / "lib" / "mlpipeline" / "serving"
    for part in (serving, bundle / "model", bundle / "code"):
        part.mkdir(parents=True, exist_ok=True)
    for package in (serving.parent, serving):
        (package / "__init__.py").write_text("", encoding="utf-8")
    (serving / "__main__.py").write_text(SERVER, encoding="utf-8")
    shutil.copyfile(answers.__file__, serving / "answers.py")
    (bundle / "model" / "behaviour.json").write_text(content, encoding="utf-8")
    return Artifact(digest=f"sha256:{digest}", path=str(bundle), model_version="1")
