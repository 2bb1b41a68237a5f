"""Our Envoy in a cluster: told by a ConfigMap that each of its pods mounts, asked pod by pod through the API server.

A kubelet looks at a mounted ConfigMap about once a minute, but at once when something of the pod itself changes. So each
change of the ConfigMap is followed by one of an annotation of each pod, again and again until the pod follows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import time_ns
from typing import Any

import msgspec

from mlpipeline.adapters.kubernetes.api import Cluster, Conflict, Object
from mlpipeline.adapters.kubernetes.fencing import NOTE, TOKEN, latest_of, note_of, refuse_if_taken_over
from mlpipeline.adapters.kubernetes.inventory import changed_by, deployment_facts, instance_of
from mlpipeline.adapters.kubernetes.objects import Owned
from mlpipeline.adapters.kubernetes.pods import Pods
from mlpipeline.adapters.kubernetes.specification import router_pods
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.core import container as labels
from mlpipeline.core import envoy_files as files
from mlpipeline.core import kubernetes_objects as objects
from mlpipeline.core.envoy_failover import Backup
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.inventory import Part
from mlpipeline.core.kubernetes_places import INSIDE_PORT, ROUTER, ROUTER_CONTAINER, Names
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault
from mlpipeline.hosting.envoy_admin import EnvoyAdmin
from mlpipeline.hosting.router import too_old
from mlpipeline.hosting.waiting import until
from mlpipeline.ports import Clock, RouterCounts

START_SECONDS = 120.0
CONFIRM_SECONDS = 90.0
"""More than the minute after which a kubelet looks by itself."""
POLL_SECONDS = 0.02
NUDGE_SECONDS = 0.5
"""After which a pod that does not follow is nudged again: its node may not have heard of the ConfigMap's change yet."""
CONFLICTS = 20
ROUTES = files.routes_file(objects.ROUTER_FILES).name
TOLD = "mlpipeline.told"
"""Annotation of a pod: when it was last told to look at its files."""


