"""Great Expectations 1.x itself, for what one query cannot answer, and for everything with ``engine: gx``."""
