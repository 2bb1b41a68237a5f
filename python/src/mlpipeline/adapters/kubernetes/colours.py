"""The Deployment of one colour: which artifact, of which image, how its pods are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from mlpipeline.adapters.kubernetes.api import Cluster, Conflict, Object
from mlpipeline.adapters.kubernetes.inventory import changed_by, deployment_facts, instance_of
from mlpipeline.adapters.kubernetes.objects import Owned
from mlpipeline.adapters.kubernetes.planning import refuse_to_take
from mlpipeline.adapters.kubernetes.pods import Pods, Trouble
from mlpipeline.adapters.kubernetes.specification import workload
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.config.serving import answers_key
from mlpipeline.core import container as labels
from mlpipeline.core import kubernetes_objects as objects
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.inventory import Part
from mlpipeline.core.kubernetes_places import CONTAINER, SERVICE_PORT, Names
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import EnvironmentFault, Failed, Held, MlpipelineError
from mlpipeline.hosting.readiness import MACHINE_WORDS, READY_IN_A_ROW
from mlpipeline.hosting.target import ANSWERS_SECONDS, Standing
from mlpipeline.ports import Artifact, Clock, Deployed
from mlpipeline.serving.answers import ANSWERS_PATH

POLL_SECONDS = 0.1
PULL_SECONDS = 20.0
"""How long an image that cannot be pulled is waited for: registries have short failures."""
END_SECONDS = 30.0
"""Past its grace period, after which a pod whose node does not answer is no longer waited for."""
CONFLICTS = 10
FAILURE = "mlpipeline.failure"
"""Why the last start failed; kept beside what stands, because nothing runs any more that could tell."""

_FAULTS = {
    "pull": (
        "no node could get the image of {colour}",
        "the registry is down or not reachable from the nodes, or needs credentials",
        ("set target.kubernetes.pull_secrets", "mlpipeline package    # pushes it to image.repository"),
    ),
    "memory": (
        "{colour} was killed while it started: its memory ran out",
        "the model needs more than target.kubernetes.memory_limit, or than the namespace's own limit",
        ("raise target.kubernetes.memory_limit", "lower target.kubernetes.threads"),
    ),
    "refused": (
        "the cluster does not let pods of {colour} be made",
        "a quota of the namespace is used up, or a policy of the cluster forbids them",
        ("kubectl describe quota", "set target.kubernetes.cpu_request, memory_request and their limits"),
    ),
    "waiting": (
        "no node of the cluster takes {colour}",
        "no node has enough free processors, memory or GPUs, or none has the labels that it needs",
        ("kubectl describe nodes", "lower target.kubernetes.cpu_request or memory_request", "add a node"),
    ),
    "slow": (
        "no node had started {colour} when target.kubernetes.ready_timeout was over",
        "its image is large, or the registry is slow or does not answer the nodes",
        ("raise target.kubernetes.ready_timeout", "kubectl describe pods"),
    ),
    "machine": (
        "the cluster could not give {colour} what it needs",
        "a node ran out of memory or disk, or its runtime refuses the container",
        ("raise target.kubernetes.memory_limit or target.kubernetes.scratch", "kubectl describe nodes"),
    ),
}
"""What happened, why it is likely, what to do: by the kind of trouble."""


class ColourDeployment:
    """One colour of a service.

    Args:
        settings: ``target.kubernetes``.
        gpus: How many devices each pod needs.
        shape: Puts our Deployment on one of the user's own.
    """

    def __init__(
        self,
        cluster: Cluster,
        service: str,
        colour: Colour,
        *,
        settings: Kubernetes,
        gpus: int,
        clock: Clock,
        shape: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda ours: ours,
    ) -> None:
        self._cluster, self._service, self._colour = cluster, service, colour
        self._settings, self._gpus, self._clock = settings, gpus, clock
        self._owned = Owned(cluster, service)
        self._pods = Pods(cluster, service, str(colour), CONTAINER)
        self._name = Names(service).of(colour)
        self._shape = shape

    @property
    def standing(self) -> Standing | None:
        found = self._found()
        return None if found is None else self._standing(found)

    def alive(self) -> bool:
        return any(self._pods.running(pod) for pod in self._pods.staying())

    def address(self) -> Address | None:
        """Of the Service that finds whichever pods of the colour are ready."""
        found = self._cluster.read("Service", self._name)
        ip = (found or {}).get("spec", {}).get("clusterIP", "")
        return (ip, int(found["spec"]["ports"][0]["port"])) if found and ip and ip != "None" else None

    def observe(self) -> Deployed | None:
        found = self._found()
        if found is None:
            return None
        standing = self._standing(found)
        detail = self._why_not_ready(found)
        return Deployed(self._colour, standing.artifact, ready=not detail, restarts=standing.restarts, detail=detail)

    def wanted(self, artifact: Artifact, restarts: int = 0) -> list[Mapping[str, Any]]:
        """The objects of the colour, the Deployment last."""
        namespace = self._cluster.namespace
        replicas = None if self._scaled_by_others() is not None else self._settings.replicas
        pods = workload(
            self._settings,
            self._service,
            namespace,
            self._colour,
            artifact,
            gpus=self._gpus,
            replicas=replicas,
            restarts=restarts,
            answers_key=self._answers_key() if self._settings.keep_answers else "",
        )
        return [
            objects.colour_service(self._service, namespace, self._colour),
            objects.disruption_budget(self._service, namespace, self._colour),
            self._shape(objects.deployment(pods)),
        ]

    def start(self, artifact: Artifact, restarts: int) -> None:
        *around, wanted = self.wanted(artifact, restarts)
        before = self._found()
        if before is not None and _told(before).get(labels.DIGEST) != artifact.digest:
            refuse_to_take(self._cluster, wanted)  # what is brought back as it was takes its own fields back
        if before is not None and FAILURE in _told(before):
            self._cluster.patch("Deployment", self._name, {"metadata": {"annotations": {FAILURE: None}}})
            before = self._found()
        for one in around:
            self._owned.apply(one)
        applied = self._apply(wanted, before)
        if not applied["spec"].get("replicas"):
            first = max(self._settings.replicas, self._scaled_by_others() or 1)
            self._cluster.patch("Deployment", self._name, {"spec": {"replicas": first}})
        self._wait(artifact)

    def stop(self) -> None:
        """No pod any more; the Deployment stays and says what stood here. An autoscaler leaves one without pods alone."""
        found = self._found()
        if found is None:
            return
        self._cluster.patch("Deployment", self._name, {"spec": {"replicas": 0}})
        grace = float(found["spec"]["template"]["spec"].get("terminationGracePeriodSeconds") or 30)
        deadline = self._clock.monotonic() + grace + END_SECONDS
        while self._pods.all():
            if self._clock.monotonic() >= deadline:
                for pod in self._pods.all():
                    self._cluster.delete("Pod", pod["metadata"]["name"], grace_seconds=0, uid=pod["metadata"]["uid"])
                return
            self._clock.sleep(POLL_SECONDS)

    def forget(self) -> None:
        for kind in ("PodDisruptionBudget", "Deployment", "Service"):
            self._owned.remove(kind, self._name)

    def ask(self, path: str, body: bytes | None = None, timeout: float = 2.0) -> tuple[int, bytes]:
        """Through the API server, so that the worker needs no way into the cluster's network."""
        pods = sorted(self._pods.staying(), key=lambda pod: (not self._pods.ready(pod), not self._pods.running(pod)))
        if not pods:
            raise ConnectionError("no pod of it runs")
        return self._cluster.ask(pods[0]["metadata"]["name"], SERVICE_PORT, path, body, timeout)

    def answers(self) -> Sequence[tuple[int, bytes]]:
        """Of each of its pods: users' requests are divided among them. One that does not answer has only fewer to compare."""
        key = self._known_key()
        told, silent = [], None
        for pod in self._pods.staying() if key else ():
            if self._pods.running(pod):
                try:
                    told.append(
                        self._cluster.ask(pod["metadata"]["name"], SERVICE_PORT, ANSWERS_PATH, key.encode(), ANSWERS_SECONDS)
                    )
                except OSError as error:
                    silent = error
        if silent is not None and not told:
            raise silent
        return told

    def words(self, lines: int) -> Mapping[str, object]:
        found = self._found()
        told = _told(found).get(FAILURE, "") if found else ""
        return {
            "log": f"kubectl logs --namespace {self._cluster.namespace} deployment/{self._name}",
            "last lines": self._pods.words(lines) or told,
        }

    def part(self) -> Part:
        """How it runs, and what its pods are made of. Their number is compared where no autoscaler has it."""
        found, pods = self._found(), self._pods.staying()
        told = (found or {}).get("spec", {})
        wanted = str(told.get("replicas", 0))
        facts = {"pods": str(len(pods)), "ready": str(sum(self._pods.ready(pod) for pod in pods))}
        if found is None:
            return Part(facts, {"pods": wanted, "ready": wanted})
        facts |= deployment_facts(found, CONTAINER)
        if self._scaled_by_others() is None:
            facts["replicas"] = wanted
        return Part(facts, {"pods": wanted, "ready": wanted}, changed_by(found), instance_of(found))

    def _answers_key(self) -> str:
        """That of what stands here, so that a Deployment that is applied again stays as it is; else a new one."""
        import secrets

        return self._known_key() or secrets.token_hex(16)

    def _known_key(self) -> str:
        for container in (self._found() or {}).get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
            if container["name"] == CONTAINER:
                return answers_key({one["name"]: one.get("value", "") for one in container.get("env") or ()})
        return ""

    def _found(self) -> Object | None:
        return self._owned.read("Deployment", self._name)

    def _standing(self, found: Object) -> Standing:
        told = _told(found)
        artifact = Artifact(
            digest=told.get(labels.DIGEST, ""),
            path=told.get(labels.PATH, ""),
            model_version=told.get(labels.MODEL_VERSION, ""),
            run=told.get(labels.RUN, ""),
            image=labels.image_of(told),
        )
        restarts = int(told.get(labels.RESTARTS, "0")) + self._pods.restarts(self._pods.staying())
        return Standing(artifact=artifact, port=SERVICE_PORT, restarts=restarts)

    def _scaled_by_others(self) -> int | None:
        """The fewest pods of the autoscaler that decides how many there are; None without one."""
        for scaler in self._cluster.listed("HorizontalPodAutoscaler"):
            target = scaler["spec"]["scaleTargetRef"]
            if (target.get("kind"), target.get("name")) == ("Deployment", self._name):
                return int(scaler["spec"].get("minReplicas") or 1)
        return None

    def _apply(self, wanted: Mapping[str, Any], before: Object | None) -> Object:
        """Only over the very version that was seen: a worker that slept in between must not undo a newer decision."""
        for _ in range(CONFLICTS):
            seen = {"resourceVersion": before["metadata"]["resourceVersion"]} if before else {}
            try:
                return self._cluster.apply({**wanted, "metadata": {**wanted["metadata"], **seen}})
            except Conflict:
                now = self._found()
                if _decided(now) != _decided(before):
                    break
                before = now  # only how it fares has changed, which the cluster notes in the same object
        raise Held(
            f"another worker deployed to {self._colour} in the meantime; nothing was changed",
            facts={"deployment": self._name, "namespace": self._cluster.namespace},
            tries=("mlpipeline status",),
        )

    def _wait(self, artifact: Artifact) -> None:
        """Until as many pods as wanted were ready several times in a row, and never a container ended."""
        begin = self._clock.monotonic()
        in_a_row, trouble = 0, None
        while self._clock.monotonic() < begin + self._settings.ready_timeout:
            found, pods = self._found(), self._pods.staying()
            if found is None:
                raise EnvironmentFault(
                    f"the Deployment of {self._colour} was removed while it started", facts={"name": self._name}
                )
            trouble = _refused(found) or self._pods.trouble(pods)
            waited = self._clock.monotonic() - begin
            if trouble is not None and trouble.kind != "waiting" and (trouble.kind != "pull" or waited > PULL_SECONDS):
                break
            wanted = int(found["spec"].get("replicas", 1))
            complete = wanted > 0 and sum(self._pods.ready(pod) for pod in pods) >= wanted
            in_a_row = in_a_row + 1 if complete and not self._pods.restarts(pods) and not self._silence() else 0
            if in_a_row == READY_IN_A_ROW:
                return
            self._clock.sleep(POLL_SECONDS)
        if trouble is None and not self.alive():
            trouble = Trouble("slow", self._pods.events(self._name) or "its containers are still being created")
        self._fail(artifact, trouble)

    def _silence(self) -> str:
        """Why ``/ready`` does not say so; empty when it does."""
        try:
            status, body = self.ask("/ready")
        except OSError as error:
            return f"/ready does not answer: {error}"
        return "" if status == 200 else f"/ready answered {status}: {body[:200].decode(errors='replace')}"

    def _why_not_ready(self, found: Object) -> str:
        """Empty when it is ready."""
        pods = self._pods.staying()
        if any(self._pods.ready(pod) for pod in pods):
            return self._silence()
        told = _told(found).get(FAILURE, "")
        if told:
            return f"it has ended; {told}"
        trouble = _refused(found) or self._pods.trouble(pods)
        if trouble is not None:
            said = f"; its last words: {trouble.log}" if trouble.log else ""
            ended = "its container has ended: " if trouble.kind in ("ended", "memory") else ""
            return f"{ended}{trouble.text}{said}"
        if not found["spec"].get("replicas"):
            return "its pods have ended: it is scaled to 0"
        return self._silence() if pods else "its pods have ended and others are not there yet"

    def _fail(self, artifact: Artifact, trouble: Trouble | None) -> NoReturn:
        """Nothing that failed goes on trying; what it said is kept for whoever asks later."""
        log = (trouble.log if trouble else "") or self._pods.words(12)
        facts = {
            "artifact": artifact.digest,
            "found": trouble.text if trouble else "",
            "last lines": log or "none",
            "events": self._pods.events(self._name) or "none",
        }
        failure = self._failure(trouble, {name: text for name, text in facts.items() if text})
        words = " ".join(part for part in (failure.what, f"({trouble.text})" if trouble else "", log[-700:]) if part)
        self._cluster.patch("Deployment", self._name, {"metadata": {"annotations": {FAILURE: words}}, "spec": {"replicas": 0}})
        raise failure

    def _failure(self, trouble: Trouble | None, facts: Mapping[str, object]) -> MlpipelineError:
        kind = trouble.kind if trouble else ""
        if kind == "ended" and any(word in str(facts["last lines"]).lower() for word in MACHINE_WORDS):
            kind = "machine"
        if kind == "ended":
            return Failed(
                f"{self._colour} ended before it was ready",
                facts=facts,
                likely="the model cannot be loaded in its own image",
                tries=("mlpipeline package",),
            )
        if kind:
            what, likely, tries = _FAULTS[kind]
            return EnvironmentFault(what.format(colour=self._colour), facts=facts, likely=likely, tries=tries)
        return Failed(
            f"{self._colour} was not ready within {self._settings.ready_timeout:g} s",
            facts=facts,
            likely="the model takes longer to load than target.kubernetes.ready_timeout allows, or its start hangs",
            tries=("raise target.kubernetes.ready_timeout",),
        )


def _told(found: Object) -> dict[str, str]:
    return dict(found["metadata"].get("annotations") or {})


def _decided(found: Object | None) -> tuple[str, ...]:
    """What workers decide of it."""
    told = _told(found) if found else {}
    return tuple(told.get(name, "") for name in (labels.DIGEST, labels.RUN, labels.RESTARTS))


def _refused(found: Object) -> Trouble | None:
    """That the cluster takes the Deployment, but none of its pods."""
    for condition in found.get("status", {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return Trouble("refused", f"{condition.get('reason', '')}: {condition.get('message', '')}")
    return None
