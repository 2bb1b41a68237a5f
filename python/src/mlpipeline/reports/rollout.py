"""What was asked on the way of a rollout, for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlpipeline.record.result import Result
from mlpipeline.reports.markup import Markup, element, text


def hook_table(results: Mapping[str, Result]) -> Markup:
    """A row per hook that ended, in order; nothing where none was asked."""
    rows = list(_rows(results))
    if not rows:
        return text("")
    head = element("tr", *(element("th", name) for name in ("hook", "said", "verdict")), element("th", "took", class_="number"))
    return element("table", element("thead", head), element("tbody", *rows), class_="hooks")


def _rows(results: Mapping[str, Result]) -> Iterator[Markup]:
    for verb in ("switch", "settle"):
        found = results[verb].evidence.get("hooks") if verb in results else None
        for one in found if isinstance(found, list) else ():
            if not isinstance(one, Mapping):
                continue
            stage = f" ({one['stage']})" if one.get("stage") else ""
            yield element(
                "tr",
                element("th", f"{one.get('point', '')}{stage}", scope="row"),
                element("td", str(one.get("summary", ""))),
                element("td", str(one.get("verdict", ""))),
                element("td", f"{one['seconds']:.3g} s" if isinstance(one.get("seconds"), int | float) else "", class_="number"),
            )
