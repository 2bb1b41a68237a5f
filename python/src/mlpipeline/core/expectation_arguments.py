"""Which arguments each core expectation of Great Expectations 1.x takes: a misspelled one is refused before data is read.

Pure data; ``tests/python/integration/test_gate_data.py`` holds it to the library's own models.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Arguments(msgspec.Struct, frozen=True):
    """Names of the arguments that must and that may be given."""

    required: frozenset[str]
    optional: frozenset[str]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


COMMON = _names("batch_id rendered_content severity description notes id meta catch_exceptions result_format windows")
"""What every expectation of the library takes besides; none of it changes what is expected."""

ENTRY = COMMON | _names("type kwargs expectation_context")
"""The keys of one entry of a suite."""

_FILTER = _names("row_condition condition_parser")
_ROWS = _FILTER | {"mostly"}
_BOUNDS = _names("min_value max_value strict_min strict_max")

ARGUMENTS: Mapping[str, Arguments] = {
    "expect_column_distinct_values_to_be_in_set": Arguments(_names("column value_set"), _FILTER),
    "expect_column_distinct_values_to_contain_set": Arguments(_names("column value_set"), _FILTER),
    "expect_column_distinct_values_to_equal_set": Arguments(_names("column value_set"), _FILTER),
    "expect_column_kl_divergence_to_be_less_than": Arguments(
        _names("column"),
        _FILTER
        | _names("partition_object threshold internal_weight_holdout tail_weight_holdout bucketize_data min_value max_value"),
    ),
    "expect_column_max_to_be_between": Arguments(_names("column"), _FILTER | _BOUNDS),
    "expect_column_mean_to_be_between": Arguments(_names("column"), _FILTER | _BOUNDS),
    "expect_column_median_to_be_between": Arguments(_names("column"), _FILTER | _BOUNDS),
    "expect_column_min_to_be_between": Arguments(_names("column"), _FILTER | _BOUNDS),
    "expect_column_most_common_value_to_be_in_set": Arguments(_names("column value_set"), _FILTER | _names("ties_okay")),
    "expect_column_pair_values_a_to_be_greater_than_b": Arguments(
        _names("column_A column_B"), _ROWS | _names("or_equal ignore_row_if")
    ),
    "expect_column_pair_values_to_be_equal": Arguments(_names("column_A column_B"), _ROWS | _names("ignore_row_if")),
    "expect_column_pair_values_to_be_in_set": Arguments(
        _names("column_A column_B value_pairs_set"), _ROWS | _names("ignore_row_if")
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": Arguments(_names("column"), _FILTER | _BOUNDS),
    "expect_column_proportion_of_unique_values_to_be_between": Arguments(_names("column"), _FILTER | _BOUNDS),
    "expect_column_quantile_values_to_be_between": Arguments(
        _names("column quantile_ranges"), _FILTER | _names("allow_relative_error")
    ),
    "expect_column_stdev_to_be_between": Arguments(_names("column"), _FILTER | _BOUNDS),
    "expect_column_sum_to_be_between": Arguments(_names("column"), _FILTER | _BOUNDS),
    "expect_column_to_exist": Arguments(_names("column"), _names("column_index")),
    "expect_column_type_to_be": Arguments(_names("column type_"), frozenset()),
    "expect_column_unique_value_count_to_be_between": Arguments(_names("column"), _FILTER | _BOUNDS),
    "expect_column_value_lengths_to_be_between": Arguments(_names("column"), _ROWS | _BOUNDS),
    "expect_column_value_lengths_to_equal": Arguments(_names("column value"), _ROWS),
    "expect_column_value_z_scores_to_be_less_than": Arguments(_names("column threshold double_sided"), _ROWS),
    "expect_column_values_to_be_between": Arguments(_names("column"), _ROWS | _BOUNDS),
    "expect_column_values_to_be_dateutil_parseable": Arguments(_names("column"), _ROWS),
    "expect_column_values_to_be_decreasing": Arguments(_names("column"), _ROWS | _names("strictly")),
    "expect_column_values_to_be_in_set": Arguments(_names("column value_set"), _ROWS),
    "expect_column_values_to_be_in_type_list": Arguments(_names("column type_list"), _ROWS),
    "expect_column_values_to_be_increasing": Arguments(_names("column"), _ROWS | _names("strictly")),
    "expect_column_values_to_be_json_parseable": Arguments(_names("column"), _ROWS),
    "expect_column_values_to_be_null": Arguments(_names("column"), _ROWS),
    "expect_column_values_to_be_of_type": Arguments(_names("column type_"), _ROWS),
    "expect_column_values_to_be_unique": Arguments(_names("column"), _ROWS),
    "expect_column_values_to_match_json_schema": Arguments(_names("column json_schema"), _ROWS),
    "expect_column_values_to_match_like_pattern": Arguments(_names("column like_pattern"), _ROWS | _names("escape")),
    "expect_column_values_to_match_like_pattern_list": Arguments(
        _names("column like_pattern_list"), _ROWS | _names("match_on escape")
    ),
    "expect_column_values_to_match_regex": Arguments(_names("column regex"), _ROWS),
    "expect_column_values_to_match_regex_list": Arguments(_names("column regex_list"), _ROWS | _names("match_on")),
    "expect_column_values_to_match_strftime_format": Arguments(_names("column strftime_format"), _ROWS),
    "expect_column_values_to_not_be_in_set": Arguments(_names("column value_set"), _ROWS),
    "expect_column_values_to_not_be_null": Arguments(_names("column"), _ROWS),
    "expect_column_values_to_not_be_outliers": Arguments(_names("column"), _ROWS | _names("method multiplier")),
    "expect_column_values_to_not_match_like_pattern": Arguments(_names("column like_pattern"), _ROWS | _names("escape")),
    "expect_column_values_to_not_match_like_pattern_list": Arguments(
        _names("column like_pattern_list"), _ROWS | _names("escape")
    ),
    "expect_column_values_to_not_match_regex": Arguments(_names("column regex"), _ROWS),
    "expect_column_values_to_not_match_regex_list": Arguments(_names("column regex_list"), _ROWS),
    "expect_compound_columns_to_be_unique": Arguments(_names("column_list"), _ROWS | _names("ignore_row_if")),
    "expect_multicolumn_sum_to_equal": Arguments(_names("column_list sum_total"), _ROWS | _names("ignore_row_if")),
    "expect_multicolumn_values_to_be_equal": Arguments(_names("column_list"), _ROWS | _names("ignore_row_if")),
    "expect_query_results_to_match_comparison": Arguments(
        _names("base_query comparison_data_source_name comparison_query"), _names("mostly")
    ),
    "expect_select_column_values_to_be_unique_within_record": Arguments(_names("column_list"), _ROWS | _names("ignore_row_if")),
    "expect_table_column_count_to_be_between": Arguments(frozenset(), _names("min_value max_value")),
    "expect_table_column_count_to_equal": Arguments(_names("value"), frozenset()),
    "expect_table_columns_to_match_ordered_list": Arguments(_names("column_list"), frozenset()),
    "expect_table_columns_to_match_set": Arguments(_names("column_set"), _names("exact_match")),
    "expect_table_row_count_to_be_between": Arguments(frozenset(), _FILTER | _BOUNDS),
    "expect_table_row_count_to_equal": Arguments(_names("value"), _FILTER),
    "expect_table_row_count_to_equal_other_table": Arguments(_names("other_table_name"), _FILTER),
}
"""By the type of the expectation."""
