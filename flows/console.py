"""Console: Prefect's log on stderr, without what the command reports itself."""

import logging

from prefect.logging.handlers import PrefectConsoleHandler


class CalmConsole(PrefectConsoleHandler):
    """Leave out what the caller learns anyway or need not know.

    The errors of flow and task runs: their exception is raised to the caller, who reports it once. The workers that
    send events and logs to the API: they warn that they are still sending.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless it is one of those."""
        is_error = record.levelno >= logging.ERROR
        of_a_run = record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))
        of_a_sender = record.name in ("EventsWorker", "APILogWorker")
        if not (of_a_run if is_error else of_a_sender):
            super().emit(record)
