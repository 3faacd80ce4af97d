"""The example's DAG, run by Apache Airflow; run by `make test-airflow`."""
