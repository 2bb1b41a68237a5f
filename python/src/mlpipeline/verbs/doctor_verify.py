"""What ``doctor`` asks of verification: can the queries be read, is what they read there, and will the traffic do?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from math import log

from mlpipeline.core.promql import Selector, selectors
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import ConfigurationError
from mlpipeline.packs.shape import Buckets, Pack
from mlpipeline.ports import MetricSource, Sample
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.doctor_conditions import one_number
from mlpipeline.verbs.findings import Note
from mlpipeline.verbs.late_labels import LateLabels
from mlpipeline.verbs.latency_bounds import bounds_of, in_words, shared_bound
from mlpipeline.verbs.looking import Reader, Roles, sources
from mlpipeline.verbs.verify_conditions import asked, conditions
from mlpipeline.verbs.verify_planning import HISTORY, stages, unfinished
from mlpipeline.verbs.verify_rules import NothingPredicted
from mlpipeline.verbs.verify_watch import Watch

_FAR = log(2.0)
"""A bucket bound more than twice, or less than half, the objective judges something else."""
_SEEN = "1h"
_SHOWN = 3
_SET_BY_SCRAPES = "colour"
"""The label of a colour where the runtime has none of its own."""
_ROLES = Roles(candidate=Colour.GREEN, champion=Colour.BLUE)


def queries(context: Context) -> str:
    """Has every query of ``verify`` and ``nightly`` read by a Prometheus: the configured one, the service's own, or one
    started for this moment.

    Raises:
        ConfigurationError: A query is wrong; what Prometheus said is in it.
        EnvironmentFault: There is no Prometheus, or it does not answer.
    """
    texts = asked(context.config)
    verify = context.config.verify
    own = conditions(context.config, _ROLES) or verify.score.metrics or verify.accuracy.wrong_query
    if not own and not _standing(context):
        from mlpipeline.hosting.scraper import find_prometheus

        # queries of ours alone, which need no reading
        return f"Prometheus is {find_prometheus()}"
    with _reader(context) as (source, where):
        source.instant("vector(1)")
        for query in texts:
            _read_by(source, query)
    return f"{where} can read the {len(texts)} queries of verify"


def metrics(context: Context) -> str | Note:
    """Whether what the queries read is there, tells the colours apart, and has a bucket near the objective.

    Raises ConfigurationError for the first that is not. Where Prometheus knows nothing of the service yet, nothing is held
    against the queries: before the first release their metrics cannot exist.
    """
    url = _standing(context)
    if not url:
        return "nothing of this service is scraped yet: whether its metrics exist shows after the first release"
    source = context.world.metrics(url)
    names = tuple(sources(context.config.verify.pack).items())
    main = names[0][1]
    _told_apart(source, main, context.config.service)
    if not source.instant(f"count({main.selector(context.config.service)})"):
        return _nothing_of(source, main, context.config.service)
    for condition in conditions(context.config, _ROLES):
        if condition.dry_run or not _readable(source, condition.query):
            continue
        for selector in selectors(condition.query) if condition.empty not in ("pass", "zero") else ():
            _exists(source, selector, f"condition {condition.name!r}")
        one_number(source, condition)
    for metric in context.config.verify.score.metrics:
        text = metric.query.replace("{{service}}", context.config.service).replace("{{colour}}", "green")
        for selector in selectors(text) if _readable(source, text) else ():
            _exists(source, selector, f"scored metric {metric.name!r}")
    return f"the metrics that verify reads exist{_objective(context, source, main)}"


def traffic(context: Context) -> str | Note:
    """Whether the stages can be judged in their time, at the traffic of now.

    A champion that answers too few requests for any verdict is worth knowing and no fault: a young service at night is as it
    should be. Raises ConfigurationError for a condition that needs more time than all stages have.
    """
    late = unfinished(stages(context.config), conditions(context.config, _ROLES), float(context.config.verify.interval))
    if late:
        raise ConfigurationError(
            late[0].summary,
            facts={"key": "verify.conditions, rollout"},
            tries=("fewer or quicker measurements, or longer stages",),
        )
    url = _standing(context)
    champion = _champion(context)
    if not url or champion is None:
        return "no champion answers yet: how long verification takes shows after the first release"
    alone = Roles(candidate=champion, champion=champion)
    settings = context.config.verify
    reader = Reader(context.world.metrics(url), context.config.service, alone, settings.interval, settings.pack)
    now = reader.now()
    if reader.absent(reader.scrapes(now), now):
        return "the champion is not scraped at present: how long verification takes is not known"
    run = Run(id="doctor", service=context.config.service, commit="", created="")
    try:
        reasons = Watch(context, run, alone, prometheus=url, resume=False).expectations()
    except NothingPredicted as error:
        return Note(error.what)
    young = [reason for reason in reasons if HISTORY in reason.numbers]
    if young:
        return Note(young[0].summary)
    short = [reason for reason in reasons if reason.numbers.get("enough_requests") is False]
    if short:
        return Note(
            f"at present traffic no release could pass: {short[0].summary}; "
            "release when there are users, or give the stages of rollout more time"
        )
    return "; ".join(reason.summary for reason in reasons) or "no metric is compared"


def labels(context: Context) -> str | Note:
    """Whether predictions and their late labels can be joined, and what is strange about them. Raises ConfigurationError for a
    column or table that is not there; before the first release nobody predicted anything, so that missing files are no fault
    then."""
    rule = context.config.verify.accuracy
    url = _standing(context)
    if not rule.predictions and not url:
        return "late labels are counted by queries"
    source = None if rule.predictions else context.world.metrics(url)
    of_counters = [query.replace("{{colour}}", "green") for query in (rule.labelled_query, rule.wrong_query) if query]
    if source and not all(_readable(source, query.replace("{{service}}", context.config.service)) for query in of_counters):
        return "late labels are counted by queries"
    try:
        strange = LateLabels(context, _ROLES, source, context.clock.now().timestamp()).check()
    except ConfigurationError as error:
        if _champion(context) is not None:
            raise
        return Note(f"{error.what}; before the first release that may be as it should be")
    good = "the predictions and their labels can be joined" if rule.predictions else "late labels are counted by queries"
    return Note(f"{good}, but {'; '.join(strange)}") if strange else good


def answers(context: Context) -> str | Note:
    """Whether the champion keeps its answers, so that a candidate's can be compared with them."""
    target, champion = context.world.target(), _champion(context)
    if champion is None:
        return "no champion answers yet: whether answers can be compared shows with the release after the next"
    kept = len(target.answers(champion))
    if kept:
        return f"the champion tells its newest {kept} answers"
    return Note(
        "the champion tells no answers, so that the next release cannot compare any: nothing was asked of it since it started, "
        "or it was started before verify.disagreement was on, or packaged by an earlier version"
    )


