"""The feed-forward layers: what each kind computes, what it costs, and that no token is left out or treated by its place."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from model import counts
from model.checks import FFN_KINDS
from model.config import DecoderConfig
from model.ffn import LowRank, LowRankSwiGLU, build_ffn
from model.routed import RoutedLowRankSwiGLU, RouterStats, balance_loss, load_entropy, max_over_mean, z_loss
from model.ternary import TernaryLinear, packed_bytes, quantize_activations, ternary

D, FF, R, E = 16, 24, 8, 4
BASE = DecoderConfig(vocab_size=10, d_model=D, n_layer=1, n_head=2, d_ff=FF, ffn_rank=R, ffn_experts=E, ternary_group=8, gate_window=1)


def rand(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def seeded(module, seed=0):
    """The module with weights of unit-variance outputs, the same for the same seed."""
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(rand(*p.shape, seed=97 * seed + i) * p.shape[-1] ** -0.5 if p.dim() > 1 else rand(*p.shape, seed=i).abs())
    return module


def ffn(kind, **changes):
    return seeded(build_ffn(BASE.replace(ffn_kind=kind, **changes)))


def routed(top_k=1, **changes):
    return ffn("routed_lowrank_swiglu", ffn_top_k=top_k, **changes)


def expert(module, e, x):
    """What expert e of a routed FFN makes of every token."""
    a, b = ({name: getattr(module, f"{name}_{side}")[e].to(x.dtype) for name in ("gate", "up", "down")} for side in "ab")
    gate, up = (x @ b[name].T @ a[name].T for name in ("gate", "up"))
    return (F.silu(gate) * up) @ b["down"].T @ a["down"].T


# every kind


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(FFN_KINDS),
    d=st.sampled_from([8, 24]),
    f=st.sampled_from([16, 40]),
    rank=st.integers(1, 9),
    experts=st.integers(1, 5),
    sub_norm=st.booleans(),
)
def test_every_kind_has_as_many_parameters_as_its_closed_form(kind, d, f, rank, experts, sub_norm):
    shape = {"d_model": d, "d_ff": f, "ffn_rank": rank, "ffn_experts": experts, "ternary_sub_norm": sub_norm}
    config = BASE.replace(ffn_kind=kind, **shape)
    assert sum(p.numel() for p in build_ffn(config).parameters()) == counts.ffn(config)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("swiglu", {"gate.weight": (FF, D), "up.weight": (FF, D), "down.weight": (D, FF)}),
        ("relu2", {"up.weight": (FF, D), "down.weight": (D, FF)}),
        ("leakyrelu2", {"up.weight": (FF, D), "down.weight": (D, FF)}),
        ("ternary_swiglu", {"gate.weight": (FF, D), "up.weight": (FF, D), "down.weight": (D, FF), "sub_norm.weight": (FF,)}),
        (
            "lowrank_swiglu",
            {
                f"{m}.{side}.weight": s
                for m, a, b in (("gate", FF, D), ("up", FF, D), ("down", D, FF))
                for side, s in (("a", (a, R)), ("b", (R, b)))
            },
        ),
        (
            "routed_lowrank_swiglu",
            {"router.weight": (E, D)}
            | {
                f"{m}_{side}": s
                for m, a, b in (("gate", FF, D), ("up", FF, D), ("down", D, FF))
                for side, s in (("a", (E, a, R)), ("b", (E, R, b)))
            },
        ),
    ],
)
def test_the_state_has_these_names_and_shapes(kind, names):
    assert {name: tuple(p.shape) for name, p in ffn(kind).state_dict().items()} == names


@pytest.mark.parametrize("kind", FFN_KINDS)
def test_a_token_is_treated_alike_wherever_it_stands(kind):
    module, x = ffn(kind), rand(3, 7, D)
    together = module(x)
    assert together.shape == x.shape
    one_by_one = torch.stack([module(token) for token in x.view(-1, D)]).view_as(x)
    assert torch.allclose(together, one_by_one, atol=1e-5)


@pytest.mark.parametrize("kind", FFN_KINDS)
def test_bf16_in_is_bf16_out_with_fp32_weights_and_gradients(kind):
    module, x = ffn(kind), rand(64, D)
    y = module(x.bfloat16())
    y.float().square().sum().backward()
    assert y.dtype == torch.bfloat16
    assert {p.grad.dtype for p in module.parameters()} == {torch.float32}
    assert torch.linalg.norm(y.float() - module(x)) < 0.05 * torch.linalg.norm(module(x))


@pytest.mark.parametrize("kind", FFN_KINDS)
def test_a_layer_cast_to_bf16_for_inference_still_runs(kind):
    module, x = ffn(kind), rand(5, D)
    with torch.no_grad():
        exact = module(x)
        assert torch.linalg.norm(module.bfloat16()(x.bfloat16()).float() - exact) < 0.2 * torch.linalg.norm(exact)


@pytest.mark.parametrize(
    ("kind", "top_k"),
    [("swiglu", 1), ("relu2", 1), ("leakyrelu2", 1), ("lowrank_swiglu", 1), *(("routed_lowrank_swiglu", k) for k in (1, 2))],
)
def test_gradients_are_those_of_the_function(kind, top_k):
    module = ffn(kind, d_model=6, d_ff=5, ffn_rank=3, ffn_top_k=top_k).double()
    names = [name for name, _ in module.named_parameters()]

    def run(x, *weights):
        return functional_call(module, dict(zip(names, weights, strict=True)), x)

    inputs = (rand(9, 6, dtype=torch.float64), *(p.detach() for p in module.parameters()))
    assert torch.autograd.gradcheck(run, tuple(t.clone().requires_grad_() for t in inputs), fast_mode=True)


# plain kinds


def test_swiglu_is_its_equation():
    module, x = ffn("swiglu"), rand(5, D)
    gate, up = x @ module.gate.weight.T, x @ module.up.weight.T
    assert torch.allclose(module(x), (gate * torch.sigmoid(gate) * up) @ module.down.weight.T, atol=1e-5)


@pytest.mark.parametrize(("kind", "below_zero"), [("relu2", 0.0), ("leakyrelu2", 0.25)])
def test_the_squared_kinds_square_above_zero_and_less_below(kind, below_zero):
    module = ffn(kind, d_model=FF)
    with torch.no_grad():
        module.up.weight.copy_(torch.eye(FF))
        module.down.weight.copy_(torch.eye(FF))
    x = rand(50, FF)
    assert torch.allclose(module(x), torch.where(x > 0, 1.0, below_zero) * x.square())


@pytest.mark.parametrize("kind", ["relu2", "leakyrelu2"])
def test_the_squared_kinds_keep_two_hidden_tensors_for_the_gradient(kind):
    module, kept = ffn(kind), {}
    weights = {p.data_ptr() for p in module.parameters()}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = module(rand(100, D))
    assert sum(kept.values()) <= 100 * (D + 2 * FF) and y.requires_grad


# low rank


def test_a_low_rank_matrix_is_the_product_of_its_factors():
    module, x = seeded(LowRank(D, FF, R)), rand(6, D)
    product = module.a.weight @ module.b.weight
    assert torch.linalg.matrix_rank(product) == R
    assert torch.allclose(module(x), x @ product.T, atol=1e-5)


def test_at_full_rank_with_an_identity_for_a_factor_low_rank_is_swiglu():
    dense, module, x = ffn("swiglu"), ffn("lowrank_swiglu", ffn_rank=D), rand(6, D)
    with torch.no_grad():
        for name in ("gate", "up"):
            getattr(module, name).a.weight.copy_(getattr(dense, name).weight)
            getattr(module, name).b.weight.copy_(torch.eye(D))
        module.down.a.weight.copy_(torch.eye(D))
        module.down.b.weight.copy_(dense.down.weight)
    assert torch.allclose(module(x), dense(x), atol=1e-5)


# ternary


@settings(max_examples=40, deadline=None)
@given(
    n_out=st.integers(1, 6),
    groups=st.integers(1, 3),
    group=st.sampled_from([1, 4, 16]),
    whole=st.booleans(),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
)
def test_a_group_of_a_ternary_matrix_holds_plus_minus_its_mean_magnitude_and_zero(n_out, groups, group, whole, scale):
    weight = scale * rand(n_out, groups * group, seed=n_out + 7 * groups)
    found = ternary(weight, 0 if whole else group)
    for row, exact in zip(
        found.reshape(-1, weight.numel() if whole else group), weight.reshape(-1, weight.numel() if whole else group), strict=True
    ):
        assert len(row.unique()) <= 3
        alpha = exact.abs().mean()
        assert torch.allclose(row, alpha * (exact / alpha).round().clamp(-1, 1), rtol=1e-5)


def test_an_all_zero_group_stays_zero():
    assert torch.equal(ternary(torch.zeros(3, 8), 4), torch.zeros(3, 8))
    assert torch.equal(quantize_activations(torch.zeros(3, 8)), torch.zeros(3, 8))


@pytest.mark.parametrize("rounding", [lambda t: ternary(t, 4), lambda t: ternary(t, 0), quantize_activations])
def test_the_gradient_passes_rounding_as_if_it_were_the_identity(rounding):
    exact, direction = rand(5, 8).requires_grad_(), rand(5, 8, seed=1)
    (rounding(exact) * direction).sum().backward()
    assert torch.equal(exact.grad, direction)


def test_a_group_that_does_not_divide_the_inputs_is_refused():
    with pytest.raises(ValueError, match="group of 5 does not divide 8 inputs"):
        ternary(torch.zeros(2, 8), 5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20))
def test_an_activation_is_off_by_at_most_half_a_step_and_takes_few_values(values):
    x = torch.tensor(values)
    step = x.abs().max() / 127
    found = quantize_activations(x)
    assert (found - x).abs().max() <= step * 0.5001 + 1e-30
    assert torch.allclose(found, torch.round(found / step.clamp(min=torch.finfo().tiny)) * step, rtol=1e-4, atol=1e-30)


def test_a_ternary_layer_multiplies_with_the_rounded_matrix_and_trains_the_exact_one():
    layer, x = seeded(TernaryLinear(16, 8, 4, activations=True)), rand(3, 16)
    y = layer(x)
    assert torch.allclose(y, quantize_activations(x) @ ternary(layer.weight, 4).T, atol=1e-5)
    y.sum().backward()
    assert torch.allclose(layer.weight.grad, quantize_activations(x).sum(0).expand(8, -1), atol=1e-5)
    assert list(layer.state_dict()) == ["weight"]


@pytest.mark.parametrize(("activations", "sub_norm"), [(False, False), (True, True)])
def test_the_ternary_ffn_is_swiglu_of_rounded_matrices(activations, sub_norm):
    module, x = ffn("ternary_swiglu", ternary_activations=activations, ternary_sub_norm=sub_norm), rand(6, D)
    gate, up, down = (ternary(getattr(module, name).weight, 8) for name in ("gate", "up", "down"))
    rounded = quantize_activations if activations else lambda t: t
    hidden = F.silu(rounded(x) @ gate.T) * (rounded(x) @ up.T)
    if sub_norm:
        hidden = F.rms_norm(hidden, (FF,), module.sub_norm.weight, BASE.norm_eps)
    assert torch.allclose(module(x), rounded(hidden) @ down.T, atol=1e-4)


def test_a_packed_matrix_takes_five_trits_a_byte_and_two_bytes_a_group():
    assert packed_bytes((3, 128), 128) == 77 + 3 * 2
    assert packed_bytes((2, 5), 0) == 2 + 2
    assert packed_bytes((2944, 7680), 128) * 8 / (2944 * 7680) == pytest.approx(1.725)


# routed


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("top_k", [1, 2, 3, E])
def test_every_token_gets_the_weighted_sum_of_its_most_probable_experts(top_k, dtype):
    module, x = routed(top_k), rand(2, 31, D, dtype=dtype)
    expected = torch.zeros(62, D, dtype=dtype)
    for i, token in enumerate(x.view(-1, D)):
        p = (module.router.weight.to(dtype) @ token).softmax(0)
        best = p.topk(top_k).indices.tolist()
        total = 1.0 if top_k == 1 else p[best].sum()
        expected[i] = sum(p[e] / total * expert(module, e, token) for e in best)
    assert torch.allclose(module(x).view(-1, D), expected, atol=1e-5)


def same_experts(top_k):
    """A routed FFN whose experts are all alike, and the dense low-rank FFN that each of them is."""
    module, dense = routed(top_k), seeded(LowRankSwiGLU(D, FF, R), seed=5)
    with torch.no_grad():
        for name in ("gate", "up", "down"):
            for side in "ab":
                getattr(module, f"{name}_{side}").copy_(getattr(getattr(dense, name), side).weight.expand(E, -1, -1))
    return module, dense


@pytest.mark.parametrize("top_k", [2, E])
def test_identical_experts_equal_the_dense_low_rank_ffn(top_k):
    module, dense = same_experts(top_k)
    assert torch.allclose(module(rand(40, D)), dense(rand(40, D)), atol=1e-5)


def test_one_of_identical_experts_equals_the_dense_ffn_times_its_probability():
    module, dense = same_experts(1)
    x = rand(40, D)
    best = module.router(x).softmax(-1).amax(-1, keepdim=True)
    assert torch.allclose(module(x), best * dense(x), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_when_all_tokens_go_to_one_expert_it_serves_them_all(dtype):
    module, x = routed(), rand(90, D).abs().to(dtype)
    with torch.no_grad():
        module.router.weight.copy_(torch.tensor([-9.0, -9.0, 9.0, -9.0])[:, None].expand(E, D))
    y = module(x)
    assert torch.allclose(y.float(), expert(module, 2, x.float()), atol=1e-4 if dtype == torch.float32 else 0.1)
    assert module.stats.load.tolist() == [0, 0, 90, 0]
    y.float().square().sum().backward()
    assert all(not module.up_a.grad[e].any() for e in (0, 1, 3)) and module.up_a.grad[2].all()
    assert balance_loss([module.stats]).item() == pytest.approx(E)
    assert (load_entropy([module.stats]).item(), max_over_mean([module.stats]).item()) == (0.0, E)


def test_the_balance_loss_is_one_at_uniform_and_averages_over_layers():
    module = routed()
    with torch.no_grad():
        module.router.weight.zero_()
    module(rand(50, D))
    assert balance_loss([module.stats]).item() == pytest.approx(1)
    assert z_loss([module.stats]).item() == pytest.approx(math.log(E) ** 2)
    even = torch.full((E,), 1 / E)
    one = torch.tensor([1.0, 0, 0, 0])
    layers = [RouterStats(even, even, torch.tensor(1.0), 10 * even), RouterStats(one, one, torch.tensor(3.0), 10 * one)]
    assert balance_loss(layers).item() == pytest.approx((1 + E) / 2) and z_loss(layers).item() == 2
    assert load_entropy(layers[:1]).item() == pytest.approx(1) and max_over_mean(layers[:1]).item() == pytest.approx(1)


def test_the_balance_loss_moves_the_router_towards_balance():
    module = routed()
    x = rand(400, D) + module.router.weight[0].detach()  # every token leans to the first expert
    router, loads = module.router.weight, []
    for _ in range(30):
        module(x)
        loads.append(max_over_mean([module.stats]).item())
        (slope,) = torch.autograd.grad(balance_loss([module.stats]), router)
        with torch.no_grad():
            router -= 0.3 * slope
    assert loads[0] > 2 and loads[-1] < 1.2


@pytest.mark.parametrize("top_k", [1, 3])
def test_statistics_count_the_choices_of_this_forward_in_training_only(top_k):
    module, x = routed(top_k), rand(70, D)
    module(x)
    p = module.router(x).softmax(-1)
    assert torch.equal(module.stats.load, torch.bincount(p.topk(top_k).indices.flatten(), minlength=E))
    assert torch.allclose(module.stats.fraction, torch.bincount(p.argmax(-1), minlength=E) / 70)
    assert torch.allclose(module.stats.probability, p.mean(0), atol=1e-6)
    assert [t.requires_grad for t in module.stats] == [False, True, True, False]
    module.eval()(x)
    assert module.stats is None


@pytest.mark.parametrize("top_k", [1, 2])
def test_permuting_tokens_permutes_what_comes_out(top_k):
    module, x = routed(top_k), rand(60, D)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(module(x)[order], module(x[order]), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_tokens_give_the_same_bits_and_the_same_gradients(dtype):
    runs = []
    for _ in range(2):
        module, x = routed(2), rand(300, D, dtype=dtype).requires_grad_()
        y = module(x)
        (y.float().square().sum() + balance_loss([module.stats])).backward()
        runs.append([y, x.grad, *(p.grad for p in module.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_recomputing_the_layer_changes_no_gradient():
    grads = []
    for recompute in (False, True):
        module, x = routed(2), rand(30, D).requires_grad_()
        y = checkpoint(module, x, use_reentrant=False) if recompute else module(x)
        (y.square().sum() + balance_loss([module.stats]) + z_loss([module.stats])).backward()
        grads.append([x.grad, *(p.grad for p in module.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_no_wide_copy_of_the_tokens_is_kept_for_the_router():
    module, kept = routed(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append((t.dtype, tuple(t.shape))) or t, lambda t: t):
        module(rand(33, D, dtype=torch.bfloat16))
    assert (torch.bfloat16, (33, D)) in kept and (torch.float32, (33, D)) not in kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_layer_is_one_graph_that_serves_every_split_of_the_tokens(dtype):
    torch._dynamo.reset()
    module = routed(2)
    compiled = torch.compile(module, backend="aot_eager", dynamic=False, fullgraph=True)
    loads = set()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed in range(2):
            x = rand(2, 21, D, seed=seed, dtype=dtype)
            compiled(x).float().square().sum().add(balance_loss([module.stats])).backward()
            found = [p.grad.clone() for p in module.parameters()]
            module.zero_grad()
            module(x).float().square().sum().add(balance_loss([module.stats])).backward()
            loads.add(tuple(module.stats.load.tolist()))
            assert all(torch.allclose(a, p.grad, atol=1e-5) for a, p in zip(found, module.parameters(), strict=True))
            module.zero_grad()
    assert len(loads) == 2


def test_a_routed_layer_can_be_copied_after_a_step():
    module = routed()
    module(rand(5, D))
    twin = copy.deepcopy(module)
    assert isinstance(twin, RoutedLowRankSwiGLU) and twin.stats is None and module.stats is not None
    assert torch.equal(twin(rand(5, D)), module(rand(5, D)))
