"""Building blocks, what is missing, and that nothing of the source is ever run."""

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
from fibcore.model.serving import Serving
from fibcore.model.tree import Alternatives, ModelTree, ModuleNode, Named, Unknown
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


def test_a_leaf_has_its_arguments_by_name(made: Any) -> None:
    init = "self.qkv = QKVParallelLinear(8, 4, total_num_heads=2, bias=False)"
    tree = made.tree(model(init, "qkv"))
    leaf = node(tree, "qkv")
    assert leaf.leaf
    assert leaf.children == {}
    assert leaf.attributes == {}
    assert leaf.arguments == {
        "hidden_size": 8,
        "head_size": 4,
        "total_num_heads": 2,
        "total_num_kv_heads": None,
        "bias": False,
        "quant_config": None,
        "prefix": "",
    }
    assert leaf.cls == "sglang.srt.layers.linear.QKVParallelLinear"
    assert [b.rpartition(".")[2] for b in leaf.bases][:2] == ["ColumnParallelLinear", "LinearBase"]
    assert leaf.is_a("LinearBase")
    assert leaf.place.file == "sglang/srt/models/made.py"
    assert leaf.class_place is not None
    assert leaf.class_place.file == "sglang/srt/layers/linear.py"
    source = (made.root / "srt/layers/linear.py").read_text().splitlines()
    assert "class QKVParallelLinear" in source[leaf.class_place.line - 1]


def test_extra_keywords_of_a_leaf_are_arguments_too(made: Any) -> None:
    made.write(
        "srt/layers/wide.py",
        "from torch import nn\nclass Wide(nn.Module):\n    def __init__(self, n, **kwargs):\n"
        "        super().__init__()\n",
    )
    tree = made.tree(
        model("self.a = Wide(1, depth=2)", "a", "from sglang.srt.layers.wide import *")
    )
    assert node(tree, "a").arguments == {"n": 1, "depth": 2}


def test_arguments_that_are_objects_have_names(made: Any) -> None:
    before = """
from enum import Enum
class Kind(Enum):
    A = 1
def helper():
    pass
"""
    init = "self.a = ReplicatedLinear(Kind.A, helper, torch.bfloat16, RMSNorm, config)"
    arguments = node(made.tree(model(init, "a", before)), "a").arguments
    assert list(arguments.values()) == [
        Named("sglang.srt.models.made.Kind.A"),
        Named("sglang.srt.models.made.helper"),
        Named("torch.bfloat16"),
        Named("sglang.srt.layers.layernorm.RMSNorm"),
        Named("config"),
    ]


def test_a_leaf_is_run_when_an_attribute_of_it_is_read(made: Any) -> None:
    made.write(
        "srt/layers/split.py",
        "from torch import nn\nclass Split(nn.Module):\n    def __init__(self, n):\n"
        "        super().__init__()\n        self.half = n // 2\n        self.lost = open(n)\n"
        "        raise RuntimeError('no device')\n"
        "    @property\n    def quarter(self):\n        return self.half // 2\n",
    )
    init = "self.a = Split(16)\nself.x = (self.a.half, self.a.quarter, self.a.other)"
    tree = made.tree(model(init, "a", "from sglang.srt.layers.split import Split"))
    half, quarter, other = tree.root.attributes["x"]
    assert (half, quarter) == (8, 4)
    assert isinstance(other, Unknown)
    assert "Split" in other.reason
    assert node(tree, "a").leaf
    assert tree.missing == ()


def test_a_leaf_that_nobody_asks_is_not_run(made: Any) -> None:
    made.write(
        "srt/layers/counted.py",
        "from torch import nn\nMADE = []\nclass Counted(nn.Module):\n    def __init__(self, n):\n"
        "        super().__init__()\n        self.n = n\n        MADE.append(n)\n",
    )
    init = "self.a, self.b = Counted(1), Counted(2)\nself.x = (self.b.n, list(MADE))"
    tree = made.tree(model(init, "a b", "from sglang.srt.layers.counted import *"))
    assert tree.root.attributes["x"] == (2, [2])


