"""Sizes, inputs and properties for the reference tests of hyper-connections.

One file for all of them: which a definition is of shows in its inputs and outputs.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., Any]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, Any]
Device = torch.device

_KNOWN = {
    *("x", "residual", "post_layer_mix", "comb_res_mix"),
    *("fn", "hc_scale", "hc_base", "norm_weight"),
}


# Sums of the streams in another order round to other bfloat16 numbers at times, and each of those
# moves what 4 x 4096 products add up to.
TOLERANCES = {"post_mix": (2e-4, 2e-4), "comb_mix": (2e-4, 2e-4)}


def cases(definition: Definition) -> list[Case]:
    """Few and many tokens."""
    del definition
    return [{"id": f"tokens_{n}", "tokens": n} for n in (1, 3, 70)]


def make_inputs(
    definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> Inputs:
    """Streams of several sizes; coefficients neither 0 nor 1, and no two streams alike."""
    if not set(definition["inputs"]) <= _KNOWN:
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    tokens, hc, hidden = case["tokens"], _size(definition, "hc"), _size(definition, "hidden_size")

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    size = torch.exp2(torch.arange(hc) - hc / 2)[:, None]
    made: Inputs = {
        "x": (2 * normal(tokens, hidden)).bfloat16(),
        "residual": (size * normal(tokens, hc, hidden) + 0.25).bfloat16(),
        "post_layer_mix": torch.rand(tokens, hc, generator=generator) * 2,
        "comb_res_mix": torch.softmax(normal(tokens, hc, hc), -1),
    }
    if "fn" in definition["inputs"]:
        mix = hc if _is_head(definition) else _size(definition, "mhc_mix")
        whole = _size(definition, "hc_hidden_size")
        made |= {
            "fn": normal(mix, whole) / math.sqrt(whole),
            "hc_scale": torch.tensor([0.75, 1.5, 2.0])[: _size(definition, "scale_size")],
            "hc_base": normal(mix) / 2,
            "norm_weight": (1 + normal(hidden) / 4).bfloat16(),
        }
    return {name: made[name].to(device) for name in definition["inputs"]}


def _size(definition: Definition, axis: str) -> int:
    return int(definition["axes"][axis]["value"])


def _is_head(definition: Definition) -> bool:
    """Whether it is of what is left of the streams behind the last layer."""
    return "fn" in definition["inputs"] and "out" in definition["outputs"]


def _outputs(run: Run, definition: Definition, inputs: Inputs) -> dict[str, torch.Tensor]:
    """Outputs by name, of the shapes and dtypes that the definition declares."""
    given = run(*inputs.values())
    values = given if isinstance(given, tuple) else (given,)
    sizes = {"num_tokens": inputs["residual"].shape[0]}
    sizes |= {n: axis["value"] for n, axis in definition["axes"].items() if "value" in axis}
    names = list(definition["outputs"])
    assert len(values) == len(names)
    for name, value in zip(names, values, strict=True):
        spec = definition["outputs"][name]
        assert value.shape == tuple(sizes[axis] for axis in spec["shape"]), name
        assert value.dtype == getattr(torch, spec["dtype"]), name
    return dict(zip(names, values, strict=True))


def _constants(definition: Definition) -> dict[str, float]:
    """Constants that the reference has at its top, beside the sizes."""
    found = {}
    for line in definition["reference"].splitlines():
        name, _, value = line.partition(" = ")
        if name.endswith(("_EPS", "_VALUE", "_REPEAT")):
            found[name] = float(value)
    return found


def _streams(inputs: Inputs) -> torch.Tensor:
    """The streams behind the layer in float64, token by token and stream by stream."""
    comb, residual = inputs["comb_res_mix"].double(), inputs["residual"].double()
    streams = torch.zeros_like(residual)
    for behind in range(residual.shape[1]):
        streams[:, behind] = (
            inputs["post_layer_mix"].double()[:, behind, None] * inputs["x"].double()
        )
        for before in range(residual.shape[1]):
            streams[:, behind] += comb[:, before, behind, None] * residual[:, before]
    return streams


def _coefficients(
    definition: Definition, inputs: Inputs, streams: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights of streams, weights behind the layer, and the matrix, in float64."""
    eps, hc = _constants(definition), streams.shape[1]
    flat = streams.double().flatten(1)
    mixes = (flat @ inputs["fn"].double().T) / (flat.square().mean(1) + eps["RMS_EPS"]).sqrt()[
        :, None
    ]
    base, scale = inputs["hc_base"].double(), inputs["hc_scale"].double()
    pre = torch.sigmoid(mixes[:, :hc] * scale[0] + base[:hc]) + eps["HC_PRE_EPS"]
    post = torch.sigmoid(mixes[:, hc : 2 * hc] * scale[1] + base[hc : 2 * hc])
    matrix = (mixes[:, 2 * hc :] * scale[2] + base[2 * hc :]).view(-1, hc, hc)
    matrix = torch.softmax(matrix, 2) + eps["HC_SINKHORN_EPS"]
    rounds = int(eps["SINKHORN_REPEAT"])
    for step in range(2 * rounds - 1):
        over = 1 if step % 2 == 0 else 2
        matrix = matrix / (matrix.sum(over, keepdim=True) + eps["HC_SINKHORN_EPS"])
    return pre, post * eps["HC_POST_MULT_VALUE"], matrix


