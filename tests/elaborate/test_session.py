"""One elaboration: nothing of the source is run, nothing is shared, and which class is the root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fibcore.configs.model_config import ModelConfig
from fibcore.elaborate import elaborate
from fibcore.errors import ConfigError, ElaborationError, ServingError, UnknownModelError
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree, ModuleNode, Unknown
from fibcore.sources.tree import SourceTree

HEAD = """
from torch import nn
import torch
import foreign
from sglang.srt.layers.layernorm import RMSNorm
from sglang.srt.layers.linear import QKVParallelLinear, ReplicatedLinear, RowParallelLinear
"""


def model(init: str, called: str = "", before: str = "") -> str:
    """A model that runs `init` and calls the attributes in `called`, in order."""
    body = "\n".join(f"        {line}" for line in init.splitlines())
    calls = "\n".join(f"        x = self.{name}(x)" for name in called.split())
    return (
        f"{HEAD}{before}\n\nclass Model(nn.Module):\n    def __init__(self, config):\n"
        f"        super().__init__()\n{body}\n\n    def forward(self, x):\n        pass\n{calls}\n"
        "        return x\n\nEntryClass = Model\n"
    )


def node(tree: ModelTree, path: str) -> ModuleNode:
    found = tree.find(path)
    assert found is not None
    return found


TRACES = {
    "at the top of the model file": ("{act}", "pass"),
    "in the constructor": ("", "{act}"),
    "in a class body": ("class K:\n    {act}\n", "K()"),
    "in a default": ("def f(x=open({path!r}, 'w')):\n    return x", "f()"),
    "in a decorator": ("@open({path!r}, 'w')\ndef f():\n    pass", "f()"),
    "in a helper": ("def f():\n    {act}", "f()"),
    "by another name": ("import builtins\nw = builtins.open", "w({path!r}, 'w')"),
    "by eval": ("", "eval(\"open({path!r}, 'w')\")"),
    "by exec": ("", "exec(\"open({path!r}, 'w')\")"),
    "by import": ("", "__import__('pathlib').Path({path!r}).touch()"),
    "by pathlib": ("import pathlib", "pathlib.Path({path!r}).write_text('x')"),
    "by the shell": ("import os, subprocess", "os.system('touch ' + {path!r})"),
    "by a subprocess": ("import subprocess", "subprocess.run(['touch', {path!r}])"),
    "by a builtin's attributes": (
        "",
        "try:\n    ().__class__.__base__\nexcept AttributeError:\n    pass",
    ),
    "by format": ("", "'{{0.__class__}}'.format(open)"),
    "by exiting": ("", "import sys\nsys.exit(3)"),
    "by os._exit": ("import os", "os._exit(3)"),
}


@pytest.mark.parametrize("name", TRACES)
def test_nothing_of_the_source_is_run(made: Any, tmp_path: Path, name: str) -> None:
    trace = tmp_path / "trace"
    before, init = (
        part.replace("{act}", "open({path!r}, 'w').write('x')").format(path=str(trace))
        for part in TRACES[name]
    )
    made.write("__init__.py", f"open({str(trace)!r}, 'w')\nraise SystemExit(3)\n")
    tree = made.tree(model(f"self.norm = RMSNorm(8)\n{init}", "norm", before))
    assert not trace.exists()
    assert len(node(tree, "norm").calls) == 1


def test_raising_at_import_does_not_stop_what_does_not_need_it(made: Any) -> None:
    before = "raise SystemExit('no GPU')\n"
    tree = made.tree(model("self.norm = RMSNorm(8)", "norm", before))
    assert node(tree, "norm").leaf


def test_no_package_of_the_model_is_imported(made: Any) -> None:
    made.write("srt/models/made.py", model("self.norm = RMSNorm(8)", "norm"))
    code = f"""
import json, sys
sys.path[:] = {sys.path!r}
from pathlib import Path
from fibcore.elaborate import elaborate
from fibcore.model.serving import Serving
from fibcore.configs.model_config import ModelConfig
from fibcore.sources.tree import SourceTree
before = set(sys.modules)
tree = elaborate(
    SourceTree(Path({str(made.root)!r}), "0.5.9", None, "made up"),
    ModelConfig("made", None, {{"architectures": ["Model"], "model_type": "made"}}, "given"),
    Serving(),
)
assert tree.find("norm") is not None
heavy = ("torch", "sglang", "transformers", "numpy", "foreign", "triton", "huggingface_hub", "git")
print(json.dumps([m for m in heavy if m in sys.modules]))
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "PYTEST"))}
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def shape(tree: ModelTree) -> list[Any]:
    return [
        (n.path, n.cls, dict(n.arguments), [(c.args, c.kwargs) for c in n.calls])
        for n in tree.walk()
    ]


def test_two_elaborations_are_equal_and_share_nothing(made: Any) -> None:
    text = model(
        "self.layers = nn.ModuleList([RMSNorm(8 + i) for i in range(3)])\nconfig.width = 5",
        "layers",
    )
    assert shape(made.tree(text)) == shape(made.tree(text))


