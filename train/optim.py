"""Muon for the matrices of the blocks, AdamW for tables and gains: one optimizer, groups decided by role.

Muon moves a matrix by the orthogonalised momentum of its gradient, so every direction learns at the same speed. The
orthogonalisation is Polar Express (arXiv 2505.16932), batched over matrices of equal shape, on the smaller Gram side,
scaled by sqrt(max(1, rows/cols)): the learning rate carries over between widths. Written with tensor operations only;
the state is named by parameter, so it goes to disk as plain tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """[..., n, m] -> the same singular vectors with singular values in [0.86, 1.14] (five steps, values above 0.003 of the norm)."""
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (1.02 * x.norm(dim=(-2, -1), keepdim=True) + 1e-6)
    for step in range(steps):
        a, b, c = POLAR_EXPRESS[min(step, len(POLAR_EXPRESS) - 1)]
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x.mT if tall else x).to(matrices.dtype)


@dataclass
class Group:
    """Parameters of one role with one rule. `lr` is the peak; the schedule multiplies it."""

    role: str
    rule: str  # 'muon' or 'adamw'
    lr: float
    decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-10
    polar_steps: int = 5
    names: list[str] = field(default_factory=list)
    params: list[nn.Parameter] = field(default_factory=list)


class Optimizer:
    """Steps all groups. `state` maps 'kind.parameter name' to a tensor; `updates` counts the steps taken."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        self.updates = 0
        self.state: dict[str, Tensor] = {}
        for group in groups:
            for kind in ("momentum",) if group.rule == "muon" else ("mean", "square"):
                self.state |= {f"{kind}.{name}": torch.zeros_like(p) for name, p in zip(group.names, group.params, strict=True)}

    def zero_grad(self) -> None:
        for group in self.groups:
            for p in group.params:
                p.grad = None

    @torch.no_grad()
    def step(self, scale: float = 1.0, momentum: float = 0.95) -> None:
        """One update at `scale` times the peak learning rates; `momentum` is Muon's."""
        self.updates += 1
        for group in self.groups:
            if group.rule == "muon":
                self._muon(group, scale * group.lr, momentum)
            else:
                self._adamw(group, scale * group.lr)

    def _muon(self, group: Group, lr: float, momentum: float) -> None:
        shapes: dict[tuple[int, ...], list[tuple[str, nn.Parameter]]] = {}
        for name, p in zip(group.names, group.params, strict=True):
            if p.grad is not None:  # a head that this run does not train has none
                shapes.setdefault(tuple(p.shape), []).append((name, p))
        for shape, members in shapes.items():
            rows, cols = shape[-2:]
            moving = [self.state[f"momentum.{name}"] for name, _ in members]
            grads = [p.grad for _, p in members]
            torch._foreach_lerp_(moving, grads, 1 - momentum)
            nesterov = torch.stack(torch._foreach_lerp(grads, moving, momentum))
            update = orthogonalize(nesterov, group.polar_steps)
            params = [p for _, p in members]
            if group.decay:
                torch._foreach_mul_(params, 1 - lr * group.decay)
            torch._foreach_add_(params, list(update.unbind()), alpha=-lr * max(1.0, rows / cols) ** 0.5)

    def _adamw(self, group: Group, lr: float) -> None:
        (beta1, beta2), t = group.betas, self.updates
        for name, p in zip(group.names, group.params, strict=True):
            if p.grad is None:
                continue
            mean, square = self.state[f"mean.{name}"], self.state[f"square.{name}"]
            p.mul_(1 - lr * group.decay)
            mean.lerp_(p.grad, 1 - beta1)
            square.mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
            p.addcdiv_(mean, (square / (1 - beta2**t)).sqrt_().add_(group.eps), value=-lr / (1 - beta1**t))


def clip_(params: list[nn.Parameter], limit: float) -> float:
    """Scale the gradients to a global L2 norm of at most `limit` (0: leave them); returns the norm before."""
    grads = [p.grad for p in params if p.grad is not None]
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))))
    if limit and norm > limit:
        torch._foreach_mul_(grads, limit / (norm + 1e-6))
    return norm


def build_optimizer(model: nn.Module, groups: list[Group]) -> Optimizer:
    """Fill the groups by role (`model.roles()`). ValueError unless every parameter is in exactly one group."""
    roles = model.roles()  # type: ignore[operator]
    params = dict(model.named_parameters())
    if set(roles) != set(params):
        raise ValueError("every parameter needs exactly one role")
    for group in groups:
        group.names = [name for name, role in roles.items() if role == group.role]
        group.params = [params[name] for name in group.names]
    groups = [g for g in groups if g.params]
    covered = [name for g in groups for name in g.names]
    if sorted(covered) != sorted(params):
        raise ValueError(f"the groups cover {len(covered)} parameters, the model has {len(params)}: each role needs exactly one group")
    return Optimizer(groups)
