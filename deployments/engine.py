"""Engine: what a worker starts for a run, `python -m cuvee.deployments.engine`.

It is Prefect's own engine, with two things more: what steps tell on the logger `cuvee` is in the log of the run, on its
page in the UI (Prefect forwards named loggers, but leaves them at the level of warnings); and what the tags of
the deployment say is in the environment before the flow is loaded, since its task runner is made then.
"""

import logging
import os
import runpy
from uuid import UUID

from cuvee.storage import secrets

LOGGERS = "PREFECT_LOGGING_EXTRA_LOGGERS"


def main() -> None:
    """Carry out the run that the environment names."""
    os.environ[LOGGERS] = ",".join(filter(None, [os.environ.get(LOGGERS), "cuvee"]))
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    logging.getLogger("cuvee").setLevel(logging.INFO)
    secrets.guard_logs()
    _take_choices(UUID(os.environ["PREFECT__FLOW_RUN_ID"]))
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def _take_choices(run: UUID) -> None:
    """Set timezone, runner and workers as `cuvee deploy` was told; one made by other means leaves them as they are."""
    from prefect.client.orchestration import get_client

    from cuvee.flows.deployed import environment_of
    from cuvee.flows.runner import RUNNER, WORKERS

    with get_client(sync_client=True) as client:
        deployment = client.read_flow_run(run).deployment_id
        chosen = environment_of(client.read_deployment(deployment).tags) if deployment else {}
    if RUNNER in chosen:
        os.environ.pop(WORKERS, None)
    os.environ.update(chosen)


if __name__ == "__main__":
    main()