def test_elaborations_in_threads_do_not_mix(made: Any) -> None:
    text = model(
        "self.layers = nn.ModuleList([RMSNorm(i * config.hidden_size) for i in range(40)])"
    )
    made.write("srt/models/made.py", text)
    source = SourceTree(made.root, "0.5.9", None, "made up")
    found: dict[int, list[int]] = {}

    def run(size: int) -> None:
        data = {"architectures": ["Model"], "model_type": "made", "hidden_size": size}
        tree = elaborate(source, ModelConfig("made", None, data, "given"), Serving())
        layers = node(tree, "layers").children.values()
        found[size] = [n.arguments["hidden_size"] for n in layers]

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + 123)
    try:
        threads = [threading.Thread(target=run, args=(size,)) for size in (3, 5, 7, 11)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = sys.getrecursionlimit()
    finally:
        sys.setrecursionlimit(before)
    assert found == {size: [i * size for i in range(40)] for size in (3, 5, 7, 11)}
    assert after == before + 123


def test_a_class_that_only_chooses_a_module_is_the_root_of_it(made: Any) -> None:
    tree = made.tree(
        f"""{HEAD}
class Inner(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm = RMSNorm(config.hidden_size)

    def forward(self, x):
        return self.norm(x)

class Model:
    def __init__(self, config):
        super().__init__()
        try:
            self.inner = Inner(config)
        except Exception as e:
            raise e

EntryClass = Model
"""
    )
    assert tree.missing == ()
    assert len(node(tree, "inner.norm").calls) == 1


def test_an_architecture_without_a_forward_pass_is_partial(made: Any) -> None:
    tree = made.tree(
        f"""{HEAD}
class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm = RMSNorm(8)
        self.other = RMSNorm(8)

EntryClass = Model
"""
    )
    assert [m.path for m in tree.missing] == ["forward"]


def test_a_constructor_that_takes_anything_gets_the_config_by_keyword(made: Any) -> None:
    tree = made.tree(
        f"""{HEAD}
class Model(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.norm = RMSNorm(kwargs["config"].hidden_size)
        self.quantised = kwargs["quant_config"]

    def forward(self, x):
        return self.norm(x)

EntryClass = Model
"""
    )
    assert node(tree, "norm").arguments["hidden_size"] == 64
    assert tree.root.attributes["quantised"] is None


def test_a_part_whose_sizes_no_module_has_is_told(made: Any) -> None:
    parts = {
        "vision_config": {"hidden_size": 24, "depth": 2},
        "audio_config": {"hidden_size": 40},
        "slice_config": {"max_slice_nums": 9},
    }
    tree = made.tree(
        model("self.proj = ReplicatedLinear(config.vision_config.hidden_size, 8)", called="proj"),
        config=parts,
    )
    (warning,) = [w for w in tree.warnings if "no module has a size" in w]
    assert "audio_config" in warning


def test_an_assertion_that_fails_names_the_numbers(made: Any) -> None:
    body = "assert config.num_attention_heads % 3 == 0, 'odd'\nself.x = 1"
    with pytest.raises(ConfigError) as caught:
        made.attributes(body)
    assert "config.num_attention_heads = 4" in str(caught.value)
    assert "made.py:7" in str(caught.value)


def test_a_config_that_the_model_refuses(made: Any) -> None:
    body = "if config.num_attention_heads == 4:\n    raise ValueError(f'no {config.hidden_size}')"
    with pytest.raises(ConfigError, match="refuses") as caught:
        made.attributes(body)
    assert caught.value.found == "no 64"
    assert not isinstance(caught.value, ServingError)


def test_sizes_that_do_not_fit_are_an_error_of_serving(made: Any) -> None:
    before = "from sglang.srt.distributed import get_tensor_model_parallel_world_size"
    body = (
        "tp = get_tensor_model_parallel_world_size()\nassert config.num_attention_heads % tp == 0"
    )
    made.attributes(body, before, tp=2)
    with pytest.raises(ServingError) as caught:
        made.attributes(body, before, tp=8)
    message = str(caught.value)
    for part in ("tp=8", "num_attention_heads = 4", "tp = 8", "made.py:8"):
        assert part in message


def test_what_cannot_be_at_any_size_is_no_error_of_serving(made: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        made.attributes("self.x = config.heads", tp=2)
    assert not isinstance(caught.value, ServingError)


def test_other_exceptions_of_the_constructor(made: Any) -> None:
    with pytest.raises(ElaborationError, match="cannot be elaborated") as caught:
        made.attributes("self.x = None\nself.x.append(1)")
    assert "AttributeError" in str(caught.value)
    assert "made.py:8" in str(caught.value)


def test_an_unknown_architecture_names_the_nearest(made: Any) -> None:
    source = "class Other:\n    pass\n\nEntryClass = [Other]\n"
    with pytest.raises(UnknownModelError) as caught:
        made.tree(source, config={"architectures": ["Othre"]})
    assert "Other" in str(caught.value)


def test_constructor_arguments_that_nobody_gives_are_not_known(made: Any) -> None:
    tree = made.tree(
        "from torch import nn\nclass Model(nn.Module):\n"
        "    def __init__(self, config, extra, b=2):\n"
        "        super().__init__()\n        self.x = (extra, b)\nEntryClass = Model\n"
    )
    extra, b = tree.root.attributes["x"]
    assert isinstance(extra, Unknown)
    assert b == 2
