"""Finds the GEMMs of a model: linear layers, the LM head, router gates, other matrix products."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import attrs

from fibcore.plugin import (
    Alternatives,
    Extraction,
    Fact,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    ModuleRef,
    Named,
    ParameterRef,
    Serving,
    Unknown,
    fact,
    origins_of,
)
from fibcore_op_gemm.absorbed import Absorbed, absorbed, format_of
from fibcore_op_gemm.convolutions import dimensions, patches_shape
from fibcore_op_gemm.formats import (
    BMM_BF16,
    BMM_FP8_BLOCK,
    FP8_BLOCK,
    PLAIN,
    AnyFormat,
    Format,
    of_quantization,
    quantization_words,
)
from fibcore_op_gemm.names import OP_TYPE, SHAPES, kernel_name
from fibcore_op_gemm.products import (
    Product,
    folded,
    grouped,
    is_product,
    products,
    unpacks,
    weights,
)
from fibcore_op_gemm.sizes import (
    EMBEDDING,
    LINEAR,
    TORCH_EMBEDDING,
    TORCH_LINEAR,
    Shape,
    Size,
    UndecidedError,
    batched_shape,
    groups_of_rank,
    head_shape,
    linear_shape,
)

_LOGITS = "sglang.srt.layers.logits_processor.LogitsProcessor"
_BATCHED = LINEAR + "ColumnParallelBatchedLinear"
# Modules of a model's own whose parameter `weight` is there to be multiplied.
_GATE = re.compile(r"Gate$|Router$|Linear$|Head$")
# How models name the weight of a causal convolution, which they keep in a linear layer.
_CONVOLUTION = re.compile(r"(^|[._])conv(1d)?$")
# A routed expert that is a module of its own.
_EXPERT = re.compile(r"(^|\.)experts\.\d+\.")
# Named like a linear layer, and something else (linear attention).
_NOT_LINEAR = ("RadixLinearAttention",)


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The GEMMs of `tree`, of the whole layers or of one rank (the option `SHAPES`).

    The weights of experts are not among them: they belong to the fused expert layer.
    """
    return _Matcher(tree, serving).run()


