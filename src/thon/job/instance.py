"""Which machine of a cloud this is, and what an hour of it costs.

The lane that started a job has the first word, by environment variables: ``THON_LANE``, ``THON_INSTANCE``,
``THON_PRICE`` (an hour of what the job was given), ``THON_CURRENCY``, ``THON_SPOT`` (yes or no) and ``THON_SHARE``
(which part of the machine the job was given, by which a price of the machine is multiplied). Where the firmware
says that the machine is one of Amazon's, Google's or Microsoft's, its metadata service is asked for the type, 0.2 s at
most for each question. Clouds do not tell prices there; ``~/.config/thon/prices.toml`` (or the file in
``THON_PRICES``) does, by type or host:

```toml
currency = "EUR"
[prices]
"g5.xlarge" = 1.12
workstation-7 = 0.35
```

``THON_METADATA=none`` asks no service; an address there takes the place of the services' own.
"""

from __future__ import annotations

import json
import os
import tomllib
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from thon.base.errors import InputError

ADDRESS = "http://169.254.169.254"
"""Where the clouds' metadata services answer, reachable from nowhere but the machine itself."""

PATIENCE = 0.2
"""Longest time to wait for an answer, s."""

FIRMWARE = Path("/sys/class/dmi/id")
VENDORS = {"Amazon": "aws", "Google": "gcp", "Microsoft": "azure"}


@dataclass(frozen=True)
class Word:
    """What is known of the machine as something that is paid for.

    Args:
        provider: The cloud; empty where it is none.
        instance: Type of the machine.
        region: Where it stands.
        spot: Whether it may be taken away; None where nobody says.
        lane: The lane that started the job.
        price: Price of an hour; None where nobody says.
        currency: Of all prices.
        prices: All known prices of what the job was given, by type of machine or host.
    """

    provider: str = ""
    instance: str = ""
    region: str = ""
    spot: bool | None = None
    lane: str = ""
    price: float | None = None
    currency: str = "USD"
    prices: Mapping[str, float] = field(default_factory=dict[str, float])


def word(environment: Mapping[str, str] = os.environ, firmware: Path = FIRMWARE) -> Word:
    """What the lane, the cloud and the list of prices say.

    Raises:
        InputError: A price is no number, or the list of prices cannot be read.
    """
    found = _ask_cloud(cloud_of(firmware), environment.get("THON_METADATA", ADDRESS))
    currency, prices = _read_prices(environment)
    instance = environment.get("THON_INSTANCE") or found.instance
    share = _number(environment.get("THON_SHARE") or 1, "THON_SHARE")
    prices = {name: share * price for name, price in prices.items()}
    told = environment.get("THON_PRICE")
    return replace(
        found,
        instance=instance,
        spot={"yes": True, "no": False}.get(environment.get("THON_SPOT", ""), found.spot),
        lane=environment.get("THON_LANE", ""),
        price=_number(told, "THON_PRICE") if told else prices.get(instance),
        currency=environment.get("THON_CURRENCY") or currency,
        prices=prices,
    )


def cloud_of(firmware: Path) -> str:
    """The cloud whose firmware the machine has; empty where it is none."""
    for name in ("sys_vendor", "bios_vendor"):
        try:
            text = (firmware / name).read_text()
        except OSError:
            continue
        for vendor, provider in VENDORS.items():
            if text.startswith(vendor):
                return provider
    return ""


def _ask_cloud(provider: str, address: str) -> Word:
    """The machine's type as its metadata service has it; nothing where that does not answer."""
    if not provider or address == "none":
        return Word()
    try:
        return {"aws": _amazon, "gcp": _google, "azure": _microsoft}[provider](address)
    except (OSError, ValueError, KeyError, TypeError):
        # A service that was switched off, or that says something else, tells nothing; the work goes on.
        return Word(provider=provider)


def _amazon(address: str) -> Word:
    """IMDSv2, which hands out a token for the session first."""
    token = _ask(f"{address}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, method="PUT")
    data = f"{address}/latest/meta-data"
    said = [
        _ask(f"{data}/{name}", {"X-aws-ec2-metadata-token": token})
        for name in ("instance-type", "placement/region", "instance-life-cycle")
    ]
    return Word("aws", said[0], said[1], said[2] == "spot")


def _google(address: str) -> Word:
    data, header = f"{address}/computeMetadata/v1/instance", {"Metadata-Flavor": "Google"}
    machine, zone, spot = (
        _ask(f"{data}/{name}", header) for name in ("machine-type", "zone", "scheduling/preemptible")
    )
    return Word("gcp", machine.rsplit("/", 1)[-1], zone.rsplit("/", 1)[-1].rpartition("-")[0], spot == "TRUE")


def _microsoft(address: str) -> Word:
    query = f"{address}/metadata/instance/compute?api-version=2021-02-01"
    compute: dict[str, Any] = json.loads(_ask(query, {"Metadata": "true"}))
    return Word("azure", compute["vmSize"], compute["location"], compute.get("priority") == "Spot")


def _ask(url: str, headers: Mapping[str, str], method: str = "GET") -> str:
    request = urllib.request.Request(url, headers=dict(headers), method=method)
    # No proxy: the service answers this machine alone.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=PATIENCE) as answer:
        return answer.read().decode().strip()


def _read_prices(environment: Mapping[str, str]) -> tuple[str, dict[str, float]]:
    """The currency and the prices of the user's list; none where there is no list."""
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME", "/"), ".config")
    path = Path(environment.get("THON_PRICES") or Path(home) / "thon" / "prices.toml")
    if not path.exists():
        return "USD", {}
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError("the list of prices cannot be read", path=path, got=error) from error
    prices = {name: _number(value, f"{path}: {name}") for name, value in content.get("prices", {}).items()}
    return str(content.get("currency", "USD")), prices


def _number(value: object, what: str) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise InputError(f"{what} is no price", got=value, expected="a number, such as 1.12")
    return number
