"""Finds multi-head latent attention in a model tree, by structure and not by model.

A latent attention module of SGLang holds one or two `RadixAttention` layers
(`srt/layers/radix_attention.py`; the same arguments in 0.5.9 and 0.5.23 for what matters here):

* the absorbed form, which reads the latent cache: one KV head, whose value (the latent vector,
  `v_head_dim`) is the front part of its key (`head_dim`: latent vector and rope part), beside a
  linear layer that projects the latent vector up to keys and values (`kv_b_proj`);
* the materialised form for prefill, in which every query head has its own keys and values. Models
  that always absorb (MiniCPM3) have none.

Head counts are those of one tensor-parallel rank.
"""

from __future__ import annotations

import attrs

from fibcore.plugin import (
    Extraction,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Serving,
    kv_cache_dtype,
)
from fibcore_op_mla.kernels import LENIENT, absorbed_kernels, materialised_kernels
from fibcore_op_mla.layer_settings import (
    Shape,
    UndecidedError,
    features,
    has_one_width,
    is_sparse,
    read_scale,
    read_shape,
)
from fibcore_op_mla.names import CACHES

_NO_DEFINITION = "the dataset's mla definitions are plain softmax attention, causal in prefill"


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """Kernels, uncovered variants and problems of every latent attention module in `tree`.

    Also names the attention layers whose values are not as wide as their keys although they are no
    latent attention. Absorbed layers of sparse attention, which see the keys that an indexer chose,
    are left to the plugin of `dsa_paged`.
    """
    found = KernelCollector(lenient=LENIENT)
    for parent in tree.walk():
        layers = [child for child in parent.children.values() if child.is_a("RadixAttention")]
        if layers:
            _Finder(parent, tree, serving, found).visit(layers)
    return found.finish()


@attrs.frozen
class _Block:
    """What the attention layers of one module are together.

    Attributes:
        latent: Shape of the absorbed layer; None where this is no latent attention.
        shapes: Shapes of all layers, as far as known.
        whole: Whether all of them are known.
    """

    latent: Shape | None
    shapes: tuple[Shape, ...]
    whole: bool


