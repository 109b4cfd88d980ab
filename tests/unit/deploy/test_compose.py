"""The lab's Compose project: which services run for a number of minions, and what the file itself promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.compose.compose import FILE, Compose

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_so_many_minions_run_beside_all_of_the_control_plane(tmp_path: Path, count: int) -> None:
    names = Compose(tmp_path, {}).with_minions(count)
    assert [name for name in names if name.startswith("minion-")] == [f"minion-{n}" for n in range(1, count + 1)]
    assert set(names) >= {name for name in SERVICES if not name.startswith("minion-")}


def test_a_minion_that_the_file_lacks_is_like_its_last_but_for_its_name(tmp_path: Path) -> None:
    Compose(tmp_path, {}).with_minions(4)
    more = yaml.safe_load((tmp_path / "minions.yml").read_text())
    assert yaml.safe_dump(more["services"]["minion-4"]).replace("minion-4", "minion-3") == yaml.safe_dump(
        SERVICES["minion-3"]
    )
    assert more["volumes"] == {"minion-4": None}


def test_fewer_minions_than_before_leave_no_file_of_more(tmp_path: Path) -> None:
    compose = Compose(tmp_path, {})
    compose.with_minions(5)
    compose.with_minions(3)
    assert not (tmp_path / "minions.yml").exists()


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_says_whether_it_is_well_and_how_long_it_may_take_to_stop(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["stop_grace_period"]


@pytest.mark.parametrize("name", SERVICES)
def test_only_the_apiservers_address_is_published_and_on_loopback_alone(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert bool(ports) == (name == "apiserver")


def test_all_data_is_in_volumes_that_have_names_so_that_they_are_found_and_removed(tmp_path: Path) -> None:
    named = yaml.safe_load(FILE.read_text())["volumes"]
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in named or source.startswith("${KUBE_LAB_"), f"{name}: {volume}"
