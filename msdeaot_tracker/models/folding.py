"""Parts of the network as they are run when nothing is learned.

Batch norms are part of the convolutions before them, and weights are in the precision that is computed in.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .depthwise import DepthwiseConv2d
from .frozen import FrozenBatchNorm

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
_BOUNDS = {nn.Identity: ("none", []), nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}  # in oneDNN's words


class _Made(NamedTuple):
    tensors: list[dict]  # parameters and buffers, by module
    children: list[dict]  # likewise
    hooks: list[dict]
    mark: tuple
    inner: list[nn.Module]  # all there were, the whole one first: while they live no other has their addresses
    folded: nn.Module


class Folded:
    """Makes the folded copy of a module, once for each precision, and again when a weight or a part has changed.

    What is written through `.data` is noticed only where the weight is shared: not in half precision.
    """

    def __init__(self):
        self._made: dict[torch.dtype | None, _Made] = {}

    def __reduce__(self):
        return Folded, ()  # of a copied or stored model it is made anew

    def of(self, module: nn.Module, half: torch.dtype | None) -> nn.Module:
        """half: the precision of convolutions and linear maps; None: that of the weights.

        The module itself while one in it has a hook, which is to be called, and while torch writes down what is
        computed (torch.export, torch.compile): weights have no addresses then.
        """
        if torch.compiler.is_compiling():
            return module
        made = self._made.get(half)
        if made is None or made.inner[0] is not module or made.mark != _mark(made.tensors, made.children):
            inner = list(module.modules())
            tensors = [each for one in inner for each in (one._parameters, one._buffers) if each]
            hooks = [each for one in inner for each in (one._forward_hooks, one._forward_pre_hooks)]
            children = [one._modules for one in inner if one._modules]
            mark = _mark(tensors, children)
            made = self._made[half] = _Made(tensors, children, hooks, mark, inner, fold_batch_norms(module, half))
        return module if any(made.hooks) else made.folded


def fold_batch_norms(network: nn.Module, half: torch.dtype | None = None) -> nn.Module:
    """A copy for inference, which shares all that is not changed.

    A norm that follows a convolution in the order of their module's children must follow it in what that computes too;
    so must a ReLU that follows both in a container.
    """
    shared = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    copied = copy.deepcopy(network, shared)
    for module in list(copied.modules()):
        in_order = isinstance(module, nn.Sequential | nn.ModuleDict)
        children = [*module.named_children(), ("", None), ("", None)]
        for index, (name, child) in enumerate(children[:-2]):
            (norm_name, norm), (act_name, act) = children[index + 1 : index + 3]
            if type(child) in (nn.Conv2d, DepthwiseConv2d) and _is_constant_norm(norm):
                setattr(module, name, folded := FoldedConvolution(child, norm, half))
                setattr(module, norm_name, nn.Identity())
                if in_order and type(act) is nn.ReLU and type(folded.act) is nn.Identity:
                    folded.activate(act)
                    setattr(module, act_name, nn.Identity())
            elif type(child) is nn.Conv2d and child.kernel_size == (1, 1) and half is None:
                setattr(module, name, FoldedConvolution(child, None, None))  # of these torch has a slow way
    for module in copied.modules():
        if half is not None and isinstance(module, nn.Conv2d | nn.Linear):
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(parameter.to(half), requires_grad=False))
    return copied


class FoldedConvolution(nn.Module):
    """A convolution, the batch norm after it, if there is one, and that one's activation."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d | FrozenBatchNorm | None, half: torch.dtype | None):
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        if norm is not None:
            statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            with torch.no_grad():
                fused = fuse_conv_bn_weights(self.weight, self.bias, *statistics)
                self.weight, self.bias = (nn.Parameter(part.detach().to(half or part.dtype), False) for part in fused)
        self.geometry = convolution.padding, convolution.stride, convolution.dilation, convolution.groups
        self.activate(getattr(norm, "act", nn.Identity()))

    def activate(self, act: nn.Module) -> None:
        """With this activation instead of the one that it has."""
        self.act, self.bound = act, _BOUNDS.get(type(act))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        if self.bound and self._by_onednn(x):
            name, limits = self.bound
            return torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self.geometry, name, limits, "")
        padding, stride, dilation, groups = self.geometry
        return self.act(F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups))

    def rectified(self, x: Tensor, more: Tensor | None = None) -> Tensor:
        """ReLU of the convolution and `more`, which may be written on; for one that has no activation."""
        x = x.to(self.weight.dtype)
        if not self._by_onednn(x):
            return F.relu(self(x) if more is None else self(x) + more)
        weights = self.weight, self.bias, *self.geometry
        if more is None:
            return torch.ops.mkldnn._convolution_pointwise(x, *weights, "relu", [], "")
        more = more.to(self.weight.dtype)
        return torch.ops.mkldnn._convolution_pointwise_.binary(more, x, *weights, "add", None, "relu", [], "")

    def _by_onednn(self, x: Tensor) -> bool:
        return _ONEDNN and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)


def _is_constant_norm(module: nn.Module) -> bool:
    return isinstance(module, FrozenBatchNorm) or (isinstance(module, nn.BatchNorm2d) and not module.training)


def _mark(tensors: list[dict], children: list[dict]) -> tuple[list, ...]:
    """What changes when one of these does."""
    every = [tensor for each in tensors for tensor in each.values() if tensor is not None]
    try:
        versions = [tensor._version for tensor in every]
    except RuntimeError:  # those made in inference have none
        versions = [0 if tensor.is_inference() else tensor._version for tensor in every]
    parts = [id(child) for each in children for child in each.values()]
    return [tensor.data_ptr() for tensor in every], versions, parts
