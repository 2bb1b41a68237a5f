"""The fast engine of the data gate: DuckDB reads the files and answers all it can in one query."""
