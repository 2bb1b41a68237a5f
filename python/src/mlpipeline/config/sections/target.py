"""Where a service runs, as it is configured."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mlpipeline.config.values import Duration, Port, Positive, Section, Share


class Serving(Section, frozen=True):
    """Limits of one serving process, and what it keeps of requests."""

    queue: Annotated[int, Meta(ge=0)] = 128
    """Requests that may wait for the model; one more is refused at once, with ``Retry-After``."""
    when_full: Literal["unavailable", "too-many-requests"] = "unavailable"
    """How: 503, which verification counts as a failure of the candidate, or 429, which it counts as the client's own."""
    body_limit: str = "64MiB"
    """Largest body of a request; a larger one is answered with 413."""
    time_limit: Duration = Duration(60)
    """How long one request may take, waiting included; then it is answered with 504, or 408 when it never arrived whole."""
    log_requests: bool = False
    """Whether every request is a line of the log (JSON, with its ``x-request-id``), not only those that fail."""
    sample: Share = 0.0
    """Share of the answered requests that is kept with its answers, for replays and for labels that arrive late. The file holds
    what clients sent: think of whose data that is."""
    sample_size: str = "64MiB"
    """What the sample may take on the disk; the oldest is left behind."""


class Local(Section, frozen=True):
    port: Port = 8080
    """Where users reach the service."""
    host: str = "127.0.0.1"
    """The address the router listens on."""
    ready_timeout: Duration = Duration(120)
    """How long a started model may take until it answers."""
    drain_timeout: Duration = Duration(30)
    """How long requests in flight may take when a model's process is ended."""
    threads: Positive = 2
    """Worker threads of each serving process."""
    serving: Serving = Serving()
    """Limits of each serving process. A sample is kept in the service's state folder, as ``local/<colour>/requests.jsonl``."""
    keep_answers: Annotated[int, Meta(ge=0)] = 0
    """How many of its newest answers each colour keeps in memory, for ``verify.disagreement``, which sets 2000 when this is 0."""


class Docker(Section, frozen=True):
    """Containers of one Docker host, on which the worker runs too; engine 20.10 or newer."""

    router_image: str = ""
    """Image of Envoy, pinned: ``host/name@sha256:...``, or ``sha256:...`` for one that the engine has."""
    port: Port = 8080
    """Where users reach the service."""
    host: str = "127.0.0.1"
    """The address of this machine on which users reach the service; ``0.0.0.0``: on all."""
    engine: str = ""
    """Address of the engine; empty: ``$DOCKER_HOST``, else the socket of this machine."""
    network: Literal["bridge", "host"] = "bridge"
    """``bridge``: a network of the service's own, its ports published on loopback. ``host``: the machine's network, everything
    but the users' address on loopback; for engines without bridges."""
    ready_timeout: Duration = Duration(120)
    """How long a started model may take until it answers."""
    drain_timeout: Duration = Duration(30)
    """How long requests in flight may take when a model's container is ended."""
    threads: Positive = 2
    """Worker threads of each serving process."""
    serving: Serving = Serving()
    """Limits of each serving process. A sample is kept in its ``/tmp``, as ``requests.jsonl``, and ends with the container."""
    memory: str = ""
    """Memory of each model's container, such as ``4GiB``, swap included; empty: as much as the machine has."""
    cpus: Annotated[float, Meta(ge=0)] = 0
    """Processors of each model's container, such as ``1.5``; 0: all."""
    processes: Positive = 1024
    """Processes and threads in each container."""
    keep_answers: Annotated[int, Meta(ge=0)] = 0
    """How many of its newest answers each colour keeps in memory, for ``verify.disagreement``, which sets 2000 when this is 0."""
    scratch: str = "256MiB"
    """Size of ``/tmp``, the only place where a container may write; it counts as its memory."""
    gpus: str = ""
    """``all``, devices such as ``0,1``, or ``leased``: those of ``$MLPIPELINE_GPUS`` or ``$CUDA_VISIBLE_DEVICES``. Empty: as many
    as ``image.gpus`` says."""
    environment: dict[str, str] = {}
    """More environment variables of the serving process. No secrets: whoever may ask the engine reads them."""
    restart: Literal["unless-stopped", "on-failure", "no"] = "unless-stopped"
    """What the engine does with a container that ends by itself once it had been ready."""
    log_size: str = "10MiB"
    """Size of one log file of a container; three are kept."""
    keep_images: Positive = 3
    """How many images of the service the engine keeps besides those that containers use."""


