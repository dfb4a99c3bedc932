"""What all tests share: one Prefect API for the session, in a home of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from servers import s3_server

# What a test says must hold on a slow machine too.
settings.register_profile("cuvee", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cuvee")

# Before any test module imports Prefect, which reads its settings once: a user's server or history is not for tests.
for _name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[_name]
_HOME = Path(tempfile.mkdtemp(prefix="cuvee-prefect-"))
os.environ |= {"PREFECT_HOME": str(_HOME), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
os.environ |= {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING"}


def pytest_unconfigure() -> None:
    """Remove the home."""
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[Path]:
    """Run a temporary Prefect API for as long as the tests last, and give Prefect's home."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    # Without a heartbeat thread to join, a flow of three mapped tasks takes 0.2 s instead of 1.1 s.
    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield _HOME


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Run an S3 server for as long as the tests last."""
    with s3_server() as address:
        yield address


_buckets = count(1)


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make an empty bucket, put its credentials into the environment, and give its address, s3://bucket."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    bucket = f"bucket-{next(_buckets)}"
    import boto3

    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}"