def test_a_layer_that_holds_layers_is_descended_into(made: Any) -> None:
    made.write(
        "srt/layers/blocks.py",
        """
        from torch import nn
        from sglang.srt.layers.linear import ReplicatedLinear

        class Rope(nn.Module):
            def __init__(self, n):
                super().__init__()
                self.cache = nn.Dropout(0.0)

        class Mlp(nn.Module):
            def __init__(self, n):
                super().__init__()
                self.up = ReplicatedLinear(n, 2 * n)
                self.rope = Rope(n)

            def forward(self, x):
                return self.up(x)

        class Derived(Mlp):
            pass

        class Patches(nn.Module):
            def __init__(self, n):
                super().__init__()
                self.proj = nn.Conv2d(3, n, kernel_size=2)
        """,
    )
    before = "from sglang.srt.layers.blocks import *"
    init = "self.mlp = Mlp(4)\nself.rope = Rope(4)\nself.derived = Derived(3)\nself.p = Patches(5)"
    tree = made.tree(model(init, "mlp rope derived", before))
    leaves = {n.path: n.leaf for n in tree.walk() if n.path}
    assert leaves == {
        "mlp": False,
        "mlp.up": True,
        "mlp.rope": True,
        "rope": True,
        "derived": False,
        "derived.up": True,
        "derived.rope": True,
        "p": False,
        "p.proj": True,
    }
    assert node(tree, "derived.up").arguments["output_size"] == 6
    assert len(node(tree, "mlp.up").calls) == 1


def test_a_factory_of_layers_gives_what_it_makes(made: Any) -> None:
    made.write(
        "srt/layers/rope.py",
        """
        from torch import nn
        CACHE = {}

        class Rope(nn.Module):
            def __init__(self, size, base):
                super().__init__()

        class Scaled(Rope):
            pass

        def get_rope(size, base, scaling=None):
            key = (size, base)
            if key in CACHE:
                return CACHE[key]
            made = Rope(size, base) if scaling is None else Scaled(size, base)
            CACHE[key] = made
            return made
        """,
    )
    init = "self.a = get_rope(4, 10)\nself.b = get_rope(4, 20, scaling={})"
    tree = made.tree(model(init, "a b", "from sglang.srt.layers.rope import get_rope"))
    assert node(tree, "a").class_name == "Rope"
    assert node(tree, "b").class_name == "Scaled"
    assert node(tree, "b").arguments == {"size": 4, "base": 20}


def test_modules_of_torch_are_leaves(made: Any) -> None:
    init = (
        "self.a = nn.Linear(2, 3, bias=False)\nself.b = nn.LayerNorm(5)\n"
        "self.c = nn.Embedding(7, 8)\nself.d = nn.Conv2d(3, 4, kernel_size=2, stride=2)\n"
        "self.e = nn.Identity()"
    )
    tree = made.tree(model(init, "a b c d e"))
    found = {n.path: dict(n.arguments) for n in tree.walk() if n.path}
    assert found["a"] == {"in_features": 2, "out_features": 3, "bias": False}
    assert found["b"]["normalized_shape"] == 5
    assert found["b"]["eps"] == 1e-5
    assert (found["c"]["num_embeddings"], found["c"]["embedding_dim"]) == (7, 8)
    assert found["d"] == {"in_channels": 3, "out_channels": 4, "kernel_size": 2, "stride": 2}
    assert node(tree, "e").cls == "torch.nn.Identity"


def missing(tree: ModelTree) -> dict[str, str]:
    assert tree.partial is bool(tree.missing)
    return {m.path: m.reason for m in tree.missing}


