"""Results of operations on "meta" tensors, by rules of a line each.

For most operations torch itself would run Python that takes up to a millisecond, and import its compiler, which takes a
second. A network has thousands of operations, and nobody should wait for a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, reduce
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def run_on_meta(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of an operation: by a rule where there is one and the tensors are on "meta", else by running it."""
    rule = _find_rule(func)
    if rule is None:
        return func(*args, **kwargs)
    first = args[0][0] if isinstance(args[0], (list, tuple)) else args[0]
    on_meta = first.is_meta if isinstance(first, Tensor) else str(kwargs.get("device")) == "meta"
    return (rule if on_meta else func)(*args, **kwargs)


@cache
def _find_rule(func: Any) -> Callable[..., Any] | None:
    if func._schema.name.endswith("_") and torch.Tag.inplace_view not in func.tags:
        return lambda x, *_, **__: x
    if func._overloadname == "out":
        return lambda *_, out, **__: out
    if torch.Tag.pointwise in func.tags and func.overloadpacket not in _COMPARISONS:
        return _pointwise
    return _SHAPES.get(func)


def _empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _empty_like(x: Tensor, *, dtype: Any = None, memory_format: Any = None, **_: Any) -> Tensor:
    if x.is_contiguous() or memory_format not in (None, torch.preserve_format):
        return torch.empty(x.shape, dtype=dtype or x.dtype, device="meta", memory_format=_dense(memory_format))
    order = sorted(range(x.ndim), key=x.stride, reverse=True)
    return torch.empty_permuted(x.shape, order, dtype=dtype or x.dtype, device="meta")


def _dense(memory_format: torch.memory_format | None) -> torch.memory_format:
    return torch.channels_last if memory_format == torch.channels_last else torch.contiguous_format


def _pointwise(*args: Any, memory_format: torch.memory_format | None = None, **_: Any) -> Tensor:
    tensors = [x for x in args if isinstance(x, Tensor)]
    like = max(tensors, key=Tensor.numel)
    sizes = zip_longest(*(reversed(x.shape) for x in tensors), fillvalue=1)
    shape = torch.Size([max(size) if all(size) else 0 for size in sizes][::-1])
    dtype = reduce(torch.promote_types, (x.dtype for x in tensors if x.ndim or not like.ndim))
    return _empty_like(like, dtype=dtype, memory_format=memory_format) if shape == like.shape else _empty(shape, dtype)


def _group_norm(x: Tensor, weight: Any, bias: Any, n: int, c: int, pixels: int, groups: int, eps: float) -> Any:
    return _empty(x.shape, x.dtype), _empty((n, groups), x.dtype), _empty((n, groups), x.dtype)


def _layer_norm(x: Tensor, shape: Any, *_: Any) -> Any:
    moments = (*x.shape[: -len(shape)], *[1] * len(shape))
    return _empty(x.shape, x.dtype), _empty(moments, x.dtype), _empty(moments, x.dtype)


def _product(a: Tensor, b: Tensor) -> Tensor:
    return _empty((*a.shape[:-1], b.shape[-1]), a.dtype)


def _fused_attention(q: Tensor, *_: Any) -> Any:
    """The result, the log-sum-exp of each query, and the state of a random generator."""
    return _empty_like(q), _empty(q.shape[:-1], torch.float32), _empty((), torch.int64), _empty((), torch.int64)


def _convolution(
    x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, *_: Any
) -> Tensor:
    assert not transposed, "no network here has a transposed convolution"
    axes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    size = [(side + 2 * pad - apart * (taps - 1) - 1) // step + 1 for side, taps, step, pad, apart in axes]
    return _empty((len(x), len(weight), *size), x.dtype)


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(tensors[0].shape)
    shape[dim] = sum(x.shape[dim] for x in tensors)
    return _empty(shape, tensors[0].dtype)


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(tensors[0].shape)
    shape.insert(dim if dim >= 0 else len(shape) + 1 + dim, len(tensors))
    return _empty(shape, tensors[0].dtype)


def _reduced(x: Tensor, dim: Sequence[int] | None = None, keepdim: bool = False, **_: Any) -> Tensor:
    gone = {axis % x.ndim for axis in (range(x.ndim) if dim is None else dim)}
    sizes = ((1 if axis in gone else side) for axis, side in enumerate(x.shape) if keepdim or axis not in gone)
    return _empty(tuple(sizes), x.dtype)


_COMPARISONS = {aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge}
_SHAPES: dict[Any, Callable[..., Any]] = {
    aten._scaled_dot_product_efficient_attention.default: _fused_attention,
    aten.addmm.default: lambda _, a, b: _product(a, b),
    aten.arange.default: lambda end, *, dtype=None, **_: _empty((end,), dtype or torch.int64),
    aten.baddbmm.default: lambda _, a, b: _product(a, b),
    aten.bmm.default: _product,
    aten.cat.default: _cat,
    aten.convolution.default: _convolution,
    aten.empty_like.default: _empty_like,
    aten.mm.default: _product,
    aten.native_group_norm.default: _group_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.new_empty.default: lambda x, size, *, dtype=None, **_: _empty(size, dtype or x.dtype),
    aten.stack.default: _stack,
    aten.sum.default: _reduced,
    aten.sum.dim_IntList: _reduced,
    aten.upsample_nearest2d.default: lambda x, size, *_: _empty((*x.shape[:2], *size), x.dtype),
    aten.var_mean.correction: lambda *args, **kwargs: (_reduced(*args, **kwargs), _reduced(*args, **kwargs)),
}
