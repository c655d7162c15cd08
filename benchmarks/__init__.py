"""Side-by-side measurements; results are kept in benchmarks/results."""
