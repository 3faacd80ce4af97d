"""An Airflow, a Redis and a copy of the example, before anything of Airflow is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import RedisServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "airflow"


@pytest.fixture(scope="session")
def rides_server() -> Iterator[RedisServer]:
    """The server that the features go to."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory, rides_server: RedisServer) -> Path:
    """A copy of the example with data, features that are applied, and Airflow's database.

    Each step is what its README says, in a process of its own.
    """
    directory = tmp_path_factory.mktemp("airflow") / "example"
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("data"))
    # Airflow reads its settings when it is imported, here and in the processes it starts.
    os.environ.update(
        AIRFLOW_HOME=str(directory / "home"),
        AIRFLOW__CORE__DAGS_FOLDER=str(directory / "dags"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
        FEATURE_REPO=str(directory / "feature_repo"),
        RIDES_REDIS=rides_server.address,
    )
    programs = Path(sys.executable).parent
    for command in (
        [sys.executable, "generate.py"],
        [str(programs / "feast"), "--chdir", "feature_repo", "apply"],
        [str(programs / "airflow"), "db", "migrate"],
    ):
        done = subprocess.run(
            command, cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, f"{command} failed:\n{done.stdout}"
    return directory
