"""RMSNorm with a gate: rows are normalised, and multiplied by a weight and a gate's activation.

output = x / sqrt(mean(x^2) + EPSILON) * weight * f(gate)  # except: first
output = y / sqrt(mean(y^2) + EPSILON) * weight with y = x * f(gate)  # only: first

f is SiLU, g / (1 + exp(-g)).  # except: sigmoid
f is the logistic function, 1 / (1 + exp(-g)).  # only: sigmoid
Every group of a row has a mean square of its own.  # only: groups
(Zhang and Sennrich 2019, arXiv:1910.07467; the gate as in Dao and Gu 2024, arXiv:2405.21060)
"""

import torch
from torch.nn.functional import rms_norm

HIDDEN_SIZE = 4096
NUM_GROUPS = 4  # only: groups
GROUP_SIZE = 1024  # only: groups
EPSILON = 1e-06
# Rows are taken in chunks of about this many elements: the float32 copies stay small however many
# rows there are.
CHUNK_ELEMENTS = 33554432


def gated(x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """The float32 rows x, in place, times the activation of their gate."""
    gate = gate.to(torch.float32)
    x *= torch.nn.functional.silu(gate)  # except: sigmoid
    # only: sigmoid: x *= torch.sigmoid(gate)
    return x


@torch.no_grad()
def run(hidden_states: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Normalise the rows of hidden_states [batch_size, HIDDEN_SIZE], with their gate's factor."""
    batch_size, hidden_size = hidden_states.shape
    assert hidden_size == HIDDEN_SIZE
    assert gate.shape == (batch_size, HIDDEN_SIZE)
    assert weight.shape == (HIDDEN_SIZE,)

    scale = weight.to(torch.float32)
    output = torch.empty_like(hidden_states)
    chunk = max(1, CHUNK_ELEMENTS // HIDDEN_SIZE)
    for first in range(0, batch_size, chunk):
        rows = slice(first, first + chunk)
        x = hidden_states[rows].to(torch.float32)
        # only: first: x = gated(x, gate[rows])
        # except: groups: x = rms_norm(x, (HIDDEN_SIZE,), scale, EPSILON)
        parts = x.view(-1, NUM_GROUPS, GROUP_SIZE)  # only: groups
        x = rms_norm(parts, (GROUP_SIZE,), eps=EPSILON).view(x.shape) * scale  # only: groups
        x = gated(x, gate[rows])  # except: first
        output[rows] = x
    return output
