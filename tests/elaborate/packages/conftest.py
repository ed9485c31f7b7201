"""Small packages under the names of transformers and timm, written by hand."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from fibcore.sources.tree import Package, tree_at

AUTO = """
from collections import OrderedDict
from .auto_factory import _BaseAutoModelClass, _LazyAutoMapping, auto_class_update
from .configuration_auto import CONFIG_MAPPING_NAMES

MODEL_MAPPING_NAMES = OrderedDict(
    [
        ("clip_vision_model", "CLIPVisionModel"),
        ("siglip_vision_model", ("SiglipOther", "SiglipVisionModel")),
        ("gemma3n_vision", "TimmWrapperModel"),
    ]
)
MODEL_MAPPING = _LazyAutoMapping(CONFIG_MAPPING_NAMES, MODEL_MAPPING_NAMES)


class AutoModel(_BaseAutoModelClass):
    _model_mapping = MODEL_MAPPING


AutoModel = auto_class_update(AutoModel)
"""
CLIP = """
import torch
from torch import nn

from ...activations import ACT2FN
from ...modeling_layers import GradientCheckpointingLayer
from ...modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from ...utils import auto_docstring
from .configuration_clip import CLIPVisionConfig


def eager_attention_forward(module, query, key, value, mask, scaling=1.0, **kwargs):
    weights = nn.functional.softmax(torch.matmul(query, key) * scaling, dim=-1)
    return torch.matmul(weights, value), weights


class CLIPAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x):
        interface = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        out, _ = interface(self, self.q_proj(x), x, x, None, scaling=0.5)
        return out


class CLIPEncoderLayer(GradientCheckpointingLayer):
    def __init__(self, config):
        super().__init__()
        self.self_attn = CLIPAttention(config)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x):
        return self.self_attn(self.norm(x))


@auto_docstring
class CLIPPreTrainedModel(PreTrainedModel):
    config: CLIPVisionConfig
    _supports_sdpa = SDPA


