"""When: the DAG, and the only run-time code that knows Prefect."""
