"""A traffic plan as an HTTPRoute, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpipeline.core.kubernetes_routes import Parent, encoded, http_route, plan_of, written_plan
from mlpipeline.core.traffic import Colour, Pinned, TrafficPlan

PARENT = Parent("ingress/public", "https", ("churn.example.org",))
PLANS = st.one_of(
    st.builds(TrafficPlan, live=st.sampled_from(Colour), share=st.integers(0, 100)),
    st.builds(TrafficPlan, live=st.sampled_from(Colour), mirror=st.just(True)),
    st.builds(
        TrafficPlan,
        live=st.sampled_from(Colour),
        share=st.integers(0, 100),
        cohorts=st.tuples(st.builds(Pinned, st.just("beta"), st.text(min_size=1), st.sampled_from(Colour), st.just("x-user"))),
    ),
)


def route(plan: TrafficPlan, parent: Parent = PARENT) -> Any:
    return http_route("churn", "team", plan, parent)


@given(PLANS)
def test_every_plan_is_read_back(plan: TrafficPlan) -> None:
    assert plan_of("churn", route(plan)) == plan
    assert written_plan({"mlpipeline.plan": encoded(plan)}) == plan


def test_the_route_hangs_on_its_gateway() -> None:
    spec = route(TrafficPlan(Colour.BLUE))["spec"]
    assert spec["parentRefs"] == [{"name": "public", "namespace": "ingress", "sectionName": "https"}]
    assert spec["hostnames"] == ["churn.example.org"]
    bare = route(TrafficPlan(Colour.BLUE), Parent("public"))["spec"]
    assert bare["parentRefs"] == [{"name": "public"}]
    assert "hostnames" not in bare


def test_weights_are_percent_and_copies_go_to_the_other_colour() -> None:
    rule = route(TrafficPlan(Colour.GREEN, share=10))["spec"]["rules"][-1]
    assert {one["name"]: one["weight"] for one in rule["backendRefs"]} == {"churn-blue": 10, "churn-green": 90}
    assert "filters" not in rule
    copied = route(TrafficPlan(Colour.GREEN, mirror=True))["spec"]["rules"][-1]
    assert copied["filters"][0]["requestMirror"]["backendRef"]["name"] == "churn-blue"


def test_a_cohort_comes_before_everybody_else() -> None:
    cohort = Pinned("beta", "a.b", Colour.GREEN, cookie="group")
    first, last = route(TrafficPlan(Colour.BLUE, cohorts=(cohort,)))["spec"]["rules"]
    header = first["matches"][0]["headers"][0]
    assert (header["type"], header["name"]) == ("RegularExpression", "Cookie")
    assert r"group=a\.b" in header["value"]
    assert [one["name"] for one in first["backendRefs"]] == ["churn-green"]
    assert "headers" not in last["matches"][0]


def test_weights_that_somebody_changed_are_the_truth() -> None:
    found = route(TrafficPlan(Colour.BLUE, share=10))
    for one in found["spec"]["rules"][-1]["backendRefs"]:
        one["weight"] = {"churn-blue": 25, "churn-green": 75}[one["name"]]
    assert plan_of("churn", found) == TrafficPlan(Colour.GREEN, share=25)


@pytest.mark.parametrize("backends", [[], [{"name": "somebody-else", "weight": 1}], [{"name": "churn-blue", "weight": 0}]])
def test_a_route_to_somewhere_else_is_no_plan(backends: list[dict[str, object]]) -> None:
    found = route(TrafficPlan(Colour.BLUE))
    found["spec"]["rules"][-1]["backendRefs"] = backends
    with pytest.raises(ValueError, match="sends users to"):
        plan_of("churn", found)
