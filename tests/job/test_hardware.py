"""What a machine says of itself: its type and price, its GPUs, the energy that it takes."""

from __future__ import annotations

import ctypes
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from thon.base.errors import InputError
from thon.job import energy
from thon.job.clock import Clock
from thon.job.energy import EnergyMeter
from thon.job.hardware import describe_machine
from thon.job.instance import Word, cloud_of, word
from thon.job.nvml import Gpu, gpus_of

AMAZON = {
    "PUT /latest/api/token": ("x-aws-ec2-metadata-token-ttl-seconds", "60", "secret"),
    "GET /latest/meta-data/instance-type": ("x-aws-ec2-metadata-token", "secret", "g5.xlarge"),
    "GET /latest/meta-data/placement/region": ("x-aws-ec2-metadata-token", "secret", "eu-west-1"),
    "GET /latest/meta-data/instance-life-cycle": ("x-aws-ec2-metadata-token", "secret", "spot"),
}
GOOGLE = {
    f"GET /computeMetadata/v1/instance/{name}": ("metadata-flavor", "Google", value)
    for name, value in (
        ("machine-type", "projects/1/machineTypes/a2-highgpu-1g"),
        ("zone", "projects/1/zones/europe-west4-a"),
        ("scheduling/preemptible", "FALSE"),
    )
}
MICROSOFT = {
    "GET /metadata/instance/compute?api-version=2021-02-01": (
        "metadata",
        "true",
        json.dumps({"vmSize": "Standard_NC4as", "location": "westeurope", "priority": "Regular"}),
    )
}


class Metadata(BaseHTTPRequestHandler):
    """Answers as the clouds' services do, to those who ask as they want to be asked."""

    answers: dict[str, tuple[str, str, str]] = AMAZON | GOOGLE | MICROSOFT
    delay = 0.0

    def answer(self) -> None:
        time.sleep(self.delay)
        header, wanted, said = self.answers.get(f"{self.command} {self.path}", ("none", "", ""))
        good = self.headers.get(header) == wanted
        self.send_response(200 if good else 401)
        self.end_headers()
        self.wfile.write(said.encode() if good else b"no")

    do_GET = do_PUT = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Metadata, "delay", 0.0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    (tmp_path / "dmi").mkdir()
    return tmp_path / "dmi"


class TestInstance:
    """The type of the machine, and its price."""

    @pytest.mark.parametrize(
        ("vendor", "expected"),
        [
            ("Amazon EC2", Word("aws", "g5.xlarge", "eu-west-1", True)),
            ("Google", Word("gcp", "a2-highgpu-1g", "europe-west4", False)),
            ("Microsoft Corporation", Word("azure", "Standard_NC4as", "westeurope", False)),
            ("Dell Inc.", Word()),
        ],
    )
    def test_each_cloud_is_asked_in_its_own_way(
        self, firmware: Path, address: str, vendor: str, expected: Word
    ) -> None:
        (firmware / "sys_vendor").write_text(f"{vendor}\n")
        assert word({"THON_METADATA": address, "HOME": str(firmware)}, firmware) == expected

    def test_a_service_that_is_slow_or_not_there_costs_no_more_than_a_moment(
        self, firmware: Path, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (firmware / "sys_vendor").write_text("Amazon EC2")
        monkeypatch.setattr(Metadata, "delay", 1.0)
        for where in (address, "http://127.0.0.1:9"):
            begun = time.monotonic()
            assert word({"THON_METADATA": where, "HOME": str(firmware)}, firmware) == Word("aws")
            assert time.monotonic() - begun < 0.6

    def test_no_cloud_is_asked_where_the_firmware_names_none(self, firmware: Path) -> None:
        assert cloud_of(firmware) == ""
        assert word({"HOME": str(firmware)}, firmware) == Word()

    def test_the_lanes_word_comes_first_then_the_list_of_prices(self, firmware: Path, address: str) -> None:
        (firmware / "sys_vendor").write_text("Amazon EC2")
        prices = firmware / "prices.toml"
        prices.write_text('currency = "EUR"\n[prices]\n"g5.xlarge" = 1.12\nbig = 7\n')
        environment = {"THON_METADATA": address, "THON_PRICES": str(prices)}
        listed = word(environment, firmware)
        assert (listed.instance, listed.price, listed.currency) == ("g5.xlarge", 1.12, "EUR")
        told = word(environment | {"THON_LANE": "spot", "THON_INSTANCE": "big"}, firmware)
        assert (told.lane, told.instance, told.price, told.provider) == ("spot", "big", 7.0, "aws")
        priced = word(environment | {"THON_PRICE": "0.5", "THON_CURRENCY": "CHF"}, firmware)
        assert (priced.price, priced.currency) == (0.5, "CHF")
        shared = word(environment | {"THON_SHARE": "0.25"}, firmware)
        assert (shared.price, shared.prices["big"]) == (0.28, 1.75)
        assert word(environment | {"THON_SHARE": "0.25", "THON_PRICE": "0.5"}, firmware).price == 0.5

    @pytest.mark.parametrize("bad", ["cheap", "-1", "nan", "inf"])
    def test_a_price_is_a_number(self, firmware: Path, bad: str) -> None:
        with pytest.raises(InputError, match="THON_PRICE is no price"):
            word({"THON_PRICE": bad, "HOME": str(firmware)}, firmware)

    def test_a_list_that_cannot_be_read(self, firmware: Path) -> None:
        (firmware / "prices.toml").write_text("[prices")
        with pytest.raises(InputError, match="list of prices"):
            word({"THON_PRICES": str(firmware / "prices.toml")}, firmware)


class Driver:
    """Stands for NVML, with two GPUs of which the second counts no energy."""

    def __init__(self) -> None:
        self.energies = [5_000_000, None]

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:  # noqa: N802
        handle._obj.value = index + 1
        return 0 if index < 2 else 6

    def nvmlDeviceGetHandleByUUID(self, name: bytes, handle: Any) -> int:  # noqa: N802
        handle._obj.value = 2
        return 0 if name == b"GPU-second" else 6

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p, text: Any, length: int) -> int:  # noqa: N802
        text.value = b"NVIDIA A10G" if handle.value == 1 else b"Tesla P4"
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: ctypes.c_void_p, count: Any) -> int:  # noqa: N802
        value = self.energies[(handle.value or 0) - 1]
        count._obj.value = value or 0
        return 0 if value is not None else 3


