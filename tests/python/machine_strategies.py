"""Any state, observation and event of the release state machine, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from mlpipeline.core import release as machine
from mlpipeline.core.release import Phase, Release, Seen, Standing, State, Version
from mlpipeline.core.traffic import Cohort, Colour, Pinned, TrafficPlan

VERSIONS = st.sampled_from([Version(digest=f"sha256:{letter * 64}", path="/x", model_version=letter) for letter in "123"])
COLOURS = st.sampled_from(Colour)
TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
COHORTS = st.lists(
    st.builds(Cohort, TEXT, TEXT, st.sampled_from(["candidate", "champion"]), header=st.sampled_from(["x-a", "x-b"])), max_size=3
).map(tuple)
PINNED = st.builds(Pinned, TEXT, TEXT, COLOURS, header=st.sampled_from(["x-a", ""]), cookie=st.sampled_from(["", "c"]))
PLANS = st.builds(TrafficPlan, COLOURS, st.sampled_from([0, 10, 90]), cohorts=st.lists(PINNED, max_size=2).map(tuple))
RELEASES = st.builds(
    Release,
    run=st.sampled_from(["r1", "r2"]),
    candidate=VERSIONS,
    colour=COLOURS,
    phase=st.sampled_from(Phase),
    champion=st.none() | VERSIONS,
    stage=st.integers(0, 5),
    settled=st.booleans(),
)
STATES = st.builds(
    State,
    release=st.none() | RELEASES,
    champion=st.none() | st.builds(Standing, COLOURS, VERSIONS),
    previous=st.none() | VERSIONS,
    reviving=st.booleans(),
)
SEEN = st.builds(
    Seen,
    plan=st.none() | PLANS,
    ready=st.dictionaries(COLOURS, VERSIONS.map(lambda version: version.digest)),
    deployed=st.dictionaries(COLOURS, VERSIONS),
)
EVENTS = st.one_of(
    st.builds(machine.Begin, st.sampled_from(["r1", "r2"]), VERSIONS),
    st.sampled_from([machine.Ready(), machine.Abandon(), machine.Resume(), machine.StagePassed(), machine.Judged()]),
    st.sampled_from([machine.Proven(), machine.Hold("x"), machine.TakeBack("x"), machine.Returned(), machine.Revived()]),
    st.sampled_from([machine.Settle(), machine.Settled(), machine.Paid(machine.Debt("champion", "1"))]),
)