@attrs.frozen
class _Finder:
    """Looks at one module that holds attention layers."""

    parent: ModuleNode
    tree: ModelTree
    serving: Serving
    found: KernelCollector

    def visit(self, layers: list[ModuleNode]) -> None:
        """Sort the layers out and record what each one runs."""
        read = [(layer, _shape(layer)) for layer in layers]
        shapes = [shape for _, shape in read if isinstance(shape, Shape)]
        block = _Block(self._latent(shapes), tuple(shapes), len(shapes) == len(read))
        for layer, shape in read:
            self._report(layer, shape, block)
        if block.latent is not None:
            self._absorbed_products(block.latent, block)

    def _absorbed_products(self, latent: Shape, block: _Block) -> None:
        """Name the two products with the halves of `kv_b_proj` that absorption moves elsewhere.

        SGLang splits that layer's weight when it loads it (`w_kc`, `w_vc`), so no module and no
        parameter stands for them: every head has a matrix of its own. They are kernels of the op
        type `gemm`, whose plugin closes these gaps.
        """
        twin = next((shape for shape in block.shapes if _is_materialised(shape, latent)), None)
        nope = self.parent.attributes.get("qk_nope_head_dim")
        value = self.parent.attributes.get("v_head_dim")
        if twin is not None:
            nope, value = twin.key - (latent.key - latent.value), twin.value
        self.found.claim(self.parent)
        for what, n, k in (
            ("absorbed query projection", latent.value, nope),
            ("absorbed value projection", value, latent.value),
        ):
            sizes = f" b{latent.heads}_n{n}_k{k}" if _are_sizes(n, k) else ""
            self.found.not_covered(
                f"batched GEMM{sizes} ({what})",
                "one matrix a head; no GEMM plugin found a kernel for it",
                self.parent,
                op_types=("gemm",),
            )

    def _report(self, layer: ModuleNode, shape: Shape | UndecidedError, block: _Block) -> None:
        try:
            if isinstance(shape, Shape):
                self._layer(layer, shape, block)
            # Keys and values of one width are grouped query attention's, unless beside MLA.
            elif block.latent is not None or not has_one_width(layer):
                raise shape
        except UndecidedError as error:
            self.found.problem(error.what, error.reason, layer)

    def _latent(self, shapes: list[Shape]) -> Shape | None:
        """The shape of the absorbed layer; None where this is no latent attention.

        One KV head with values narrower than keys may also be a rank's share of attention with two
        widths (MiMo-V2), so something has to show that the value is a latent vector: a linear
        layer that takes it, or a layer beside this one with as many KV heads as query heads.
        """
        narrow = [shape for shape in shapes if shape.kv_heads == 1 and shape.value < shape.key]
        for shape in narrow:
            if any(_projects_up(child, shape.value) for child in self.parent.children.values()):
                return shape
        if any(shape.kv_heads == shape.heads > 1 for shape in shapes):
            return next(iter(narrow), None)
        return None

    def _layer(self, layer: ModuleNode, shape: Shape, block: _Block) -> None:
        latent = block.latent
        if latent is None:
            if shape.key == shape.value:
                return
            if not block.whole:
                raise UndecidedError(
                    "an attention layer", "the sizes of the layer beside it are not known"
                )
            extras = [f" {extra}" for extra in features(layer, self.parent)]
            self.found.not_covered(
                f"attention h{shape.heads} kv{shape.kv_heads} with head_dim {shape.key} and "
                f"v_head_dim {shape.value}{''.join(extras)}",
                "no latent attention, although its values are not as wide as its keys",
                layer,
            )
        elif _is_absorbed(shape, latent):
            twin = next((other for other in block.shapes if _is_materialised(other, latent)), None)
            self._absorbed(layer, shape, twin)
        elif _is_materialised(shape, latent):
            self._materialised(layer, shape)
        else:
            self.found.not_covered(
                f"attention with {shape.heads} query heads, {shape.kv_heads} KV heads, head_dim "
                f"{shape.key} and v_head_dim {shape.value} beside latent attention",
                "neither its absorbed nor its materialised form",
                layer,
            )

    def _absorbed(self, layer: ModuleNode, shape: Shape, twin: Shape | None) -> None:
        if is_sparse(self.parent):
            return
        extras = list(features(layer, self.parent))
        # The cache alone is quantised: materialised keys and values are fresh.
        cache = kv_cache_dtype(self.tree)
        if cache is not None and cache not in CACHES:
            extras.append(f"with {cache} KV cache")
        if extras:
            self.found.not_covered(f"mla_paged {' and '.join(extras)}", _NO_DEFINITION, layer)
            return
        scale = self._scale(layer)
        self.found.claim(layer)
        for kernel in absorbed_kernels(layer, shape, twin, scale, cache, self.serving):
            self.found.add(kernel, layer)

    def _materialised(self, layer: ModuleNode, shape: Shape) -> None:
        extras = list(features(layer, self.parent))
        if extras:
            self.found.not_covered(f"mla_ragged {' and '.join(extras)}", _NO_DEFINITION, layer)
            return
        scale = self._scale(layer)
        self.found.claim(layer)
        # Beside sparse attention, too: SGLang's DSA backend prefills prompts of at most top-k
        # keys with it, which sees all of them.
        notes = ("for prompts too short for sparse attention",) if is_sparse(self.parent) else ()
        for kernel in materialised_kernels(layer, shape, scale, self.serving):
            self.found.add(attrs.evolve(kernel, notes=notes), layer)

    def _scale(self, layer: ModuleNode) -> float | None:
        """The layer's scale; it is an input, so the kernel is found without it, too."""
        try:
            return read_scale(layer)
        except UndecidedError as error:
            self.found.problem(error.what, error.reason, layer)
            return None


def _shape(layer: ModuleNode) -> Shape | UndecidedError:
    try:
        return read_shape(layer)
    except UndecidedError as error:
        return error


def _is_absorbed(shape: Shape, latent: Shape) -> bool:
    # Heads may differ: with decode context parallelism a second layer has those of several ranks.
    return (shape.kv_heads, shape.key, shape.value) == (1, latent.key, latent.value)


def _is_materialised(shape: Shape, latent: Shape) -> bool:
    rope = latent.key - latent.value
    return shape.kv_heads == shape.heads == latent.heads and shape.key > rope


def _are_sizes(*values: object) -> bool:
    return all(isinstance(value, int) and value > 0 for value in values)


def _projects_up(node: ModuleNode, latent: int) -> bool:
    """Whether it is a linear layer that makes keys and values of a latent vector.

    The output projection, which takes the heads' values, is a `RowParallelLinear`.
    """
    return (
        not node.is_a("RowParallelLinear")
        and node.argument("input_size") == latent
        and node.argument("output_size") is not None
    )