def _head(definition: Definition, inputs: Inputs) -> torch.Tensor:
    """The weighted sum of the streams behind the last layer, in float64."""
    eps, streams = _constants(definition), inputs["residual"].double()
    flat = streams.flatten(1)
    root = (flat.square().mean(1, keepdim=True) + eps["RMS_EPS"]).sqrt()
    logits = (flat / root) @ inputs["fn"].double().T * inputs["hc_scale"].double()
    weights = torch.sigmoid(logits + inputs["hc_base"].double()) + eps["HC_PRE_EPS"]
    total = torch.zeros_like(streams[:, 0])
    for stream in range(streams.shape[1]):
        total += weights[:, stream, None] * streams[:, stream]
    return total


def _close(actual: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float) -> None:
    torch.testing.assert_close(actual.double().cpu(), expected.double().cpu(), rtol=rtol, atol=atol)


def equals_float64(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """All outputs are what float64 gives, up to rounding; inputs stay as they are."""
    inputs = make_inputs(definition, case, device, generator)
    before = {name: value.clone() for name, value in inputs.items()}
    outputs = _outputs(run, definition, inputs)
    streams = inputs["residual"]
    if _is_head(definition):
        _close(outputs.pop("out"), _head(definition, inputs), 2**-8, 1e-5)
    for name in ("out", "residual_cur"):
        if name in outputs:
            # Sums of what is of both signs: an error is one of the largest term.
            _close(outputs[name], _streams(inputs), 2**-8, 1e-5)
            streams = outputs[name]
    if "comb_mix" in outputs:
        pre, post, matrix = _coefficients(definition, inputs, streams)
        _close(outputs["post_mix"], post, 1e-5, 1e-6)
        _close(outputs["comb_mix"], matrix, 1e-5, 1e-6)
        expected = (pre[..., None] * streams.double()).sum(1)
        if "norm_weight" in inputs:
            mean = expected.square().mean(1, keepdim=True)
            expected = expected / (mean + _constants(definition)["NORM_EPS"]).sqrt()
            expected = expected * inputs["norm_weight"].double()
        _close(outputs["layer_input"], expected, 2**-8, 1e-5)
    for name, value in inputs.items():
        assert torch.equal(value, before[name]), f"run changes its input {name}"


def the_matrix_is_doubly_stochastic(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """Its last step makes the weights of each stream behind a layer add up to 1."""
    if "comb_mix" not in definition["outputs"]:
        return
    matrix = _outputs(run, definition, make_inputs(definition, case, device, generator))["comb_mix"]
    ones = torch.ones(matrix.shape[:2], dtype=torch.float64)
    _close(matrix.double().sum(1), ones, 0, 1e-5)
    assert bool((matrix > 0).all())


def small_streams_show_the_epsilons(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """Streams so small that the epsilon below the root is most of it, and streams of zeros."""
    if "fn" not in definition["inputs"]:
        return
    for factor in (0.0, 2.0**-12):
        inputs = make_inputs(definition, case, device, generator)
        for name in ("x", "residual"):
            if name in inputs:
                inputs[name] = inputs[name] * factor
        outputs = _outputs(run, definition, inputs)
        if _is_head(definition):
            _close(outputs["out"], _head(definition, inputs), 2**-8, 2**-20 * factor)
            continue
        streams = outputs["residual_cur"] if "x" in inputs else inputs["residual"]
        pre, post, matrix = _coefficients(definition, inputs, streams)
        _close(outputs["post_mix"], post, 1e-5, 1e-6)
        _close(outputs["comb_mix"], matrix, 1e-5, 1e-6)
        expected = (pre[..., None] * streams.double()).sum(1)
        if "norm_weight" in inputs:
            mean = expected.square().mean(1, keepdim=True)
            expected = expected / (mean + _constants(definition)["NORM_EPS"]).sqrt()
            expected = expected * inputs["norm_weight"].double()
        # Terms may cancel, up to errors of the coefficients.
        largest = float(expected.abs().max()) if expected.numel() else 0.0
        _close(outputs["layer_input"], expected, 2**-8, 1e-3 * largest)


def weights_are_never_below_their_epsilon(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """Where sigmoids are 0, epsilons are the weights: a layer is given so much of its streams."""
    if "fn" not in definition["inputs"] or "norm_weight" in definition["inputs"]:
        return
    inputs = make_inputs(definition, case, device, generator)
    inputs["hc_base"] = inputs["hc_base"] - 100
    row = "out" if _is_head(definition) else "layer_input"
    found = _outputs(run, definition, inputs)[row]
    expected = _constants(definition)["HC_PRE_EPS"] * inputs["residual"].double().sum(1)
    _close(found, expected, 2**-7, 1e-9)


def tokens_do_not_mix(
    run: Run, definition: Definition, case: Case, device: Device, generator: torch.Generator
) -> None:
    """The last token alone gives what it gives among others; no tokens give no rows."""
    inputs = make_inputs(definition, case, device, generator)
    together = _outputs(run, definition, inputs)
    for rows in (slice(-1, None), slice(0, 0)):
        part = {
            name: value[rows] if definition["inputs"][name]["shape"][0] == "num_tokens" else value
            for name, value in inputs.items()
        }
        for name, value in _outputs(run, definition, part).items():
            _close(value, together[name][rows], 2**-7, 1e-5)


PROPERTIES = [
    equals_float64,
    the_matrix_is_doubly_stochastic,
    small_streams_show_the_epsilons,
    weights_are_never_below_their_epsilon,
    tokens_do_not_mix,
]
