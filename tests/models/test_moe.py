"""The mixture of nested experts against its definition, written out slowly."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from derain.models.blocks import nested_ranks
from derain.models.moe import AttentionExperts, ConvExperts, Gates, NestedMixture, hard_gates, soft_gates


def test_ranks_halve_from_half_the_channels() -> None:
    assert nested_ranks(48, 4) == (24, 12, 6, 3)
    with pytest.raises(ValueError, match="divisible by 32"):
        nested_ranks(48, 5)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_hard_gates_keep_the_largest_soft_gates_as_they_are(experts: int, top_k: int, seed: int) -> None:
    logits = torch.randn(3, experts, generator=torch.Generator().manual_seed(seed))
    soft, hard = soft_gates(logits), hard_gates(logits, top_k)
    for row in range(3):
        kept = sorted(range(experts), key=lambda i: -float(soft[row, i]))[:top_k]
        for i in range(experts):
            assert hard[row, i] == (soft[row, i] if i in kept else 0)


def test_gates_are_the_softmax_of_a_linear_map_of_the_mean_colour() -> None:
    mixture = NestedMixture(16, 3, "soft", 2, 0.0, "dense").double()
    x = torch.randn(2, 16, 5, 7, dtype=torch.float64)
    used = Gates()
    mixture(x, used)
    for b in range(2):
        mean = [float(x[b, c].mean()) for c in range(16)]
        logits = mixture.router.linear.weight.double() @ torch.tensor(mean, dtype=torch.float64)
        logits = logits + mixture.router.linear.bias
        torch.testing.assert_close(used.used[0][b].double(), logits.softmax(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [AttentionExperts, ConvExperts])
def test_a_mixture_is_the_projected_sum_of_gated_experts(kind: type) -> None:
    torch.manual_seed(3)
    mixture = NestedMixture(16, 3, "hard", 2, 0.0, "folded", kind).double().eval()
    x = torch.randn(4, 16, 8, 8, dtype=torch.float64)
    used = Gates()
    got = mixture(x, used)
    expected = torch.zeros_like(x)
    for b in range(4):
        for i, tail in enumerate(mixture.experts.tails()):
            features = mixture.experts.features(i, x[b : b + 1])[0]
            gate = used.used[0][b, i].double()
            expected[b] += gate * torch.einsum("cr,rhw->chw", tail, features)
    expected = torch.einsum("dc,bchw->bdhw", mixture.project.weight[:, :, 0, 0], expected)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-8)


def test_transposed_attention_equals_normalising_first() -> None:
    torch.manual_seed(4)
    attention = AttentionExperts(16, (8,)).attention[0].double()
    x = torch.randn(2, 8, 6, 5, dtype=torch.float64)
    q, k, v = attention.depthwise(attention.qkv(x)).flatten(2).chunk(3, dim=1)
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(1, 2) * attention.temperature[0]
    expected = (scores.softmax(-1) @ v).reshape(2, 8, 6, 5)
    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-12)


def test_noise_on_the_pooled_features_spreads_the_gates() -> None:
    mixture = NestedMixture(16, 3, "soft", 2, 0.5, "dense").train()
    x = torch.randn(1, 16, 8, 8)
    draws = torch.cat([mixture.router(x).detach() for _ in range(64)])
    assert float(draws.std(dim=0).min()) > 1e-3
