"""Modules that sleep until they are used; each case has an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ASLEEP = "import sys\ndef asleep(name): return 'Deferred' in type(sys.modules[name]).__name__\n"


def test_importing_torch_after_thon_costs_nothing_until_it_is_used() -> None:
    code = (
        "import thon, torch, numba\n" + ASLEEP + "print(asleep('torch'), asleep('numba'), 'torch._C' in sys.modules)\n"
        "print(int(torch.arange(4).sum()), asleep('torch'), 'torch._C' in sys.modules)"
    )
    assert run(code).split("\n") == ["True True False", "6 False True"]


def test_the_methods_can_be_imported_and_torch_stays_asleep() -> None:
    modules = ["align_tilts", "joint_refinement", "coarse_alignment", "dark_tilts", "patch_pairs", "reconstruct"]
    lines = "".join(f"import thon.algorithms.{m}\n" for m in modules)
    assert run(lines + ASLEEP + "print(asleep('torch'))") == "True"


def test_submodules_of_a_sleeping_module_are_found() -> None:
    code = (
        "import thon\nimport torch.nn.functional as functional\nfrom torch import fft\nimport scipy.ndimage, torch\n"
        "print(float(functional.relu(torch.tensor(-2.0))), fft.rfft is torch.fft.rfft)\n"
        "print(scipy.ndimage.zoom([1.0], 2).sum())"
    )
    assert run(code) == "0.0 True\n2.0"


def test_listing_all_modules_wakes_none() -> None:
    code = (
        "import thon, inspect, torch\n" + ASLEEP + "inspect.getmodule(lambda: 0)\n"
        "[getattr(m, '__file__', None) for m in list(sys.modules.values())]\nprint(asleep('torch'))"
    )
    assert run(code) == "True"


def test_what_is_loaded_or_missing_is_left_alone() -> None:
    code = (
        "import sys, json\nfrom thon.base.deferred import defer\n"
        "defer('json'); defer('there_is_no_such_module')\n"
        "print(sys.modules['json'] is json, 'there_is_no_such_module' in sys.modules)"
    )
    assert run(code) == "True False"


def test_attributes_can_be_set_before_anything_is_read() -> None:
    code = "from thon.base.deferred import defer\ndefer('colorsys')\nimport colorsys\ncolorsys.mine = 3\n"
    assert run(code + "print(colorsys.mine, colorsys.rgb_to_hls(0, 0, 0))") == "3 (0.0, 0.0, 0.0)"


def test_public_names_come_from_thon_itself() -> None:
    code = "import thon\nprint(*(getattr(thon, name).__name__ == name for name in thon.__all__), len(thon.__all__) > 2)"
    assert set(run(code).split()) == {"True"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    code = "import thon\ntry:\n    thon.nothing\nexcept AttributeError as error:\n    print(error)"
    assert run(code) == "module 'thon' has no attribute 'nothing'"
