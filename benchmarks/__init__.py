"""Benchmarks of Feast's online reads: stock Feast, feast-rs, and the bare socket under both."""