class TestGpus:
    """By NVML's interface."""

    @pytest.mark.parametrize(
        ("visible", "names"),
        [
            (None, ["NVIDIA A10G", "Tesla P4"]),
            ("1", ["Tesla P4"]),
            ("1,0", ["Tesla P4", "NVIDIA A10G"]),
            ("GPU-second", ["Tesla P4"]),
            ("", []),
            ("7", []),
        ],
    )
    def test_those_that_may_be_seen(self, visible: str | None, names: list[str]) -> None:
        assert [gpu.name for gpu in gpus_of(Driver(), visible)] == names

    def test_their_energy(self) -> None:
        driver = Driver()
        meter = EnergyMeter(gpus_of(driver, None), powercap=Path("/none"))
        driver.energies[0] = 5_002_500
        assert meter.stop() == 2.5
        assert EnergyMeter([Gpu("unknown")], powercap=Path("/none")).stop() is None


class TestProcessors:
    """By the counters of Linux' powercap."""

    @pytest.fixture
    def powercap(self, tmp_path: Path) -> Path:
        for zone, name, value in (
            ("intel-rapl:0", "package-0", 900_000),
            ("intel-rapl:0:0", "core", 100),
            ("intel-rapl:0:1", "dram", 10_000),
            ("intel-rapl:1", "psys", 5),
        ):
            folder = tmp_path / zone
            folder.mkdir()
            (folder / "name").write_text(f"{name}\n")
            (folder / "energy_uj").write_text(f"{value}\n")
            (folder / "max_energy_range_uj").write_text("1000000\n")
        return tmp_path

    def test_packages_and_their_memory_count_even_if_the_counter_starts_anew(
        self, powercap: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(energy, "PERIOD", 0.01)
        meter = EnergyMeter(powercap=powercap)
        for value in (990_000, 200_000, 800_000, 100_000):
            put(powercap / "intel-rapl:0" / "energy_uj", value)
            meter.read()
        put(powercap / "intel-rapl:0:1" / "energy_uj", 40_000)
        assert meter.stop() == pytest.approx(0.09 + 0.21 + 0.6 + 0.3 + 0.03)

    def test_a_counter_that_may_not_be_read_tells_nothing(self, tmp_path: Path) -> None:
        assert EnergyMeter(powercap=tmp_path).stop() is None


def put(file: Path, value: int) -> None:
    """Change a counter in one step, as the kernel does."""
    part = file.with_suffix(".part")
    part.write_text(f"{value}\n")
    part.replace(file)


def test_a_machine_is_described() -> None:
    machine = describe_machine()
    assert machine.cores >= 1
    assert machine.memory > 10**8
    assert machine.cpu
    assert machine.gpus == ()


def test_a_clock_counts_what_is_read_and_written(tmp_path: Path) -> None:
    clock = Clock(gpus=2)
    (tmp_path / "file").write_bytes(bytes(300_000))
    (tmp_path / "file").read_bytes()
    took = clock.read()
    assert took["bytes_written"] >= 300_000
    assert took["bytes_read"] >= 300_000
    assert took["gpu_seconds"] == pytest.approx(2 * took["seconds"], abs=0.002)
