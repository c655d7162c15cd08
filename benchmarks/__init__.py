"""Measurements beside other implementations; results are kept in benchmarks/results."""