def _read_by(source: MetricSource, query: str) -> None:
    """Has the server read it; what it said against it stands in the first line."""
    try:
        source.instant(query)
    except ConfigurationError as error:
        if "said" not in error.facts or "query" not in error.facts:
            raise
        raise ConfigurationError(f"{error.what}: {query} ({error.facts['said']})", facts=error.facts) from error


@contextmanager
def _reader(context: Context) -> Iterator[tuple[MetricSource, str]]:
    url = _standing(context)
    if url:
        yield context.world.metrics(url), f"Prometheus answers at {url} and"
        return
    from mlpipeline.adapters.local.momentary import momentary_prometheus
    from mlpipeline.hosting.scraper import find_prometheus

    with momentary_prometheus(context.clock) as own:
        yield context.world.metrics(own), f"Prometheus is {find_prometheus()} and"


def _standing(context: Context) -> str:
    """The URL of a Prometheus that may have data; empty where there is none yet."""
    if context.config.verify.prometheus:
        return context.config.verify.prometheus
    target = context.world.target()
    return target.monitoring() if target.observe().plan is not None else ""


def _champion(context: Context) -> Colour | None:
    plan = context.world.target().observe().plan
    return plan.live if plan is not None else None


def _told_apart(source: MetricSource, pack: Pack, service: str) -> None:
    names = pack.names
    everywhere = f'{{__name__=~"{"|".join(names)}",service="{service}"}}'
    values = {
        sample.labels.get(pack.colour_label, "") for sample in source.instant(f"count by ({pack.colour_label}) ({everywhere})")
    }
    known, others = values & {str(colour) for colour in Colour}, values - {str(colour) for colour in Colour} - {""}
    # a runtime's own label, such as Envoy's of its clusters, may well have other values besides
    half = len(known) == 1 and others and pack.colour_label == _SET_BY_SCRAPES
    if values and (not known or half):
        found = ", ".join(sorted(map(repr, values - {""}))) or "no value at all"
        raise ConfigurationError(
            f"the label {pack.colour_label!r} does not tell the colours apart: it has {found}, not 'blue' and 'green'",
            facts={"query": everywhere, "pack": pack.name},
            likely="the scrape configuration does not set the label, or sets another one",
            tries=("set it where Prometheus scrapes, see docs/how-to/verify-another-runtime.md",),
        )
    if pack.colour_label == _SET_BY_SCRAPES:
        _each_its_own(source, service)


def _each_its_own(source: MetricSource, service: str) -> None:
    """Raises ConfigurationError where one target is scraped as both colours: they would never differ.

    Asked of ``up``, which has the labels of targets alone: one page may well tell of both colours by labels of its own.
    """
    scraped = f'up{{service="{service}",colour=~"blue|green"}}'
    # several pods may be given the address of their node
    both = source.instant(f"count by (job, instance, pod) (count by (job, instance, pod, colour) ({scraped})) > 1")
    if both:
        named = ", ".join(sorted({sample.labels.get("instance", "") for sample in both})[:_SHOWN])
        raise ConfigurationError(
            f"the label 'colour' does not tell the colours apart: {named} is scraped as blue and as green",
            facts={"query": scraped},
            likely="the same address stands under both colours in the scrape configuration",
            tries=("give each colour the addresses of its own processes alone",),
        )