class EnvoyDeployment:
    """Implements :class:`mlpipeline.hosting.target.RouterService`.

    Args:
        token: The fencing token of this worker; 0 while it holds nothing.
        failover: Whether one colour may answer what the other did not.
    """

    def __init__(
        self,
        cluster: Cluster,
        service: str,
        *,
        settings: Kubernetes,
        clock: Clock,
        token: Callable[[], int] = lambda: 0,
        failover: bool = True,
    ) -> None:
        self._cluster, self._service, self._settings, self._clock = cluster, service, settings, clock
        self._failover = failover
        self._names = Names(service)
        self._owned = Owned(cluster, service)
        self._pods = Pods(cluster, service, ROUTER, ROUTER_CONTAINER)
        self._token = token

    def bound_log(self) -> None:
        """The nodes do that."""

    def known(self) -> bool:
        return self._owned.read("Deployment", self._names.router) is not None

    def running(self) -> bool:
        return any(self._admin(pod).answers() for pod in self._running())

    def require_port(self) -> None:
        """Users reach a Service: its name must not be somebody else's."""
        self._owned.read("Service", self._names.active)

    def admin_port(self) -> int | None:
        """Each pod has its own."""
        return None

    def ordered(self) -> TrafficPlan | None:
        found = self._files()
        text = found["data"].get(ROUTES) if found else None
        if text is None:
            return None
        try:
            return files.plan_of(msgspec.json.decode(text)["resources"][0])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise EnvironmentFault(
                "the router's route file is not readable",
                facts={"ConfigMap": self._names.router, "namespace": self._cluster.namespace, "found": error},
                likely="something else wrote into it",
                tries=("mlpipeline rollback",),
            ) from error

    def applied(self) -> TrafficPlan | None:
        """While its pods follow different plans, the one that it was told: the others are about to follow."""
        plans = [plan for pod in self._running() if (plan := self._admin(pod).applied()) is not None]
        if not plans:
            return None
        return plans[0] if all(plan == plans[0] for plan in plans) else self.ordered()

    def plans(self) -> list[TrafficPlan]:
        """Every plan that any pod follows, also one that is ending, and the one that they were told."""
        found = [self._admin(pod).applied() for pod in self._pods.all() if self._pods.running(pod)]
        return [plan for plan in (*found, self.ordered()) if plan is not None]

    def ensure(self) -> None:
        if self._running():
            self._until(self.running, "runs but does not answer", CONFIRM_SECONDS)
            return
        self._start()

    def knows(self, colour: Colour, address: Address | None) -> bool:
        found = self._files()
        text = found["data"].get(files.endpoints_file(objects.ROUTER_FILES, colour).name, "") if found else ""
        return files.tells_endpoint(text.encode(), colour, address)

    def set_endpoint(self, colour: Colour, address: Address | None) -> None:
        name = files.endpoints_file(objects.ROUTER_FILES, colour).name
        found = self._files()
        if found is None and address is None:
            return
        known = msgspec.json.decode(found["data"].get(name, "{}")) if found else {}
        version = known.get("version_info", "")
        if known != files.endpoints(colour, address, version):
            version = _version()
            self._write(lambda data: {**data, name: _text(files.endpoints(colour, address, version))})
        wanted = set() if address is None else {address}
        self._until_all(
            lambda admin: {host for host, reached in admin.hosts(colour).items() if reached} == wanted,
            f"did not take over where {colour} listens, or does not reach it there",
            version,
        )

    def apply(self, plan: TrafficPlan, *, warm: bool = False) -> None:
        self._follow(plan, self._backup(warm=warm))

    def leave_out(self, colour: Colour) -> None:
        """Nothing is asked of this colour any more that the live one did not answer."""
        found = self._files()
        text = found["data"].get(ROUTES) if found else None
        if text is None or files.backup_in(text) is not Backup.WARM:
            return
        plan = self.ordered()
        if plan is not None and plan.live is not colour:
            self._follow(plan, self._backup(warm=False))

    def _backup(self, *, warm: bool) -> Backup:
        """None as long as a pod answers that was started without the clusters for it."""
        if not self._failover:
            return Backup.NONE
        answering = (admin for pod in self._running() if (admin := self._admin(pod)).answers())
        if not all(admin.fails_over() for admin in answering):
            return Backup.NONE
        return Backup.WARM if warm else Backup.USERS

    def _follow(self, plan: TrafficPlan, backup: Backup) -> None:
        version = _version()
        refused_before = self._refusals()
        former = self._write(lambda data: {**data, ROUTES: _text(files.routes(plan, version, backup))})
        self.ensure()
        try:
            self._until_all(
                lambda admin: admin.follows(version),
                "did not confirm the new traffic plan",
                version,
                give_up=lambda: self._refusals() > refused_before,
            )
        except EnvironmentFault:
            if ROUTES in former:
                self._write(lambda data: {**data, ROUTES: former[ROUTES]} if version in data.get(ROUTES, "") else data)
                self._nudge(self._running(), _version())
            raise

    def counts(self) -> dict[Colour, RouterCounts]:
        """Of all pods together, those that are ending too: these still answer users. Raises OSError when none answers."""
        found = []
        for pod in self._pods.all():
            if self._pods.running(pod):
                with suppress(OSError):
                    found.append(self._admin(pod).counts())
        if not found:
            raise ConnectionError("no pod of the router answers")
        return {
            colour: RouterCounts(
                completed=sum(one[colour].completed for one in found),
                failed=sum(one[colour].failed for one in found),
                active=sum(one[colour].active for one in found),
            )
            for colour in Colour
        }

    def words(self, lines: int) -> Mapping[str, object]:
        name, namespace = self._names.router, self._cluster.namespace
        trouble = self._pods.trouble(self._pods.staying())
        said = {"found": trouble.text} if trouble else {}
        return {
            "log": f"kubectl logs --namespace {namespace} deployment/{name}",
            "last lines": self._pods.words(lines),
            **said,
        }

    def inventory(self, addresses: Mapping[Colour, Address | None]) -> Part:
        """How many of its pods follow what they were told."""
        del addresses
        ordered, pods = self.ordered(), self._running()
        following = sum(self._admin(pod).applied() == ordered for pod in pods)
        wanted = str(self._settings.router_replicas)
        facts = {"state": "up" if pods else "down", "pods": str(len(pods)), "pods that follow the plan": str(following)}
        due = {"state": "up", "pods": wanted, "pods that follow the plan": wanted}
        deployment, service = self._owned.read("Deployment", self._names.router), self._owned.read("Service", self._names.active)
        if deployment is None or service is None:
            return Part(facts, due)
        facts |= deployment_facts(deployment, ROUTER_CONTAINER)
        facts["users reach"] = _pairs(service["spec"].get("selector") or {})
        due["users reach"] = _pairs({labels.SERVICE: self._service, labels.ROLE: ROUTER})
        who = dict.fromkeys((changed_by(deployment), changed_by(service, "selector")))
        return Part(facts, due, "; ".join(who), instance_of(deployment))

    def stamp(self, token: int) -> None:
        """Makes every write that an earlier holder of the service still has in hand impossible."""
        if self._files() is not None:
            self._write(lambda data: data, token)

    def remember(self, note: str) -> None:
        """Beside the route file, as long as there is one."""
        if self._files() is not None:
            self._write(lambda data: data, note=note)

    def remembered(self) -> str:
        return note_of(self._files())

    def latest_token(self) -> int:
        """Of whoever wrote last."""
        return latest_of(self._files())

    def remove(self) -> None:
        """The router, what it was told, and the Service that users call."""
        for kind, name in (
            ("Service", self._names.active),
            ("PodDisruptionBudget", self._names.router),
            ("Deployment", self._names.router),
            ("ConfigMap", self._names.router),
        ):
            self._owned.remove(kind, name)

    def _files(self) -> Object | None:
        found = self._owned.read("ConfigMap", self._names.router)
        return None if found is None else {**found, "data": found.get("data") or {}}

    def _write(
        self, change: Callable[[dict[str, str]], dict[str, str]], token: int | None = None, note: str = ""
    ) -> dict[str, str]:
        """Compare and swap: only over the version that was read, and never over the word of a later holder of the service.

        Returns what was told before.
        """
        token = self._token() if token is None else token
        wanted = objects.router_files(self._service, self._cluster.namespace, {}, failover=self._failover)
        for _ in range(CONFLICTS):
            found = self._files()
            before: dict[str, str] = found["data"] if found else {}
            metadata: dict[str, Any] = dict(found["metadata"] if found else msgspec.convert(wanted["metadata"], dict[str, Any]))
            annotations = dict(metadata.get("annotations") or {})
            latest = refuse_if_taken_over(annotations, token, f"ConfigMap {self._names.router}")
            metadata = {name: value for name, value in metadata.items() if name != "managedFields"}
            metadata["annotations"] = {**annotations, TOKEN: str(max(token, latest)), NOTE: note or note_of(found)}
            data = {**msgspec.convert(wanted["data"], dict[str, str]), **change(self._ready_to_start(before))}
            new = {**wanted, "metadata": metadata, "data": data}
            with suppress(Conflict):
                self._cluster.replace(new) if found else self._cluster.create(new)
                return before
        raise EnvironmentFault(
            "the router could not be told: something else keeps writing into its ConfigMap",
            facts={"ConfigMap": self._names.router, "namespace": self._cluster.namespace},
            tries=("mlpipeline status",),
        )

    def _ready_to_start(self, data: dict[str, str]) -> dict[str, str]:
        """Envoy does not start without a file for each colour, nor with routes to clusters that its bootstrap does not have."""
        missing = {
            name: _text(files.endpoints(colour, None, _version()))
            for colour in Colour
            if (name := files.endpoints_file(objects.ROUTER_FILES, colour).name) not in data
        }
        return {**missing, **data, **self._without_backup(data)}

    def _without_backup(self, data: Mapping[str, str]) -> dict[str, str]:
        if self._failover or ROUTES not in data or files.backup_in(data[ROUTES]) in (None, Backup.NONE):
            return {}
        plan = files.plan_of(msgspec.json.decode(data[ROUTES])["resources"][0])
        return {ROUTES: _text(files.routes(plan, _version()))}

    def _start(self) -> None:
        namespace = self._cluster.namespace
        pods = router_pods(self._settings, self._service, namespace)
        if self._files() is None:
            self._write(lambda data: data)
        self._owned.apply(objects.router_deployment(pods))
        self._owned.apply(objects.disruption_budget(self._service, namespace, ROUTER))
        self._owned.apply(objects.active_service(self._service, namespace, to=None, port=self._settings.port))
        deadline = self._clock.monotonic() + START_SECONDS
        trouble = None
        while self._clock.monotonic() < deadline:
            staying = self._pods.staying()
            if sum(self._pods.ready(pod) for pod in staying) >= self._settings.router_replicas:
                return
            trouble = self._pods.trouble(staying)
            if trouble is not None and trouble.kind in ("ended", "memory"):
                break
            self._clock.sleep(POLL_SECONDS)
        facts = {**self.words(12), "events": self._pods.events(self._names.router) or "none"}
        raise EnvironmentFault(
            "the router did not start",
            facts=facts,
            likely=too_old(facts) or ("" if trouble is None else trouble.text),
            tries=(f"kubectl describe deployment --namespace {namespace} {self._names.router}", "mlpipeline doctor"),
        )

    def _running(self) -> list[Object]:
        return [pod for pod in self._pods.staying() if self._pods.running(pod)]

    def _admin(self, pod: Object) -> EnvoyAdmin:
        name = pod["metadata"]["name"]
        return EnvoyAdmin(lambda path, seconds: self._cluster.ask(name, INSIDE_PORT, path, timeout=seconds))

    def _refusals(self) -> int:
        return sum(self._admin(pod).refusals() for pod in self._running())

    def _nudge(self, pods: list[Object], version: str) -> None:
        for pod in pods:
            told = {"metadata": {"annotations": {TOLD: version}}}
            self._cluster.patch("Pod", pod["metadata"]["name"], told)

    def _until_all(
        self,
        follows: Callable[[EnvoyAdmin], bool],
        complaint: str,
        version: str,
        *,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """Every pod that stays has to follow. One that is ending keeps what it had, and is counted until it is gone."""
        nudged = -NUDGE_SECONDS

        def all_follow() -> bool:
            nonlocal nudged
            behind = [pod for pod in self._running() if not follows(self._admin(pod))]
            if behind and self._clock.monotonic() - nudged >= NUDGE_SECONDS:
                self._nudge(behind, f"{version}-{time_ns()}")
                nudged = self._clock.monotonic()
            return not behind

        self._until(all_follow, complaint, CONFIRM_SECONDS, give_up=give_up)

    def _until(
        self, condition: Callable[[], bool], complaint: str, within: float, *, give_up: Callable[[], bool] = lambda: False
    ) -> None:
        if until(condition, self._clock, within=within, poll=POLL_SECONDS, give_up=give_up):
            return
        raise EnvironmentFault(
            f"the router {complaint}",
            facts=self.words(4),
            likely="the cluster is overloaded, or a network policy keeps the router from its colours",
            tries=("run the same command again: nothing was lost",),
        )


def _pairs(selector: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={text}" for name, text in sorted(selector.items()))


def _text(content: Mapping[str, object]) -> str:
    return msgspec.json.format(msgspec.json.encode(content)).decode() + "\n"


def _version() -> str:
    """Never the same twice."""
    return f"{time_ns()}-{os.getpid()}"
