"""What of an answer is not as expected, and what is no file of golden requests."""

from __future__ import annotations

import json

import pytest

from mlpipeline.core.golden import Comparison, Golden, Malformed, Tolerance, golden_of, mismatches

CLASSES = Comparison(class_only=True)


def found(expected: object, got: object, by: Comparison | None = None, tolerance: Tolerance | None = None) -> list[str]:
    golden = Golden(1, b"{}", expected, tolerance)
    return list(mismatches(golden, 200, json.dumps({"predictions": got}).encode(), by or Comparison()))


@pytest.mark.parametrize(
    ("expected", "got", "by", "words"),
    [
        ([1.0], [1.0], None, ""),
        ({"predictions": [1.0]}, [1.0], None, ""),
        ([1], [1.0], None, ""),
        ([1.0], [1.1], None, "predictions[0]: expected 1.0, got 1.1"),
        ([1.0], [1.1], Comparison(Tolerance(absolute=0.11)), ""),
        ([10.0], [10.9], Comparison(Tolerance(relative=0.1)), ""),
        ([0.0], [0.05], Comparison(Tolerance(relative=0.1)), "expected 0.0"),
        ([1.0], [float("nan")], Comparison(Tolerance(absolute=9.0)), "got nan"),
        (["late"], ["late"], None, ""),
        (["late"], ["Late"], None, 'expected "late", got "Late"'),
        ([1.0, 2.0], [1.0], None, "expected 2 values, got 1"),
        ([True], [1], None, "expected true, got 1"),
        ([None], [0.0], None, "expected null"),
        ([{"a": 1.0, "b": 2.0}], [{"a": 1.0, "b": 2.4}], Comparison(fields={"b": Tolerance(absolute=0.5)}), ""),
        ([{"a": 1.4, "b": 2.0}], [{"a": 1.0, "b": 2.4}], Comparison(fields={"b": Tolerance(absolute=0.5)}), "predictions[0].a"),
        ([{"a": 1.0}], [{"b": 1.0}], None, "predictions[0].a: missing"),
        ([{"a": 1.0}], [{"a": 1.0, "b": 2}], None, "predictions[0].b: not expected"),
        ([[0.2, 0.8]], [[0.4, 0.6]], CLASSES, ""),
        ([[0.2, 0.8]], [[0.6, 0.4]], CLASSES, "expected class 1 (score 0.8), got class 0 (score 0.6)"),
        ([0.2, 0.8], [0.4, 0.6], CLASSES, ""),
        ([0.2, 0.8], [0.6, 0.4], CLASSES, "on the other side of 0.5"),
        ([0.2], [0.4], Comparison(class_only=True, threshold=0.3), "on the other side of 0.3"),
        (["late"], ["punctual"], CLASSES, 'got "punctual"'),
        ([{"label": "late", "score": 0.9}], [{"label": "late", "score": 0.6}], CLASSES, ""),
    ],
)
def test_an_answer_is_compared_as_configured(expected: object, got: object, by: Comparison | None, words: str) -> None:
    said = found(expected, got, by)
    assert (not said) if not words else words in "; ".join(said), said


def test_a_line_s_own_tolerance_counts_alone() -> None:
    assert not found([1.0], [1.4], Comparison(), Tolerance(absolute=0.5))
    assert found([{"a": 1.0}], [{"a": 1.4}], Comparison(fields={"a": Tolerance(absolute=9)}), Tolerance(absolute=0.1))


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [(500, b"broken", "status 500: broken"), (200, b"<html>", "not JSON"), (200, b"[1]", "no object"), (200, b"{}", "missing")],
)
def test_what_is_no_prediction_is_a_mismatch(status: int, body: bytes, words: str) -> None:
    assert words in next(mismatches(Golden(1, b"{}", [1]), status, body, Comparison()))


def test_every_difference_is_told() -> None:
    assert len(found([1.0, 2.0, 3.0], [1.0, 2.5, 3.5])) == 2


def test_lines_keep_their_numbers_and_blank_ones_are_passed_over() -> None:
    text = b'\n{"request": {"inputs": [1]}, "expected": [2]}\n\n{"request": {}, "expected": {"predictions": [1]}}\n'
    assert [(one.line, json.loads(one.request)) for one in golden_of(text)] == [(2, {"inputs": [1]}), (4, {})]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b"", 0, "no request"),
        (b"\n \n", 0, "no request"),
        (b'{"request": {}, "expected": [1]}\n{"request": ', 2, "not JSON"),
        (b"[1]", 1, "no object"),
        (b'{"request": {}}', 1, "it has no expected"),
        (b'{"expected": [1]}', 1, "it has no request"),
        (b'{"request": {}, "expected": [1], "tolerence": {}}', 1, "nobody knows its key 'tolerence'"),
        (b'{"request": [], "expected": [1]}', 1, "its request is no object"),
        (b'{"request": {}, "expected": null}', 1, "nothing"),
        (b'{"request": {}, "expected": [NaN]}', 1, "NaN is no JSON"),
        (b'{"request": {}, "expected": [1], "tolerance": 0.1}', 1, "its tolerance"),
        (b'{"request": {}, "expected": [1], "tolerance": {"absolute": -1}}', 1, "its tolerance"),
        (b'{"request": {}, "expected": [1], "tolerance": {"absolut": 1}}', 1, "its tolerance"),
        (b'\xff\xfe{"request": {}', 1, "not JSON"),
        (b"[" * 100_000, 1, "not JSON"),
    ],
)
def test_a_malformed_file_names_its_line(text: bytes, line: int, words: str) -> None:
    with pytest.raises(Malformed) as refused:
        golden_of(text)
    assert refused.value.line == line and words in str(refused.value)