def _nothing_of(source: MetricSource, pack: Pack, service: str) -> str | Note:
    """Before the first release that is as it should be, unless the service exports something else."""
    others = source.instant(f'topk({_SHOWN}, count by (__name__) ({{service="{service}"}}))')
    names = ", ".join(sorted(sample.labels.get("__name__", "") for sample in others))
    if names:
        return Note(
            f"Prometheus has series of service {service!r}, such as {names}, and none that the pack {pack.name} reads: "
            "is verify.pack another runtime's?"
        )
    everybody = source.instant(f'count by (service) ({{__name__=~"{"|".join(pack.names)}"}})')
    known = ", ".join(sorted(repr(sample.labels["service"]) for sample in everybody if "service" in sample.labels)[:_SHOWN])
    return (
        f"Prometheus has no series of service {service!r} yet: whether its metrics exist is not known"
        f"{f'; it has those of {known}' if known else ''}"
    )


def _readable(source: MetricSource, query: str) -> bool:
    """A query that is wrong is told by the check of the queries, once."""
    try:
        source.instant(query)
    except ConfigurationError:
        return False
    return True


def _exists(source: MetricSource, selector: Selector, whose: str) -> None:
    if not selector.name:
        return
    either = {selector.text.replace(one, other) for one in ("green", "blue") for other in ("green", "blue")}
    if any(source.instant(f"count(last_over_time({text}[{_SEEN}]))") for text in sorted(either | {selector.text})):
        return
    if source.instant(f'count(last_over_time({{__name__="{selector.name}"}}[{_SEEN}]))'):
        raise ConfigurationError(
            f"{whose} reads series that do not exist: the metric is there, with other labels",
            facts={"selector": selector.text, **_labels(source, selector)},
            tries=(f"paste {selector.text} into Prometheus", "dry_run: true until a release exports it"),
        )
    nearest = _nearest(source, selector.name)
    raise ConfigurationError(
        f"{whose} reads the metric {selector.name!r}, of which Prometheus has seen nothing for {_SEEN}"
        f"{f'; the nearest that is there is {nearest}' if nearest else ''}",
        facts={"selector": selector.text},
        likely="the name is misspelt, or nothing exports it",
        tries=(
            "empty: zero, where no series means that nothing happened",
            "dry_run: true until a release exports it",
        ),
    )


def _labels(source: MetricSource, selector: Selector) -> dict[str, str]:
    (sample, *_) = source.instant(f'topk(1, last_over_time({{__name__="{selector.name}"}}[{_SEEN}]))')
    shown = ", ".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()) if name != "__name__")
    return {"it has": f"{{{shown}}}"}


def _nearest(source: MetricSource, name: str) -> str:
    """A metric that is there and spelt nearly so. Only names with the same beginning are asked for: there may be very many."""
    beginning = name[:3]
    found = source.instant(f'group by (__name__) ({{__name__=~"{beginning}.*"}})')
    return ", ".join(get_close_matches(name, [sample.labels.get("__name__", "") for sample in found], 1))


def _objective(context: Context, source: MetricSource, pack: Pack) -> str:
    rule = context.config.verify.latency
    if not rule.enabled or pack.latency is None:
        return ""
    found = _bounds(source, pack, pack.latency, context.config.service)
    if not found:
        return f"; no request was answered yet, so whether {pack.latency.series.name} exists is not known"
    bound = shared_bound(pack.latency, found, rule.objective)
    if abs(log(bound / rule.objective)) > _FAR:
        raise ConfigurationError(
            f"no bucket of the histogram is near the objective of {rule.objective:g} s: the nearest usable is {bound:g} s",
            facts={
                "histogram": pack.latency.series.name,
                **{f"buckets of {colour}": in_words(bounds) for colour, bounds in found.items()},
                "key": "verify.latency.objective",
            },
            tries=(f"verify.latency.objective: {bound:g}s", "give the runtime a bucket at the objective"),
        )
    return "" if bound == rule.objective else f"; latency is judged at {bound:g} s, the bucket nearest to {rule.objective:g} s"


def _bounds(source: MetricSource, pack: Pack, latency: Buckets, service: str) -> dict[str, frozenset[float]]:
    """Of each colour that has the histogram, or answered requests and should have it."""
    samples = source.instant(pack.selector(service))
    found = {}
    for colour in map(str, Colour):
        own = [sample for sample in samples if sample.labels.get(pack.colour_label) == colour]
        bounds = bounds_of(latency, (sample.labels for sample in own))
        if bounds or _answered(pack, own):
            found[colour] = bounds
    return found


def _answered(pack: Pack, samples: Sequence[Sample]) -> bool:
    """Whether any request is counted. Many runtimes export a histogram from their first request on only."""
    counted = pack.errors.total if pack.errors else ()
    return any(sample.value > 0 and series.matches(sample.labels, "live") for sample in samples for series in counted)
