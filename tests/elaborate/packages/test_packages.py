"""Parts that another package makes are followed where its source is at hand."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.errors import UsageError
from fibcore.model.tree import ModelTree, Unknown

HEAD = """
from torch import nn
from transformers import AutoModel, CLIPVisionModel
from transformers.models.clip import CLIPPreTrainedModel
import transformers.models.clip.modeling_clip as clip

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.tower = {tower}

    def get_image_feature(self, x):
        return self.tower(x)

    def forward(self, x):
        return self.get_image_feature(x)

EntryClass = Model
"""
VISION = {"model_type": "clip_vision_model", "hidden_size": 32, "num_hidden_layers": 2}
BY_CONFIG = "AutoModel.from_config(config=config.vision_config)"
TIMM = {"model_type": "gemma3n_vision", "architecture": "small"}


def tree(
    made: Any, packages: Any, tower: str, vision: dict[str, Any] = VISION, **options: Any
) -> ModelTree:
    source = HEAD.replace("{tower}", tower)
    found: ModelTree = made.tree(
        source, config={"vision_config": vision}, packages=packages, **options
    )
    return found


def requires(made: Any, transformers: str, timm: str) -> None:
    """Let the made-up SGLang require releases."""
    info = made.root.parent / "sglang-0.0.dist-info"
    info.mkdir()
    lines = f"Requires-Dist: transformers=={transformers}\nRequires-Dist: timm=={timm}\n"
    (info / "METADATA").write_text(lines)


@pytest.mark.parametrize(
    "tower",
    [
        "CLIPVisionModel(config.vision_config)",
        "clip.CLIPVisionModel(config.vision_config)",
        BY_CONFIG,
        "AutoModel.from_config(config.vision_config, attn_implementation=None, dtype=None)",
    ],
)
def test_a_tower_of_transformers_is_followed(made: Any, written: Any, tower: str) -> None:
    found = tree(made, written.of("transformers"), tower)
    assert found.missing == ()
    nodes = {n.path: n for n in found.walk()}
    name = "transformers.models.clip.modeling_clip.CLIPVisionModel"
    assert nodes["tower"].cls == name
    proj = nodes["tower.layers.1.self_attn.q_proj"]
    assert proj.cls == "torch.nn.Linear"
    assert proj.argument("in_features") == 32
    assert str(proj.place).startswith("transformers/models/clip/modeling_clip.py:")
    assert len(proj.calls) == 1
    # An epsilon of the config class, which is known as before.
    assert nodes["tower.layers.0.norm"].argument("eps") == 1e-5


def test_without_the_source_the_package_is_named(made: Any, written: Any) -> None:
    for packages in ((), written.of("timm")):
        (missing,) = tree(made, packages, BY_CONFIG).missing
        assert (missing.path, missing.package) == ("tower", "transformers")
    (missing,) = tree(made, (), "CLIPVisionModel(config.vision_config)").missing
    assert missing.package == "transformers"
    (missing,) = tree(made, (), "CLIPVisionModel(config.vision_config).to('cuda')").missing
    assert missing.package == "transformers"
    # What is built in is no package that could be given.
    (missing,) = tree(made, (), "nn.modules.made(3)").missing
    assert missing.package == ""


def test_several_classes_of_one_config_are_told_by_the_file(made: Any, written: Any) -> None:
    vision = {"model_type": "siglip_vision_model", "hidden_size": 32}
    packages = written.of("transformers")
    first = tree(made, packages, BY_CONFIG, vision).find("tower")
    named = {**vision, "architectures": ["SiglipVisionModel"]}
    asked = tree(made, packages, BY_CONFIG, named).find("tower")
    assert first is not None
    assert first.class_name == "SiglipOther"
    assert asked is not None
    assert asked.class_name == "SiglipVisionModel"


def test_a_config_that_the_table_lacks_is_missing(made: Any, written: Any) -> None:
    found = tree(made, written.of("transformers"), BY_CONFIG, {"model_type": "llama"})
    (missing,) = found.missing
    assert "no model for LlamaConfig" in missing.reason


def test_a_table_that_is_no_plain_list_decides_nothing(made: Any, written: Any) -> None:
    path = "transformers/models/auto/modeling_auto.py"
    text = (written.root / path).read_text()
    written.text(path, text + "\nMODEL_MAPPING_NAMES.update({'clip_vision_model': 'Other'})\n")
    (missing,) = tree(made, written.of("transformers"), BY_CONFIG).missing
    assert "no model for CLIPVisionConfig" in missing.reason


@pytest.mark.parametrize(
    ("can", "functions"),
    [
        ("True", ["torch.nn.functional.scaled_dot_product_attention"]),
        ("False", ["torch.matmul", "torch.matmul"]),
    ],
)
def test_attention_is_named(made: Any, written: Any, can: str, functions: list[str]) -> None:
    path = "transformers/models/clip/modeling_clip.py"
    text = (written.root / path).read_text()
    written.text(path, text.replace("_supports_sdpa = True", f"_supports_sdpa = {can}"))
    found = tree(made, written.of("transformers"), BY_CONFIG)
    calls = [c for c in found.kernel_calls if c.module == "tower.layers.0.self_attn"]
    assert [c.function for c in calls] == functions


def test_attention_that_the_program_registers_is_named(made: Any, written: Any) -> None:
    source = HEAD.replace("{tower}", BY_CONFIG).replace(
        "        self.tower",
        "        AttentionInterface.register('own', own_attention)\n"
        "        config.vision_config._attn_implementation = 'own'\n        self.tower",
    )
    source = source.replace(
        "class Model",
        "from transformers import AttentionInterface\n\n"
        "def own_attention(module, query, key, value, mask, **kwargs):\n    return query, None\n\n"
        "class Model",
        1,
    )
    found = made.tree(source, config={"vision_config": VISION}, packages=written.of("transformers"))
    names = {c.function for c in found.kernel_calls if c.module.startswith("tower")}
    assert names == {"sglang.srt.models.made.own_attention"}


def test_a_model_of_timm_is_made_by_its_name(made: Any, written: Any) -> None:
    found = tree(made, written.of("transformers", "timm"), BY_CONFIG, TIMM, version="0.5.23")
    assert found.missing == ()
    nodes = {n.path: n for n in found.walk()}
    model = nodes["tower.timm_model"]
    assert model.cls == "timm.models.small.Small"
    # Strings that code blocks, and a size of the settings that are the same for all weights.
    sizes = [
        (nodes[p].argument("in_channels"), nodes[p].argument("out_channels"))
        for p in ("tower.timm_model.blocks.0.conv", "tower.timm_model.blocks.1.conv")
    ]
    assert sizes == [(4, 16), (16, 32)]
    assert nodes["tower.timm_model.blocks.0.act"].argument("approximate") == "tanh"
    assert nodes["tower.timm_model.blocks.2.proj"].argument("out_features") == 8
    assert model.attributes["last"] == 16
    # What weights differ in is known of those that are named.
    assert isinstance(model.attributes["both"], Unknown)
    assert model.attributes["two"] == 3
    assert str(nodes["tower.timm_model.blocks.0.conv"].place).startswith("timm/models/small.py:")
    calls = [c.function for c in found.kernel_calls if c.module == "tower.timm_model.blocks.2"]
    assert calls == ["torch.nn.functional.scaled_dot_product_attention"]


def test_timm_is_asked_for_where_transformers_alone_is_there(made: Any, written: Any) -> None:
    requires(made, "5.19.0", "1.0.25")  # so that it is installed where SGLang is
    found = tree(made, written.of("transformers"), BY_CONFIG, TIMM, version="0.5.23")
    assert {m.package for m in found.missing} == {"timm"}


def test_a_model_that_timm_lacks_is_refused(made: Any, written: Any) -> None:
    from fibcore.errors import FibcoreError

    packages = written.of("transformers", "timm")
    with pytest.raises(FibcoreError, match="RuntimeError: Unknown model"):
        tree(made, packages, BY_CONFIG, {**TIMM, "architecture": "large"}, version="0.5.23")


def test_another_release_is_said_where_something_of_it_is_read(made: Any, written: Any) -> None:
    requires(made, "4.57.1", "1.0.16")
    packages = written.of("transformers", "timm")
    written.text("transformers/version.py", "__version__ = '4.55.0'\n")
    other = written.of("transformers", "timm")
    words = [w for w in tree(made, other, BY_CONFIG).warnings if "of which they may differ" in w]
    assert len(words) == 1  # nothing of timm was read
    assert "4.55.0" in words[0]
    assert "4.57.1" in words[0]
    unknown = tree(made, packages, BY_CONFIG).warnings
    assert any("a release that its files do not tell" in w for w in unknown)
    plain = tree(made, other, "nn.Linear(3, 4)").warnings
    assert not any("of which they may differ" in w for w in plain)


def test_nothing_of_a_package_is_run(made: Any, written: Any) -> None:
    written.text("extra/__init__.py", "from .part import Part\n")
    written.text(
        "extra/part.py",
        "from torch import nn\nimport pathlib\npathlib.Path('made-by-import').touch()\n\n"
        "class Part(nn.Linear):\n    pass\n",
    )
    source = HEAD.replace("{tower}", "Part(3, 4)").replace(
        "class Model", "from extra import Part\n\nclass Model", 1
    )
    found = made.tree(source, packages=written.of("extra"))
    node = found.find("tower")
    assert node is not None
    assert node.argument("out_features") == 4


def test_a_package_that_is_built_in_is_refused(made: Any, written: Any) -> None:
    written.text("torch/__init__.py", "")
    with pytest.raises(UsageError, match="source is not followed"):
        tree(made, written.of("torch"), "nn.Linear(3, 4)")


def test_a_model_class_of_sglang_is_looked_for_in_sglang(made: Any, written: Any) -> None:
    tower = "self._get_sgl_model_cls(config.vision_config)(config.vision_config)"
    method = (
        "    def _get_sgl_model_cls(self, config, auto_model_type=AutoModel):\n        pass\n\n"
    )
    source = HEAD.replace("{tower}", tower).replace("    def forward", f"{method}    def forward")
    found = made.tree(source, config={"vision_config": VISION}, packages=written.of("transformers"))
    (missing,) = found.missing
    assert "this SGLang has none for" in missing.reason


@pytest.mark.parametrize("module", ["transformers", "transformers.utils"])
def test_torch_is_there(made: Any, written: Any, module: str) -> None:
    path = "transformers/models/clip/modeling_clip.py"
    text = (written.root / path).read_text()
    asked = f"from {module} import is_torch_available\n"
    asked += "if is_torch_available():\n    from torch import nn"
    written.text(path, text.replace("from torch import nn", asked))
    assert tree(made, written.of("transformers"), BY_CONFIG).missing == ()