class CLIPVisionModel(CLIPPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        layers = [CLIPEncoderLayer(config) for _ in range(config.num_hidden_layers)]
        self.layers = nn.ModuleList(layers)
        self.post_init()

    def forward(self, pixel_values):
        x = pixel_values.to(self.device)
        for layer in self.layers:
            x = layer(x)
        return x


__all__ = ["CLIPPreTrainedModel", "CLIPVisionModel"]
"""
SIGLIP = """
from torch import nn
from ...modeling_utils import PreTrainedModel

class SiglipOther(PreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.other = nn.Linear(1, 1)
    def forward(self, x):
        return self.other(x)

class SiglipVisionModel(SiglipOther):
    def __init__(self, config):
        super().__init__(config)
        self.head = nn.Linear(config.hidden_size, 7)
    def forward(self, x):
        return self.head(x)

__all__ = ["SiglipOther", "SiglipVisionModel"]
"""
WRAPPER = """
from ...modeling_utils import PreTrainedModel
from ...utils import is_timm_available, requires_backends

if is_timm_available():
    import timm

def _create_timm_model_with_error_handling(config, **model_kwargs):
    try:
        return timm.create_model(config.architecture, pretrained=False, **model_kwargs)
    except RuntimeError as e:
        raise ImportError("not in your version") from e

class TimmWrapperModel(PreTrainedModel):
    def __init__(self, config):
        requires_backends(self, ["vision", "timm"])
        super().__init__(config)
        self.timm_model = _create_timm_model_with_error_handling(config, num_classes=0)
        self.post_init()

    def forward(self, pixel_values):
        return self.timm_model.forward_features(pixel_values)

__all__ = ["TimmWrapperModel"]
"""
FACTORY = """
from urllib.parse import urlsplit
from ._registry import is_model, model_entrypoint

def parse_model_name(model_name):
    parsed = urlsplit(model_name)
    return None, parsed.path

def create_model(model_name, pretrained=False, **kwargs):
    source, name = parse_model_name(model_name)
    if not is_model(name):
        raise RuntimeError('Unknown model (%s)' % name)
    return model_entrypoint(name)(pretrained=pretrained, **kwargs)
"""
REGISTRY = """
import sys
_model_entrypoints = {}

def register_model(fn):
    mod = sys.modules[fn.__module__]
    _model_entrypoints[fn.__name__] = fn
    return fn

def is_model(model_name):
    return model_name in _model_entrypoints

def model_entrypoint(model_name):
    return _model_entrypoints[model_name]

def generate_default_cfgs(cfgs):
    raise RuntimeError("a table that nobody needs whole")

def get_pretrained_cfg(model_name, allow_unregistered=True):
    raise RuntimeError("a table that is filled by imports")
"""
SMALL = """
from dataclasses import dataclass
from functools import partial
from torch import nn
import torch.nn.functional as F
from ._pretrained import PretrainedCfg
from ._registry import generate_default_cfgs, get_pretrained_cfg, register_model

_GELU = partial(nn.GELU, approximate='tanh')

def _decode(text):
    kind, *options = text.split('_')
    return kind, {o[0]: int(o[1:]) for o in options}

class Block(nn.Module):
    def __init__(self, in_chs, c, act_layer):
        super().__init__()
        self.conv = nn.Conv2d(in_chs, c, 1, bias=False)
        self.act = act_layer()
    def forward(self, x):
        return self.act(self.conv(x))

class Attention(nn.Module):
    def __init__(self, in_chs, c, act_layer):
        super().__init__()
        self.proj = nn.Linear(in_chs, c)
    def forward(self, x):
        x = self.proj(x)
        return F.scaled_dot_product_attention(x, x, x)

def named_apply(fn, module):
    for name, child in module.named_children():
        fn(module=child, name=name)
    return module

def _init(module, name):
    raise RuntimeError("initial weights matter to nobody")

class Small(nn.Module):
    def __init__(self, arch, in_chans=3, num_classes=1000):
        super().__init__()
        blocks = []
        for text in arch:
            kind, options = _decode(text)
            assert kind in ('cb', 'at')
            made = (Block if kind == 'cb' else Attention)(in_chans, **options, act_layer=_GELU)
            blocks.append(made)
            in_chans = options['c']
        self.blocks = nn.Sequential(*blocks)
        self.last = self.blocks[0].conv.out_channels
        named_apply(_init, self)
        self.head = nn.Linear(self.last, num_classes) if num_classes else nn.Identity()
    def forward_features(self, x):
        return self.blocks(x)

default_cfgs = {
    'small.one': {'input_size': (4, 8, 8), 'num_classes': 2},
    'small.two*': {'input_size': (4, 8, 8), 'num_classes': 3},
    'other': {'input_size': (5, 8, 8)},
}
default_cfgs = generate_default_cfgs(default_cfgs)

@register_model
def small(pretrained=False, **kwargs):
    cfg = get_pretrained_cfg('small')
    model = Small(['cb_c16', 'cb_c32', 'at_c8'], in_chans=cfg.input_size[0], **kwargs)
    model.both = cfg.num_classes
    model.two = get_pretrained_cfg('small.two').num_classes
    return model
"""
PRETRAINED = """
from dataclasses import dataclass

@dataclass
class PretrainedCfg:
    input_size: tuple = (3, 224, 224)
    num_classes: int = 1000
"""


class Packages:
    """A folder with packages of made-up source."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.text("transformers/__init__.py", "raise RuntimeError('nobody imports it')\n")
        self.text("transformers/models/auto/modeling_auto.py", AUTO)
        self.text("transformers/models/clip/modeling_clip.py", CLIP.replace("SDPA", "True"))
        self.text("transformers/models/clip/__init__.py", "import sys\nsys.modules['x'] = None\n")
        self.text("transformers/models/siglip/modeling_siglip.py", SIGLIP)
        self.text("transformers/models/timm_wrapper/modeling_timm_wrapper.py", WRAPPER)
        self.text("timm/__init__.py", "from .models import create_model as create_model\n")
        self.text("timm/models/__init__.py", "from ._factory import create_model\n")
        self.text("timm/models/_factory.py", FACTORY)
        self.text("timm/models/_registry.py", REGISTRY)
        self.text("timm/models/_pretrained.py", PRETRAINED)
        self.text("timm/models/small.py", SMALL)
        self.text("timm/version.py", "__version__ = '1.0.16'\n")

    def text(self, path: str, text: str) -> None:
        """Write a file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")

    def of(self, *names: str) -> tuple[Package, ...]:
        """Packages by name, as a source tree holds them."""
        return tuple(Package(n, tree_at(self.root / n, n, str(self.root / n))) for n in names)


@pytest.fixture
def written(tmp_path: Path) -> Packages:
    """Small packages under the names of transformers and timm."""
    return Packages(tmp_path / "packages")
