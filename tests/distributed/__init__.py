"""The store inside the workers of Feast's Spark and Ray engines; run by `make test-distributed`."""
