"""Numbers in emulated kernels: bfloat16 conversions and intrinsics."""

from __future__ import annotations

import math

import torch


def narrow(probes, x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(x.numel(), dtype=torch.int16)
    probes("to_bf16", x, out, x.numel())
    return out


def test_every_bfloat16_widens(probes):
    words = torch.arange(-(2**15), 2**15).to(torch.int16)
    out = torch.zeros(words.numel())
    probes("from_bf16", words, out, words.numel())
    expected = words.view(torch.bfloat16).to(torch.float32)
    assert torch.equal(out.view(torch.int32), expected.view(torch.int32))


def test_every_bfloat16_survives_the_way_back(probes):
    words = torch.arange(-(2**15), 2**15).to(torch.int16)
    back = narrow(probes, words.view(torch.bfloat16).to(torch.float32))
    nan = words.view(torch.bfloat16).isnan()
    assert torch.equal(back[~nan], words[~nan])
    assert back[nan].view(torch.bfloat16).isnan().all()


def test_rounding_to_bfloat16(probes):
    """All 65536 upper halves, with lower halves below, at and above the tie."""
    upper = torch.arange(-(2**31), 2**31, 2**16)
    lower = torch.tensor([0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
    words = (upper[:, None] + lower).flatten().to(torch.int32)
    random = torch.randint(-(2**31), 2**31, (100_000,), generator=torch.Generator().manual_seed(0))
    x = torch.cat([words, random.to(torch.int32)]).view(torch.float32)
    out = narrow(probes, x)
    expected = x.to(torch.bfloat16).view(torch.int16)
    nan = x.isnan()
    assert torch.equal(out[~nan], expected[~nan])
    assert out[nan].view(torch.bfloat16).isnan().all()


def test_named_values_to_bfloat16(probes):
    largest = torch.finfo(torch.float32).max  # rounds up to infinity
    cases = {1.0: 1.0, -0.0: -0.0, 1 + 2**-8: 1.0, 1 + 3 * 2**-8: 1 + 2**-6}
    cases |= {math.inf: math.inf, -math.inf: -math.inf, largest: math.inf, 2.0**-149: 0.0}
    out = narrow(probes, torch.tensor(list(cases))).view(torch.bfloat16).to(torch.float32)
    expected = torch.tensor(list(cases.values()))
    assert torch.equal(out.view(torch.int32), expected.view(torch.int32))


def test_intrinsics(probes):
    x = torch.tensor([0.25, 0.7, 1.0, 2.5, 3e4, 1e-30])
    out = torch.zeros(len(x), 8)
    probes("intrinsics", x, out, len(x))
    wide = x.double()
    fused = wide * wide - 1  # exact in float64 where float32 products are
    expected = torch.stack([wide.rsqrt(), fused, torch.expm1(-wide), 1 / wide, -wide], dim=1)
    torch.testing.assert_close(out[:, :5].double(), expected, rtol=2**-22, atol=0)
    for value, row in zip(x, out.tolist(), strict=True):
        bits = value.view(torch.int32).item()
        ones, zeros = bin(bits).count("1"), 32 - bits.bit_length()
        largest = max(value.item(), 1.0) + max(int(value), 2) + min(value.item(), 3.0)
        assert row[5:7] == [ones, zeros]
        assert row[7] == torch.tensor(largest, dtype=torch.float32).item()