class Toleration(Section, frozen=True):
    """A taint of nodes that pods of this service put up with, such as that of GPU nodes."""

    key: str = ""
    """Of the taint; empty, with ``Exists``: every one."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Whether the taint's value must be ``value``."""
    value: str = ""
    """Of the taint."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Of the taint; empty: every one."""


class Kubernetes(Section, frozen=True):
    """Deployments in one namespace of a cluster; 1.30 or newer."""

    kubeconfig: str = ""
    """Path; empty: ``$KUBECONFIG``, the user's own, or the service account of the pod that the worker runs in."""
    context: str = ""
    """Of the kubeconfig; empty: its current one."""
    namespace: str = ""
    """Where everything of the service is; empty: that of the context."""
    router: Literal["envoy", "service", "gateway"] = "envoy"
    """What divides users. ``envoy``: our Envoy as a Deployment, which mirrors and shares by percent. ``gateway``: an HTTPRoute of
    the Gateway API. ``service``: the selector of the Service that users call; it moves everybody at once, so that there is nobody
    to compare with."""
    router_image: str = ""
    """Image of Envoy 1.32 or newer, pinned: ``host/name@sha256:...``; for ``router: envoy``."""
    router_replicas: Positive = 2
    """Pods of our Envoy."""
    gateway: str = ""
    """Name of the Gateway, or ``namespace/name``, that users come through; for ``router: gateway``."""
    gateway_listener: str = ""
    """Name of one of its listeners; empty: all that take the route."""
    hostnames: tuple[str, ...] = ()
    """Host names of the HTTPRoute; empty: those of the listener."""
    port: Port = 80
    """Of the Service that users call, which has the name of the service."""
    replicas: Positive = 1
    """Pods of each colour, as long as no HorizontalPodAutoscaler owns their number."""
    ready_timeout: Duration = Duration(300)
    """How long a started model may take until it answers, its image pulled and its node found."""
    drain_timeout: Duration = Duration(30)
    """How long requests in flight may take when a model's pod is ended."""
    threads: Positive = 2
    """Worker threads of each serving process."""
    serving: Serving = Serving()
    """Limits of each serving process. A sample is kept in its ``/tmp``, as ``requests.jsonl``, and ends with the pod."""
    cpu_request: str = ""
    """Processors that a model's pod is promised, such as ``500m`` or ``2``; empty: the namespace's own default."""
    cpu_limit: str = ""
    """Processors that it may use at most."""
    memory_request: str = ""
    """Memory that it is promised, such as ``2Gi``."""
    memory_limit: str = ""
    """Memory beyond which it is killed."""
    keep_answers: Annotated[int, Meta(ge=0)] = 0
    """How many of its newest answers each pod keeps in memory, for ``verify.disagreement``, which sets 2000 when this is 0."""
    scratch: str = "256Mi"
    """Size of ``/tmp``, the only place where a container may write."""
    gpu_resource: str = "nvidia.com/gpu"
    """What the cluster calls its devices; ``image.gpus`` says how many a pod gets."""
    environment: dict[str, str] = {}
    """More environment variables of the serving process. No secrets: whoever may read Deployments reads them."""
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets of the namespace by which images are pulled."""
    node_selector: dict[str, str] = {}
    """Labels that a node must have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of nodes that pods put up with."""
    service_account: str = ""
    """Whose identity the model's pods have; empty: none, and no token is given to them."""
    priority_class: str = ""
    """Of the model's pods."""
    runtime_class: str = ""
    """Of the model's pods, such as ``nvidia``."""
    manifests: str = ""
    """File, or folder of files, with a Deployment of your own that each colour is made of; empty: there is none."""
    manifests_command: str = ""
    """Command that prints such manifests instead: ``helm template churn chart``, or ``kubectl kustomize overlays/prod``."""


class Target(Section, frozen=True):
    kind: Literal["local", "docker", "kubernetes"] = "local"
    failover: bool = True
    """Whether a request that a colour gave no answer to (connection refused or broken) is asked once of the other one, when that
    has users too or is the version before; the colour that failed is charged with it. For models whose predictions change
    nothing; where the router is our Envoy, 1.37 or newer."""
    local: Local = Local()
    docker: Docker = Docker()
    kubernetes: Kubernetes = Kubernetes()
