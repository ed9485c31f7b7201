"""Facts of the machine and the server that the source asks for."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Unknown


def test_environment_variables_are_at_their_defaults(made: Any) -> None:
    before = "import os"
    body = (
        "self.x = (os.getenv('A', '1'), os.environ.get('B'), 'C' in os.environ,"
        " bool(int(os.environ.get('D', '0'))))"
    )
    assert made.attributes(body, before)["x"] == ("1", None, False, False)


def test_the_platform_is_cuda(made: Any) -> None:
    made.write(
        "srt/platform.py",
        "def is_cuda():\n    import torch\n    return torch.cuda.is_available()\n"
        "def is_hip():\n    return foreign()\ndef is_npu():\n    return foreign()\n"
        "def get_device_capability():\n    return foreign()\n",
    )
    made.write("srt/platforms/__init__.py", "current_platform = foreign()\n")
    before = (
        "import torch\nfrom sglang.srt.platform import *\n"
        "from sglang.srt.platforms import current_platform as here\n"
    )
    body = (
        "self.x = (is_cuda(), is_hip(), is_npu(), get_device_capability(),"
        " torch.cuda.is_available(), torch.version.hip, hasattr(torch, 'npu'),"
        " here.is_cuda(), here.is_hip(), here.device_name)"
    )
    assert made.attributes(body, before)["x"] == (
        *(True, False, False, (9, 0)),
        *(True, None, False),
        *(True, False, "cuda"),
    )


def test_kernels_are_not_compiled(made: Any) -> None:
    """The source looks whether one compiles, in as many ways as its cache has files."""
    made.write("jit_kernel/utils.py", "def load_jit(*args):\n    raise RuntimeError('no nvcc')\n")
    before = (
        "from sglang.jit_kernel.utils import load_jit\ndef can_fuse():\n"
        "    try:\n        load_jit('rope')\n        return True\n"
        "    except Exception:\n        return False\n"
    )
    assert made.attributes("self.x = can_fuse()", before)["x"] is True


@pytest.mark.parametrize(
    ("version", "warned"),
    [
        ("0.5.9", 0),
        ("0.5.14.post1", 0),
        ("0.5.23", 0),
        ("0.4.10", 0),
        ("0.4.9", 1),
        ("0.6.0", 1),
        (None, 0),
    ],
)
def test_versions_that_nobody_tested_are_warned_about(
    made: Any, version: str | None, warned: int
) -> None:
    tree = made.tree(
        "from torch import nn\nclass Model(nn.Module):\n    def __init__(self, config):\n"
        "        super().__init__()\nEntryClass = Model\n",
        version=version,
    )
    assert len(tree.warnings) == warned
    for warning in tree.warnings:
        assert "0.4.10 to 0.5.23" in warning
        assert str(version) in warning


def test_heads_beside_the_config_are_not_there(made: Any) -> None:
    made.write(
        "srt/configs/model_config.py",
        "def load_joint_head_config(path, revision):\n    return foreign()\n",
    )
    before = "from sglang.srt.configs.model_config import load_joint_head_config\n"
    body = "self.x = load_joint_head_config('model', None) is None"
    assert made.attributes(body, before, version="0.5.23")["x"] is True


def test_names_of_a_set_are_in_alphabetical_order_where_nobody_asks_for_one(made: Any) -> None:
    path = "srt/models/inkling_common/quantization/config.py"
    made.write(
        path, "def _map_exclude_modules(names):\n    return list({n + '.x' for n in names})\n"
    )
    before = "from sglang.srt.models.inkling_common.quantization.config import _map_exclude_modules"
    found = made.attributes(
        "self.names = _map_exclude_modules(['b', 'a'])\nself.others = list({'b', 'a'})", before
    )
    assert found["names"] == ["a.x", "b.x"]
    assert isinstance(found["others"], Unknown)
