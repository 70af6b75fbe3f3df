"""How often columns are drawn: against enumeration and torch.multinomial; the noise itself."""

import itertools

import pytest
import torch
from sktest.backends import device_of, is_simulated

import subkern
from subkern.reference.sample_without_replacement import noise, philox

OP = "sample_without_replacement"
DRAWS = 20000
WEIGHTS = {
    "even": [1.0, 1.0, 1.0, 1.0, 1.0],
    "uneven": [0.05, 1.0, 3.0, 0.4, 2.0],
    "one rare": [1e-3, 1.0, 1.0, 1.0],
    "with a zero": [2.0, 0.0, 1.0, 5.0, 0.5, 1.0],
}
# Random123's known answers of philox4x32 with ten rounds: counter, key, output.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def draw(weights, k, backend, **options):
    if is_simulated(backend):
        pytest.skip("too many draws for an emulator, whose samples equal the CPU's")
    rows = torch.tensor(weights, device=device_of(backend)).expand(DRAWS, len(weights))
    return subkern.sample_without_replacement(rows, k, backend=backend, **options).cpu()


def exact(weights, k):
    """Probability of each ordered sample."""
    found = {}
    for sample in itertools.permutations(range(len(weights)), k):
        left, p = sum(weights), 1.0
        for column in sample:
            p *= weights[column] / left
            left -= weights[column]
        if p > 0:
            found[sample] = p
    return found


def tail(observed, expected):
    """Probability of a chi-square as large as that of these counts."""
    counts, means = torch.tensor(observed).double(), torch.tensor(expected).double()
    small = means < 5
    if small.any():
        counts = torch.cat([counts[~small], counts[small].sum()[None]])
        means = torch.cat([means[~small], means[small].sum()[None]])
    statistic = ((counts - means) ** 2 / means).sum()
    return float(torch.special.gammaincc(torch.tensor((len(means) - 1) / 2.0), statistic / 2))


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("name", WEIGHTS)
def test_samples_against_enumeration(backend, name, k):
    """Sets, and sequences of unsorted samples: chi-square p > 1e-4."""
    weights = WEIGHTS[name]
    sequences = exact(weights, k)
    base = len(weights)
    powers = base ** torch.arange(k)

    def counts(idx, keys):
        seen = torch.bincount((idx * powers).sum(1), minlength=base**k)
        places = [sum(c * base**i for i, c in enumerate(key)) for key in keys]
        assert int(seen[places].sum()) == DRAWS, "an impossible sample was drawn"
        return seen[places].tolist()

    sets = {}
    for sample, p in sequences.items():
        sets[tuple(sorted(sample))] = sets.get(tuple(sorted(sample)), 0.0) + p
    drawn = draw(weights, k, backend, seed=11, offset=k, sorted=False)
    for idx, table in ((drawn.sort(1)[0], sets), (drawn, sequences)):
        expected = [DRAWS * p for p in table.values()]
        if len(expected) > 1:
            assert tail(counts(idx, table), expected) > 1e-4


@pytest.mark.parametrize("name", ["uneven", "one rare"])
def test_inclusion_within_four_standard_errors(backend, name):
    weights, k = WEIGHTS[name], 2
    idx = draw(weights, k, backend, seed=3)
    for column in range(len(weights)):
        p = sum(q for sample, q in exact(weights, k).items() if column in sample)
        share = float((idx == column).any(1).double().mean())
        assert abs(share - p) <= 4 * (p * (1 - p) / DRAWS) ** 0.5 + 1e-12, column


def test_inclusion_as_torch_multinomial(backend):
    n, k = 30, 10
    weights = torch.rand(n, generator=torch.Generator().manual_seed(0)).tolist()
    ours = draw(weights, k, backend, seed=4)
    generator = torch.Generator().manual_seed(1)
    theirs = torch.multinomial(torch.tensor(weights).expand(DRAWS, n), k, generator=generator)
    shares = [torch.bincount(idx.flatten(), minlength=n) / DRAWS for idx in (ours, theirs)]
    mean = (shares[0] + shares[1]) / 2
    bound = 4.5 * (2 * mean * (1 - mean) / DRAWS).sqrt()  # the largest of thirty
    assert ((shares[0] - shares[1]).abs() <= bound).all()


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_known_answers(counter, key, expected):
    words = philox([torch.tensor([c]) for c in counter], key)
    assert tuple(int(word) for word in words) == expected


def of(seed=1, offset=0, rows=1, columns=60000):
    return noise(rows, columns, seed, offset, torch.device("cpu")).double()


def test_noise_is_uniform_and_inside():
    v = of()[0]
    assert 0 < v.min() < 1e-4
    assert 1 - 1e-4 < v.max() <= 1 - 2**-24
    counts = torch.histc(v, 256, 0.0, 1.0)
    assert tail(counts.tolist(), [v.numel() / 256] * 256) > 1e-4


@pytest.mark.parametrize(
    "other",
    [dict(seed=2), dict(seed=1 + 2**32), dict(offset=1), dict(offset=2**32), dict(offset=2**63)],
    ids=str,
)
def test_noise_of_other_seeds_and_offsets_is_independent(other):
    one, two = of()[0], of(**other)[0]
    assert (one == two).sum() <= 2
    r = torch.corrcoef(torch.stack([one, two]))[0, 1]
    assert abs(float(r)) < 4.5 / one.numel() ** 0.5
    shifted = torch.corrcoef(torch.stack([one[:-1], two[1:]]))[0, 1]
    assert abs(float(shifted)) < 4.5 / one.numel() ** 0.5


def test_noise_of_rows_and_neighbours_is_independent():
    v = of(rows=4, columns=50000)
    r = torch.corrcoef(v) - torch.eye(4)
    assert r.abs().max() < 4.5 / v.shape[1] ** 0.5
    for lag in (1, 2, 16, 64):
        r = torch.corrcoef(torch.stack([v[0, :-lag], v[0, lag:]]))[0, 1]
        assert abs(float(r)) < 4.5 / v.shape[1] ** 0.5, lag
    assert torch.equal(v[:2], of(rows=2, columns=50000))
    assert torch.equal(v[:, :777], of(rows=4, columns=777))
