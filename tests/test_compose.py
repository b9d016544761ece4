"""examples/hbase: the stack of containers is what it says, as far as this can be seen without starting it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from sqlml import config

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "hbase"


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def services(stack: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = stack["services"]
    return found


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (FOLDER / "Dockerfile").read_text()


def test_the_stack_is_hbase_mariadb_and_mlflow(services: dict[str, Any]) -> None:
    assert set(services) == {"hbase", "gateway", "mariadb", "table", "mlflow"}


def test_ports_are_open_to_this_machine_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert sorted(ports) == ["127.0.0.1:5000:5000", "127.0.0.1:9090:9090"]


def test_images_are_of_one_version(services: dict[str, Any], dockerfile: str) -> None:
    images = [service["image"] for service in services.values()]
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)

    for image in (*images, *bases):
        assert re.fullmatch(r"[a-z-]+:\d[\w.-]*", image), image  # no registry's host, and a tag that is a version


def test_what_waits_waits_for_something_that_tells(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert services[other]["healthcheck"]["test"], f"{name} waits for {other}"
            else:
                assert how["condition"] == "service_completed_successfully"
                assert services[other]["restart"] == "no", f"{other} never completes"

    assert set(services["mlflow"]["depends_on"]) == {"mariadb", "table"}
    assert set(services["table"]["depends_on"]) == {"gateway"}


def test_every_service_that_stays_tells_how_it_is(services: dict[str, Any]) -> None:
    stay = {name for name, service in services.items() if service["restart"] != "no"}

    assert {name for name in stay if services[name].get("healthcheck")} == stay


def test_volumes_are_declared(stack: dict[str, Any]) -> None:
    used = {mount.split(":")[0] for service in stack["services"].values() for mount in service.get("volumes", [])}

    assert used == set(stack["volumes"])


def test_settings_of_the_store_are_settings(services: dict[str, Any]) -> None:
    known = {f"SQLML_HBASE_{name.upper()}" for name in (*config.HBASE_SETTINGS, *config.HBASE_SECRETS)}
    named = {name for service in services.values() for name in service.get("environment", {}) if "SQLML" in name}

    assert "SQLML_HBASE_ALLOW" in named
    assert named <= known


def test_the_server_may_connect_to_the_gateway_and_its_table_is_made(services: dict[str, Any]) -> None:
    [location] = [one for one in services["mlflow"]["command"] if "--artifacts-destination=" in one]
    made = services["table"]["command"][-1]

    assert services["gateway"]["network_mode"] == "service:hbase"  # so the gateway is reached as hbase
    assert services["mlflow"]["environment"]["SQLML_HBASE_ALLOW"] == "hbase:9090"
    assert services["table"]["environment"]["SQLML_HBASE_ALLOW"] == "hbase:9090"
    assert location.split("=", 1)[1].startswith(f"{made}/")


def test_no_password_is_written_down(services: dict[str, Any]) -> None:
    uri = services["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]

    assert services["mariadb"]["environment"]["MARIADB_PASSWORD"].startswith("${MARIADB_PASSWORD:?")
    assert uri == "mysql+pymysql://mlflow:${MARIADB_PASSWORD}@mariadb:3306/mlflow"
    assert not [word for service in services.values() for word in service.get("command", []) if "PASSWORD" in word]


def test_what_the_images_are_made_of_is_there(services: dict[str, Any], dockerfile: str) -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\w+)", dockerfile, re.MULTILINE))
    for service in services.values():
        if "build" in service:
            assert (FOLDER / service["build"]["context"]).resolve() == ROOT
            assert ROOT / service["build"]["dockerfile"] == FOLDER / "Dockerfile"
            assert service["build"]["target"] in stages

    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)", dockerfile, re.MULTILINE)
        for source in shlex.split(line)[:-1]
    ]
    assert {"sqlml", "pyproject.toml", "tests/hbase/server/pom.xml"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(source.startswith(kept) for kept in kept_of_the_context()), source


def kept_of_the_context() -> list[str]:
    lines = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    return [line[1:] for line in lines if line.startswith("!")]


def test_the_image_of_the_server_installs_sqlml(dockerfile: str) -> None:
    stage = dockerfile.split(" AS mlflow", 1)[1]

    assert re.search(r"pip install .*--constraint constraints\.txt \. pymysql", stage)


def test_the_images_do_not_run_as_root(dockerfile: str) -> None:
    for stage in ("hbase", "mlflow"):
        text = dockerfile.split(f" AS {stage}", 1)[1].split("\nFROM ", 1)[0]
        assert re.search(rf"^USER {stage}$", text, re.MULTILINE)


def test_hbase_keeps_its_data_in_the_volume_and_shows_the_gateway_only(services: dict[str, Any]) -> None:
    site = ElementTree.parse(FOLDER / "hbase-site.xml").getroot()
    properties = {one.findtext("name", ""): one.findtext("value", "") for one in site.iter("property")}

    assert services["hbase"]["volumes"] == ["hbase-data:/data"]
    assert properties["hbase.rootdir"].startswith("file:///data/")
    assert properties["hbase.zookeeper.property.dataDir"].startswith("/data/")
    assert properties["hbase.master.ipc.address"] == properties["hbase.regionserver.ipc.address"] == "127.0.0.1"
    assert properties["hbase.regionserver.thrift.port"] == "9090"
    assert properties["hbase.wal.provider"] == "asyncfs"


def test_its_health_check_tells_an_hbase_that_answers_from_one_that_does_not(hbase: Any, unused_port: int) -> None:
    answers = FOLDER / "answers"
    assert os.access(answers, os.X_OK)

    assert subprocess.run([answers, str(hbase.port)], check=False).returncode == 0
    assert subprocess.run([answers, str(unused_port)], check=False, stderr=subprocess.DEVNULL).returncode != 0


def test_docker_compose_accepts_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], check=False, capture_output=True).returncode:
        pytest.skip("docker compose is not installed: whether it accepts compose.yaml is not tested here")

    done = subprocess.run(
        [docker, "compose", "config", "--quiet"],
        cwd=FOLDER,
        env={**os.environ, "MARIADB_PASSWORD": "x"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