def test_an_unknown_that_should_have_been_a_module_is_reported(made: Any) -> None:
    init = "self.norm = RMSNorm(8)\nself.head = foreign.make(3)\nself.flag = foreign.flag()"
    tree = made.tree(model(init, "norm head"))
    assert list(missing(tree)) == ["head"]
    (found,) = tree.missing
    assert "foreign.make" in found.reason
    assert found.place is not None
    assert "self.head" in model(init, "norm head").splitlines()[found.place.line - 1]
    assert "made.py" in str(found)
    assert isinstance(tree.root.attributes["flag"], Unknown)


def test_an_instance_of_a_foreign_class_that_is_called_is_reported(made: Any) -> None:
    init = "self.norm = RMSNorm(8)\nself.head = foreign.Head(3)\nself.tool = foreign.Tool()"
    tree = made.tree(model(init, "norm head"))
    assert list(missing(tree)) == ["head"]
    assert "foreign.Head" in missing(tree)["head"]


def test_a_module_that_cannot_be_decided_is_reported(made: Any) -> None:
    init = (
        "if foreign.flag():\n    self.a = ReplicatedLinear(1, 2)\nelse:\n"
        "    self.a = RowParallelLinear(1, 2)\n"
        "self.b = ReplicatedLinear(3, 4) if foreign.flag() else ReplicatedLinear(3, 4)\n"
        "self.c = ReplicatedLinear(3, 4) if foreign.flag() else ReplicatedLinear(3, 5)"
    )
    tree = made.tree(model(init, "a b c"))
    assert set(missing(tree)) == {"a", "c"}
    assert "ReplicatedLinear" in missing(tree)["a"]
    assert "RowParallelLinear" in missing(tree)["a"]
    assert node(tree, "b").arguments["output_size"] == 4


def test_modules_in_unknown_number_are_reported(made: Any) -> None:
    init = (
        "self.a = nn.ModuleList(foreign.items())\n"
        "self.b = nn.ModuleList([RMSNorm(8) for i in range(foreign.count())])\n"
        "self.c = nn.ModuleList()\nfor i in foreign.items():\n    self.c.append(RMSNorm(4))\n"
        "self.d = nn.ModuleList([RMSNorm(1)])\nif foreign.flag():\n    self.d.append(RMSNorm(2))"
    )
    tree = made.tree(model(init))
    assert sorted(missing(tree)) == ["a.0", "b.0", "c.0", "d.1"]
    assert node(tree, "d.0").arguments["hidden_size"] == 1


def test_a_leaf_with_arguments_that_cannot_be_bound_is_reported(made: Any) -> None:
    init = (
        "self.a = ReplicatedLinear(*foreign.sizes())\nself.b = ReplicatedLinear(1, **foreign.k())"
    )
    tree = made.tree(model(init, "a b"))
    assert set(missing(tree)) == {"a", "b"}
    assert node(tree, "a").leaf


def test_an_unknown_size_is_an_argument_and_nothing_missing(made: Any) -> None:
    init = "self.a = ReplicatedLinear(foreign.n(), 2 if foreign.flag() else 3)"
    tree = made.tree(model(init, "a"))
    size = node(tree, "a").arguments["input_size"]
    assert isinstance(size, Unknown)
    assert "foreign.n" in size.reason
    assert node(tree, "a").arguments["output_size"] == Alternatives((2, 3))
    assert tree.missing == ()


def test_what_was_removed_or_set_to_none_is_not_missing(made: Any) -> None:
    init = "self.a = foreign.make()\ndel self.a\nself.b = foreign.make()\nself.b = None"
    assert made.tree(model(init)).missing == ()


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


def test_which_of_two_modules_without_weights_runs_does_not_matter(made: Any) -> None:
    before = """
class Drop(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        return x
"""
    init = "self.drop = Drop(foreign.rate) if foreign.rate > 0 else nn.Identity()"
    assert made.tree(model(init, "drop", before)).missing == ()


def test_which_of_two_modules_with_weights_runs_is_missing(made: Any) -> None:
    init = "self.norm = RMSNorm(8) if foreign.rate > 0 else nn.Identity()"
    assert [m.path for m in made.tree(model(init, "norm")).missing] == ["norm"]


