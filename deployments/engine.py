"""Engine: what a worker starts for a run, `python -m cuvee.deployments.engine`.

It is Prefect's own engine, with one thing more: what steps tell on the logger `cuvee` is in the log of the run, on its
page in the UI. Prefect forwards named loggers, but leaves them at the level of warnings.
"""

import logging
import os
import runpy

LOGGERS = "PREFECT_LOGGING_EXTRA_LOGGERS"


def main() -> None:
    """Carry out the run that the environment names."""
    os.environ[LOGGERS] = ",".join(filter(None, [os.environ.get(LOGGERS), "cuvee"]))
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    logging.getLogger("cuvee").setLevel(logging.INFO)
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
