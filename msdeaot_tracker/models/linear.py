"""Linear maps, which have ways of their own on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# torch's other way, MKL, does not use AVX-512 on AMD's processors.
_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and "AVX512" in torch.backends.cpu.get_cpu_capability()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
_HALF = _ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported()
_FAR = 4096  # tokens from which on sums over them are faster by MKL


class Linear(nn.Linear):
    """In inference in float32 on a CPU with AVX-512 by oneDNN, as in bfloat16: the same sums, faster."""

    def forward(self, x: Tensor) -> Tensor:
        found = _mapped(self, x, "none")
        return super().forward(x) if found is None else found

    @classmethod
    def take(cls, other: nn.Linear) -> Linear:
        """One with the parameters of another."""
        linear = cls(other.in_features, other.out_features, bias=other.bias is not None)
        linear.weight, linear.bias = other.weight, other.bias
        return linear


def silu(linear: nn.Module, x: Tensor) -> Tensor:
    """SiLU of a linear map of x; of a `Linear` without hooks, where it goes by oneDNN, in one pass."""
    plain = type(linear) is Linear and not (linear._forward_hooks or linear._forward_pre_hooks)
    found = _mapped(linear, x, "swish") if plain else None
    return F.silu(linear(x)) if found is None else found


def _mapped(linear: Linear, x: Tensor, activation: str) -> Tensor | None:
    """By oneDNN; None: it does not go that way."""
    weight = linear.weight
    if weight.dtype == torch.bfloat16:
        x = x.to(torch.bfloat16)  # as autocast would
    if not _by_onednn(x, weight):
        return None
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, linear.bias, activation, [], "")


def similarity(query: Tensor, key: Tensor) -> Tensor:
    """Products of all pairs, [B, N, C] and [B, M, C] -> [B, N, M]; one batch's on such a CPU by oneDNN as well."""
    if len(query) == 1 and _by_onednn(query, key):
        return torch.ops.mkldnn._linear_pointwise(query, key[0], None, "none", [], "")
    return query @ key.transpose(1, 2)


def weighted(weights: Tensor, value: Tensor) -> Tensor:
    """Sums over all tokens, [B, N, M] and [B, M, C] -> [B, N, C]; in float32, of not too many, likewise."""
    if len(weights) == 1 and value.dtype == torch.float32 and value.shape[1] < _FAR and _by_onednn(weights, value):
        return torch.ops.mkldnn._linear_pointwise(weights, value[0].T, None, "none", [], "")
    return weights @ value


def _by_onednn(x: Tensor, weight: Tensor) -> bool:
    able = {torch.float32: _ONEDNN and not torch.is_autocast_enabled("cpu"), torch.bfloat16: _HALF}
    inference = not (torch.is_grad_enabled() or torch.compiler.is_compiling())  # a graph has no constants to prepare
    return x.device.type == "cpu" and x.dtype == weight.dtype and inference and able.get(x.dtype, False)