def test_activations_of_other_packages_are_building_blocks(made: Any) -> None:
    before = "from transformers.activations import GELUTanh\n"
    tree = made.tree(model("self.act = GELUTanh()", "act", before))
    assert tree.missing == ()
    assert node(tree, "act").leaf


def test_models_of_other_packages_are_missing(made: Any) -> None:
    before = "from transformers import CLIPVisionModel\n"
    tree = made.tree(model("self.tower = CLIPVisionModel(config)", "tower", before))
    assert [m.path for m in tree.missing] == ["tower"]
    assert "CLIPVisionModel" in tree.missing[0].reason


NESTED = f"""{HEAD}
from transformers import AutoModel, AutoModelForCausalLM

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        cls = self._get_sgl_model_cls(config.text_config, AutoModelForCausalLM)
        self.language_model = cls(config.text_config)

    def _get_sgl_model_cls(self, config, auto_model_type=AutoModel):
        raise ValueError("transformers is asked here")

    def forward(self, x):
        return self.language_model(x)

EntryClass = Model
"""


def test_a_nested_config_is_built_by_the_model_that_sglang_has_for_it(made: Any) -> None:
    language = """
    from torch import nn
    from sglang.srt.layers.layernorm import RMSNorm

    class LlamaForCausalLM(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.norm = RMSNorm(config.hidden_size)

        def forward(self, x):
            return self.norm(x)

    EntryClass = LlamaForCausalLM
    """
    made.write("srt/models/llama.py", language)
    text = {"model_type": "llama", "hidden_size": 48}
    tree = made.tree(NESTED, config={"text_config": text})
    assert tree.missing == ()
    assert node(tree, "language_model.norm").arguments["hidden_size"] == 48


def test_a_nested_config_without_a_model_of_sglang_is_missing(made: Any) -> None:
    text = {"model_type": "gptj", "hidden_size": 48}
    tree = made.tree(NESTED, config={"text_config": text})
    assert [m.path for m in tree.missing] == ["language_model"]
    assert "GPTJForCausalLM" in tree.missing[0].reason


def test_an_instance_can_be_made_without_its_constructor(made: Any) -> None:
    init = "self.norm = RMSNorm.__new__(RMSNorm)\nnn.Module.__init__(self.norm)\nself.norm.size = 3"
    assert node(made.tree(model(init)), "norm").attributes == {"size": 3}


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


def test_a_module_of_transformers_that_is_known_to_be_small_is_a_building_block(made: Any) -> None:
    package = "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl"
    before = f"from {package} import Qwen2_5_VisionPatchEmbed, Unheard\n"
    init = "self.patch_embed = Qwen2_5_VisionPatchEmbed(patch_size=14)\nself.rest = Unheard(3)"
    tree = made.tree(model(init, called="patch_embed rest", before=before))
    assert node(tree, "patch_embed").leaf
    assert [m.path for m in tree.missing] == ["rest"]


@pytest.mark.parametrize(
    ("call", "missing"),
    [
        ("self.tower(x)", ["tower"]),
        ("self.tower.forward_features(x)", ["tower"]),
        ("self.tower.dtype", []),
        ("print(self.tower)", []),
    ],
)
@pytest.mark.parametrize("made_by", ["foreign.create_model('vit')", "foreign.Tower(3)"])
def test_a_tower_that_any_method_calls_is_missing_where_it_is_not_known(
    made: Any, call: str, made_by: str, missing: list[str]
) -> None:
    source = model(f"self.tower = {made_by}").replace(
        "\nEntryClass",
        f"\n    def get_image_feature(self, x):\n        return {call}\n\nEntryClass",
    )
    assert [m.path for m in made.tree(source).missing] == missing


def test_what_only_loading_calls_is_no_module(made: Any) -> None:
    source = model("self.remap = foreign.create_mapper()").replace(
        "\nEntryClass", "\n    def load_weights(self, x):\n        self.remap(x)\n\nEntryClass"
    )
    assert made.tree(source).missing == ()


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