class _Matcher:
    """One walk over one tree."""

    def __init__(self, tree: ModelTree, serving: Serving) -> None:
        self.tree = tree
        self.serving = serving
        self.found = KernelCollector(lenient=("batch_size",))
        self.handled: set[str] = set()  # paths of the modules whose weight is accounted for
        self.quantised: set[str] = set()  # paths of the layers among them that are
        # The ranks that tensor parallelism splits a kernel over, by its name.
        self.sharded: dict[str, int] = {}
        self.remarks: dict[tuple[str, str], list[str]] = {}  # kernel and remark -> layers
        self.biased: dict[str, list[ModuleNode]] = {}  # kernel -> layers that add a bias
        self.grouped = {path: group for o in tree.operations for path, group in grouped(o)}
        self.folded = {path for o in tree.operations for path in folded(o)}
        self.handed = {path for o in tree.operations for path in weights(o)}
        self.handed |= {p for node in tree.walk() for call in node.calls for p in weights(call)}

    def run(self) -> Extraction:
        """Walk over layers, heads and operations."""
        heads = self._heads()
        for node in self.tree.walk():
            is_head = node.is_a(EMBEDDING + "ParallelLMHead") or node.path in heads
            if is_head and not self._is_linear(node):
                if heads and node.path not in heads and not node.calls:
                    reason = f"the logits are computed with {', '.join(sorted(heads))}"
                    self._not_covered("LM head that is not run", reason, node)
                else:
                    self._head(node)
            else:
                self._layer(node)
        self._operations()
        for product in absorbed(self.tree):
            self._absorbed(product)
        self._inside()
        self._adapters()
        return self._finish(self.found.finish())

    @staticmethod
    def _is_linear(node: ModuleNode) -> bool:
        return node.is_a(LINEAR + "LinearBase", *TORCH_LINEAR)

    # -- layers ---------------------------------------------------------------------------------

    def _layer(self, node: ModuleNode) -> None:
        if node.is_a(_BATCHED):
            self._batched_layer(node)
            return
        if dimensions(node) is not None:
            self._patches(node)
            return
        if _CONVOLUTION.search(node.path) and not node.calls and self._is_linear(node):
            reason = "a linear layer that is never called and only holds a convolution's weight"
            self._not_covered("causal convolution", reason, node)
            return
        if _EXPERT.search(node.path) and not node.calls:
            return  # its weight is handed to a fused expert kernel, which is another plugin's
        if node.class_name.endswith("LinearWithLoRA"):
            self._not_covered("GEMM with LoRA", "adapters make it another kernel", node)
            return
        try:
            shape = linear_shape(node, self.serving)
        except UndecidedError as why:
            self._problem(f"GEMM of a {node.class_name}", str(why), node)
            return
        if shape is not None and not node.calls and node.path in self.grouped:
            self._grouped(node, shape)
        elif shape is not None and not node.calls and node.path in self.folded:
            self._not_covered(
                f"GEMM of a {node.class_name} folded into another weight",
                "the forward pass does not call it; it multiplies its weight by another module's",
                node,
            )
        elif shape is not None and node.idle and node.path not in self.handed:
            self._not_covered(
                f"GEMM of a {node.class_name} that is not run",
                "the forward pass does not call it; another kernel may read its weight",
                node,
            )
        elif shape is not None and not shape.n.value:
            self._not_covered(f"GEMM of a {node.class_name}", "it has no outputs", node)
        elif shape is not None:
            self._add(node, shape)
        elif node.is_a(LINEAR + "LinearBase"):
            reason = f"{node.cls} is a linear layer whose sizes this plugin cannot read"
            self._problem(f"GEMM of a {node.class_name}", reason, node)
        elif self._named_linear(node):
            reason = f"{node.cls} is none of the linear layers that this plugin knows"
            self._not_covered(node.class_name, reason, node)

    def _patches(self, node: ModuleNode) -> None:
        """Add the GEMM of a convolution whose patches lie side by side, or name it.

        One that nothing calls may only hold the weight of a causal convolution.
        """
        if not node.calls:
            return
        try:
            shape = patches_shape(node)
        except UndecidedError as why:
            self._problem(f"GEMM of a {node.class_name}", str(why), node)
            return
        if shape is None:
            reason = (
                "what it multiplies are no patches side by side: the op type has no such kernel"
            )
            self._not_covered(f"{node.class_name} of overlapping patches", reason, node)
            return
        self._add(node, shape)

    @staticmethod
    def _named_linear(node: ModuleNode) -> bool:
        return (
            node.leaf
            and not node.children
            and node.class_name.endswith("Linear")
            and node.class_name not in _NOT_LINEAR
        )

    def _add(self, node: ModuleNode, shape: Shape) -> None:
        """Add the GEMM of a layer in the format that its quantisation gives it."""
        if isinstance(node.quantization, Unknown):
            what = f"GEMM of a {node.class_name}"
            self._problem(what, f"its quantisation is {node.quantization}", node)
            return
        if node.quantization is not None:
            self.quantised.add(node.path)
        matrices = of_quantization(node.quantization)
        if matrices is None and node.quantization is not None:
            reason = "no definition describes a GEMM on weights of this format"
            if node.quantization.activation is None:
                reason = "weights alone are quantised, in a way of packing that no definition has"
            self._not_covered(f"gemm with {quantization_words(node.quantization)}", reason, node)
            return
        matrices = matrices or PLAIN
        reason = matrices.misfit(int(shape.n.value), int(shape.k.value))
        if reason:
            self._problem(f"GEMM of a {node.class_name}", reason, node)
            return
        kernel = self._kernel(node, shape, matrices)
        self._record(kernel, node, shape)
        if node.argument("bias") is True:
            self._remark(kernel, "a bias is added after the GEMM", node.path)
            self.biased.setdefault(kernel.name, []).append(node)
        dtype = node.argument("params_dtype")
        if isinstance(dtype, Named) and dtype.name.endswith("float32"):
            self._remark(kernel, "SGLang runs it in float32", node.path)
        origins = set().union(*(origins_of(v) for v in (*shape.n.sources, *shape.k.sources)))
        if (
            "serving:tp" in origins
            and self.serving.value(SHAPES) == "layer"
            and self.serving.tp > 1
        ):
            self._remark(kernel, f"the model's sizes depend on tp={self.serving.tp}", node.path)

    def _kernel(
        self, node: ModuleNode, shape: Shape, matrices: AnyFormat, batch: Size | None = None
    ) -> Kernel:
        n, k = int(shape.n.value), int(shape.k.value)
        facts = {axis: _fact(size, node) for axis, size in (("N", shape.n), ("K", shape.k))}
        for axis, size, note in matrices.sizes(n, k):
            sources = {"K": shape.k.sources, "N": shape.n.sources}.get(note[0], ())
            facts[axis] = fact(size, node, note, *sources)
        parameters: dict[str, int | str] = {"N": n, "K": k, "format": matrices.name}
        if batch is not None:  # no const axis; workloads read it
            facts["batch_size"] = _fact(batch, node)
            parameters["batch_size"] = int(batch.value)
        return Kernel(
            op_type=OP_TYPE,
            name=kernel_name(matrices, n, k),
            parameters=parameters,
            facts=facts,
            uses=(),
            tags=matrices.tags,
        )

    def _inside(self) -> None:
        """Claim the products that quantised layers call inside; they are the layers' own.

        So is what unpacks a weight before a product with it, as AWQ's layers do that have too few
        outputs for Marlin's kernel.
        """
        if not self.quantised:
            return  # calls are followed when they are first asked for, which takes time
        for call in self.tree.kernel_calls:
            if call.module in self.quantised and (is_product(call) or unpacks(call)):
                self.found.claim(call)

    def _adapters(self) -> None:
        """Name the products of LoRA adapters that the server computes beside its layers."""
        given = self.serving.argument
        if not (given("lora_paths") or given("enable_lora") is True):
            return
        for call in self.tree.kernel_calls:
            if call.beside and "lora" in call.function.lower():
                rank = call.kwargs.get("max_lora_rank")
                most = f" of rank {rank} at most" if isinstance(rank, int) else ""
                reason = f"products with matrices of adapters{most}, which each request chooses"
                self.found.claim(call)
                self.found.not_covered(f"LoRA: {call.name}", reason, call)

    # -- batches of matrices ----------------------------------------------------------------------

    def _grouped(self, node: ModuleNode, shape: Shape) -> None:
        """Add the products of a layer whose weight is one matrix a group (`wo_a`)."""
        n, rows = int(shape.n.value), self.grouped[node.path]
        known = isinstance(rows, int) and not isinstance(rows, bool) and 0 < rows <= n
        if not known or n % rows:
            reason = f"its weight is one matrix a group, of {rows} rows out of {n}"
            self._not_covered("batched GEMM", reason, node)
            return
        if isinstance(node.quantization, Unknown):
            self._problem("batched GEMM", f"its quantisation is {node.quantization}", node)
            return
        formats: dict[AnyFormat, Format] = {PLAIN: BMM_BF16, FP8_BLOCK: BMM_FP8_BLOCK}
        matrices = formats.get(of_quantization(node.quantization) or PLAIN)
        if matrices is None or (node.quantization is not None and matrices is BMM_BF16):
            what = f"batched GEMM b{n // rows}_n{rows}_k{int(shape.k.value)}"
            if node.quantization is not None:
                what += f" with {quantization_words(node.quantization)}"
            self._not_covered(what, "no definition describes it on weights of this format", node)
            return
        try:
            groups = groups_of_rank(node, self.serving, int(rows))
        except UndecidedError as why:
            self._problem("batched GEMM", str(why), node)
            return
        one = Shape(Size(int(rows), "rows of a group's matrix", (rows,)), shape.k)
        self._record(self._kernel(node, one, matrices, groups), node, one)

    def _batched_layer(self, node: ModuleNode) -> None:
        try:
            shape, batch = batched_shape(node, self.serving)
        except UndecidedError as why:
            self._problem("batched GEMM", str(why), node)
            return
        if shape is None:
            self._problem("batched GEMM", "what a rank has of it is not known", node)
            return
        self._record(self._kernel(node, shape, BMM_BF16, batch), node, shape)

    def _absorbed(self, product: Absorbed) -> None:
        """Add a product of latent attention, by the format of the layer whose weight it is."""
        quantization = product.weight.quantization
        if isinstance(quantization, Unknown):
            reason = f"the quantisation of {product.weight.path} is {quantization}"
            self.found.problem(f"absorbed {product.what} projection", reason, product.node)
            return
        matrices, before = format_of(quantization)
        if matrices is None and quantization is not None:
            self.found.not_covered(
                f"absorbed {product.what} projection with {quantization_words(quantization)}",
                "SGLang has no way to split a weight of this format",
                product.node,
            )
        if matrices is None:
            return
        kernel = self._kernel(product.node, Shape(product.n, product.k), matrices, product.batch)
        self.found.add(kernel, product.node)
        if before:
            self._remark(kernel, before, product.weight.path)

    # -- LM heads -------------------------------------------------------------------------------

    def _heads(self) -> set[str]:
        """Paths of the modules whose matrix the model's logits are computed with."""
        heads: set[str] = set()
        silent: list[ModuleNode] = []
        has_own = any(n.is_a(EMBEDDING + "ParallelLMHead") for n in self.tree.walk())
        for node in self.tree.walk():
            if not node.is_a(_LOGITS):
                continue
            self.found.claim(node)
            choices = [
                paths
                for call in node.calls
                for value in (*call.args, *call.kwargs.values())
                if (paths := self._matrices(value))
            ]
            if any(len(paths) > 1 for paths in choices):
                names = " or ".join(sorted(set().union(*choices)))
                self.found.problem("GEMM of the LM head", f"its matrix is that of {names}", node)
            elif choices:
                heads.update(*choices)
            else:
                silent.append(node)
        # A multimodal model may hold a second processor that only its text model's stands in for.
        for node in silent if not heads and not has_own else ():
            self.found.problem(
                "GEMM of the LM head",
                "no call of it in the forward pass says which matrix makes the logits",
                node,
            )
        return heads

    def _matrices(self, value: Any) -> set[str]:
        """Paths of embeddings, heads and linear layers in an argument of a call."""
        if isinstance(value, Alternatives):
            return set().union(*(self._matrices(one) for one in value.values))
        path = None
        if isinstance(value, ModuleRef):
            path = value.path
        elif isinstance(value, ParameterRef):
            path = value.path.rpartition(".")[0]
        node = self.tree.find(path) if path else None
        if node is None or path is None:
            return set()
        embedding = node.is_a(EMBEDDING + "VocabParallelEmbedding", TORCH_EMBEDDING)
        matrix = embedding or self._is_linear(node)
        return {node.path} if matrix else set()

    def _head(self, node: ModuleNode) -> None:
        try:
            shape = head_shape(node, self.serving)
        except UndecidedError as why:
            self._problem("GEMM of the LM head", str(why), node)
            return
        self._add(node, shape)

    # -- operations on parameters -----------------------------------------------------------------

    def _operations(self) -> None:
        by_parameter: dict[str, list[Product]] = {}
        for operation in self.tree.operations:
            for product in products(operation):
                by_parameter.setdefault(product.parameter, []).append(product)
        for parameter, uses in by_parameter.items():
            owner = self.tree.find(parameter.rpartition(".")[0])
            if owner is not None and owner.path in self.handled:
                continue  # the same GEMM as the layer's own
            if owner is not None and owner.is_a(EMBEDDING + "VocabParallelEmbedding"):
                self._head(owner)
            elif owner is None or not owner.leaf:  # a leaf's weights are its plugin's
                node = owner or self.tree.find(uses[0].module) or self.tree.root
                self._product(node, parameter, uses)

        self._unmultiplied(set(by_parameter))

    def _unmultiplied(self, multiplied: set[str]) -> None:
        """Report gates whose weight no known operation multiplies: their GEMM would be missing."""
        for node in self.tree.walk():
            weight = node.attributes.get("weight")
            if (
                not node.leaf
                and node.path not in self.handled
                and isinstance(weight, ParameterRef)
                and weight.path not in multiplied
                and len(weight.shape or (1, 1)) == 2
                and _GATE.search(node.class_name)
            ):
                reason = "no matrix product with it was found in the forward pass"
                self._problem(f"GEMM with the weight of a {node.class_name}", reason, node)

    def _product(self, node: ModuleNode, parameter: str, uses: list[Product]) -> None:
        name = parameter.rpartition(".")[2]
        functions = ", ".join(dict.fromkeys(u.function for u in uses))
        what = f"GEMM with the parameter {name} of a {node.class_name}"
        sizes = {(u.n, u.k): u for u in uses if not (u.trouble or u.batched or u.more)}
        if not sizes and all(u.batched for u in uses):
            self._batched_product(node, uses[0], f"batched GEMM ({functions}, {name})")
            return
        if not sizes and all(u.more for u in uses):
            reason = f"it computes {uses[0].more} as well; the op type has no such kernel"
            self.found.not_covered(f"GEMM inside {functions.rpartition('.')[2]}", reason, node)
            return
        if not sizes:
            self.found.problem(what, next(u.trouble for u in uses if u.trouble), node)
            return
        if len(sizes) > 1:
            listed = " and ".join(f"N {n}, K {k} ({u.function})" for (n, k), u in sizes.items())
            self.found.problem(what, f"its operations disagree: {listed}", node)
            return
        ((n, k), use), *_ = sizes.items()
        if not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in (n, k)):
            self.found.problem(what, f"its sizes are {n} and {k}", node)
            return
        split = [v for v in (n, k) if "serving:tp" in origins_of(v)]
        if split and self.serving.tp > 1 and self.serving.value(SHAPES) == "layer":
            sizes_text = " and ".join(str(int(v)) for v in split)
            self.found.problem(what, f"{sizes_text} is a rank's, not the whole layer's", node)
            return
        note = f"shape of {parameter}, by {use.function}"
        shape = Shape(Size(n, note, (n,)), Size(k, note, (k,)), sharded=bool(split))
        kernel = self._kernel(node, shape, PLAIN)
        self._record(kernel, node, shape)
        if use.dtype == "float32":
            self._remark(kernel, "SGLang runs it in float32", node.path)

    def _batched_product(self, node: ModuleNode, use: Product, what: str) -> None:
        """Add the products with a parameter that holds several matrices."""
        sizes = (use.batch, use.n, use.k)
        if not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in sizes):
            reason = use.trouble or f"its sizes are {use.batch}, {use.n} and {use.k}"
            self.found.not_covered(what, reason, node)
            return
        note = f"shape of {use.parameter}, by {use.function}"
        n, k, batch = (Size(size, note, (size,)) for size in (use.n, use.k, use.batch))
        shape = Shape(n, k)
        kernel = self._kernel(node, shape, BMM_BF16, batch)
        self.found.add(kernel, node)
        if use.dtype == "float32":
            self._remark(kernel, "SGLang runs it in float32", node.path)

    # -- the result -------------------------------------------------------------------------------

    def _record(self, kernel: Kernel, node: ModuleNode, shape: Shape) -> None:
        self.found.add(kernel, node)
        self.handled.add(node.path)
        if shape.sharded and self.serving.value(SHAPES) == "rank":
            sources = (*shape.n.sources, *shape.k.sources)
            origins = frozenset().union(*(origins_of(source) for source in sources))
            self.sharded[kernel.name] = self.serving.ranks(origins)

    def _remark(self, kernel: Kernel, remark: str, path: str) -> None:
        self.remarks.setdefault((kernel.name, remark), []).append(path)

    def _problem(self, what: str, reason: str, node: ModuleNode) -> None:
        self.found.problem(what, reason, node)
        self.handled.add(node.path)

    def _not_covered(self, what: str, reason: str, node: ModuleNode) -> None:
        self.found.not_covered(what, reason, node)
        self.handled.add(node.path)

    def _finish(self, extraction: Extraction) -> Extraction:
        """Put notes, which depend on all the layers of a kernel, on the kernels."""
        kernels = []
        for kernel in extraction.kernels:
            ranks = self.sharded.get(kernel.name)
            # A note, for published datasets give this op type no tag tp.
            share = () if ranks is None else (f"the share of one of {ranks} ranks",)
            notes = tuple(
                f"{remark}: {_listed(paths)}"
                for (name, remark), paths in self.remarks.items()
                if name == kernel.name
            )
            kernels.append(
                attrs.evolve(
                    kernel,
                    notes=(*kernel.notes, *share, *notes),
                    facts={**kernel.facts, **self._bias(kernel.name)},
                )
            )
        return attrs.evolve(extraction, kernels=tuple(kernels))

    def _bias(self, name: str) -> dict[str, Fact]:
        """In how many of its layers a kernel is followed by a bias; nothing where in none."""
        layers = self.biased.get(name)
        if not layers:
            return {}
        note = "layers that add a bias after it"
        return {"biased_layers": fact(len(layers), layers[0], note, layers[0].argument("bias"))}


def _fact(size: Size, node: ModuleNode) -> Any:
    return fact(size.value, node, size.note, *size.sources)


def _listed(paths: Iterable[str]) -> str:
    first, *more = paths
    return f"{first} and {len(more)} more" if more else first
