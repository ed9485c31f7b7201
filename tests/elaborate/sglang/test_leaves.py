"""Building blocks: which classes are, what is known of them, and when their constructor is run."""

from __future__ import annotations

from typing import Any

from fibcore.model.tree import ModelTree, ModuleNode, Named, Unknown

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


def test_activations_of_other_packages_are_building_blocks(made: Any) -> None:
    before = "from transformers.activations import GELUTanh\n"
    tree = made.tree(model("self.act = GELUTanh()", "act", before))
    assert tree.missing == ()
    assert node(tree, "act").leaf


def test_a_module_of_transformers_that_is_known_to_be_small_is_a_building_block(made: Any) -> None:
    package = "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl"
    before = f"from {package} import Qwen2_5_VisionPatchEmbed, Unheard\n"
    init = "self.patch_embed = Qwen2_5_VisionPatchEmbed(patch_size=14)\nself.rest = Unheard(3)"
    tree = made.tree(model(init, called="patch_embed rest", before=before))
    assert node(tree, "patch_embed").leaf
    assert [m.path for m in tree.missing] == ["rest"]
