"""The CRF against the enumeration of all paths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nlp_app.nn import LinearChainCRF
from nlp_app.nn.crf.lattice import LogLattice, RowLattice, ScaledLattice
from nlp_app.numerics.segments import Segments

pytestmark = pytest.mark.numeric

Path = tuple[int, ...]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_crf(num_tags: int, spread: float = 1.0, allowed: Tensor | None = None) -> LinearChainCRF:
    crf = LinearChainCRF(num_tags, allowed)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.uniform_(-spread, spread)
    return crf


def make_mask(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def all_paths(crf: LinearChainCRF, emissions: Tensor, allowed_tags: Tensor | None = None) -> dict[Path, float]:
    """Score of every permitted path of one row (L, T), in plain Python floats."""
    scores, allowed, size = emissions.double().tolist(), crf.allowed.tolist(), crf.num_tags
    transitions, start, end = crf.transitions.tolist(), crf.start.tolist(), crf.end.tolist()
    result = {}
    for path in itertools.product(range(size), repeat=len(scores)):
        steps = [size, *path, size + 1]
        if not all(allowed[i][j] for i, j in itertools.pairwise(steps)):
            continue
        if allowed_tags is not None and not all(bool(allowed_tags[t, tag]) for t, tag in enumerate(path)):
            continue
        result[path] = (
            start[path[0]]
            + sum(scores[t][tag] for t, tag in enumerate(path))
            + sum(transitions[i][j] for i, j in itertools.pairwise(path))
            + end[path[-1]]
        )
    return result


def log_sum_exp(scores: list[float]) -> float:
    if not scores:
        return -math.inf
    top = max(scores)
    return top + math.log(math.fsum(math.exp(score - top) for score in scores))


def best(paths: dict[Path, float]) -> Path:
    """The highest; of equals the one with the lowest tag at the last position where they differ."""
    top = max(paths.values())
    return min((path for path, score in paths.items() if score == top), key=lambda path: path[::-1])


@st.composite
def problems(draw: st.DrawFn) -> tuple[LinearChainCRF, Tensor, Tensor, list[int]]:
    torch.manual_seed(draw(st.integers(0, 2**31)))
    size = draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    spread = draw(st.sampled_from([0.0, 1.0, 50.0, 1e4]))
    allowed = None
    if draw(st.booleans()):
        allowed = torch.rand(size + 2, size + 2) < draw(st.sampled_from([0.5, 0.8]))
    crf = make_crf(size, draw(st.sampled_from([0.0, 1.0, 50.0, 1e4])), allowed)
    emissions = torch.empty(len(lengths), max(lengths), size).uniform_(-spread, spread)
    mask = make_mask(lengths)
    emissions[~mask] = draw(st.sampled_from([0.0, math.nan, math.inf, 1e30]))
    return crf, emissions, mask, lengths


def close(value: float, expected: float) -> bool:
    return value == expected or abs(value - expected) <= 1e-9 * max(1.0, abs(expected))


@settings(deadline=None, max_examples=150)
@given(problems())
def test_partition_marginals_and_best_paths_equal_enumeration(
    problem: tuple[LinearChainCRF, Tensor, Tensor, list[int]],
) -> None:
    crf, emissions, mask, lengths = problem
    rows = [all_paths(crf, emissions[row, :length]) for row, length in enumerate(lengths)]
    lattice = crf.lattice(emissions, mask)
    marginals = lattice.marginals()
    assert not marginals.isnan().any()
    for row, (paths, length) in enumerate(zip(rows, lengths, strict=True)):
        log_z = log_sum_exp(list(paths.values()))
        assert close(lattice.log_partition[row].item(), log_z)
        alone = crf.lattice(emissions[row : row + 1], mask[row : row + 1])
        assert close(alone.log_partition.item(), log_z)
        expected = torch.zeros(emissions.shape[1:], dtype=torch.float64)
        for path, score in paths.items():
            expected[range(length), path] += math.exp(score - log_z)
        torch.testing.assert_close(marginals[row], expected, rtol=0, atol=1e-7)
    if all(rows):
        expected_paths = [list(best(paths)) for paths in rows]
        assert crf.decode(emissions, mask) == expected_paths
        of_each = [crf.decode(emissions[row : row + 1], mask[row : row + 1]) for row in range(len(rows))]
        assert [path for (path,) in of_each] == expected_paths
    else:
        with pytest.raises(ValueError, match="no permitted path"):
            crf.decode(emissions, mask)


@settings(deadline=None, max_examples=60)
@given(problems(), st.integers(1, 12))
def test_n_best_equals_enumeration(problem: tuple[LinearChainCRF, Tensor, Tensor, list[int]], n: int) -> None:
    crf, emissions, mask, lengths = problem
    rows = [all_paths(crf, emissions[row, :length]) for row, length in enumerate(lengths)]
    if not all(rows):
        with pytest.raises(ValueError, match="no permitted path"):
            crf.n_best(emissions, mask, n)
        return
    found = crf.n_best(emissions, mask, n)
    assert [row[0][0] for row in found] == crf.decode(emissions, mask)
    for paths, hypotheses in zip(rows, found, strict=True):
        log_z = log_sum_exp(list(paths.values()))
        assert len({tuple(path) for path, _ in hypotheses}) == len(hypotheses) == min(n, len(paths))
        ranked = sorted(paths.values(), reverse=True)[:n]
        for (path, log_probability), score in zip(hypotheses, ranked, strict=True):
            assert close(log_probability, score - log_z)
            assert close(log_probability, paths[tuple(path)] - log_z)


def sum_of(paths: dict[Path, float], event: list[Path]) -> float:
    return log_sum_exp([paths[path] for path in event]) - log_sum_exp(list(paths.values()))


@settings(deadline=None, max_examples=150)
@given(problems(), st.data())
def test_segment_posteriors_equal_enumeration(
    problem: tuple[LinearChainCRF, Tensor, Tensor, list[int]], data: st.DataObject
) -> None:
    crf, emissions, mask, lengths = problem
    rows = [all_paths(crf, emissions[row, :length]) for row, length in enumerate(lengths)]
    if not all(rows):
        return
    size, count, width = crf.num_tags, data.draw(st.integers(0, 6)), 3
    random = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    chosen = random.integers(len(lengths), size=count)
    limits = np.array(lengths)[chosen]
    spans = np.minimum(random.integers(1, width + 1, count), limits)
    starts = random.integers(limits - spans + 1)
    tags = random.integers(size, size=(count, width))
    tags[np.arange(width) >= spans[:, None]] = -100
    sides = [random.random((count, size + 1)) < 0.6 if data.draw(st.booleans()) else None for _ in range(2)]
    segments = Segments(chosen, starts, tags, spans, *sides)
    found = crf.segment_log_probability(emissions, mask, segments).tolist()
    assert len(found) == count
    for row in range(len(lengths)):
        here = chosen == row
        before, after = (None if side is None else side[here] for side in sides)
        alone = Segments(np.zeros(here.sum(), np.int64), starts[here], tags[here], spans[here], before, after)
        again = crf.segment_log_probability(emissions[row : row + 1], mask[row : row + 1], alone)
        np.testing.assert_allclose(again, np.array(found)[here], rtol=1e-9, atol=1e-9)
    for s in range(count):
        row, start, stop = int(chosen[s]), int(starts[s]), int(starts[s] + spans[s])
        wanted, before, after = tuple(tags[s, : spans[s]].tolist()), sides[0], sides[1]
        event = [
            path
            for path in rows[row]
            if path[start:stop] == wanted
            and (before is None or before[s, path[start - 1] if start else size])
            and (after is None or after[s, path[stop] if stop < len(path) else size])
        ]
        expected = sum_of(rows[row], event)
        assert close(found[s], expected) or max(found[s], expected) < -700


@pytest.mark.parametrize("spread", [1.0, 50.0, 1e4])
@pytest.mark.parametrize("lengths", [[4, 2, 1], [1], [3, 3]])
def test_gradients_are_those_of_the_definition(spread: float, lengths: list[int]) -> None:
    """Against automatic differentiation through the sum over all paths, with a weight of its own for each row."""
    torch.manual_seed(1)
    size, allowed = 3, torch.ones(5, 5, dtype=torch.bool)
    allowed[0, 2] = allowed[3, 1] = allowed[1, 4] = False
    crf = make_crf(size, spread, allowed).double()
    mask, row_weights = make_mask(lengths), torch.randn(len(lengths), dtype=torch.float64)
    emissions = (torch.randn(*mask.shape, size, dtype=torch.float64) * spread).requires_grad_()
    paths = [all_paths(crf, emissions[row, :length]) for row, length in enumerate(lengths)]
    tags = torch.full(mask.shape, -100)
    for row, length in enumerate(lengths):
        tags[row, :length] = torch.tensor(list(paths[row])[len(paths[row]) // 2])
    inputs = [emissions, *crf.parameters()]
    found = crf(emissions, tags, mask)
    gradients = torch.autograd.grad((found * row_weights).sum(), inputs)

    def score(row: int, path: Path) -> Tensor:
        tags = torch.tensor(path)
        moves = crf.transitions[tags[:-1], tags[1:]].sum()
        return crf.start[tags[0]] + emissions[row, range(len(path)), tags].sum() + moves + crf.end[tags[-1]]

    expected = torch.stack(
        [
            score(row, tuple(tags[row, :length].tolist()))
            - torch.stack([score(row, path) for path in paths[row]]).logsumexp(0)
            for row, length in enumerate(lengths)
        ]
    )
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    wanted = torch.autograd.grad((expected * row_weights).sum(), inputs)
    torch.testing.assert_close(gradients, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_gradcheck(spread: float) -> None:
    torch.manual_seed(2)
    crf = make_crf(3, spread).double()
    mask = make_mask([4, 1, 3])
    emissions = (torch.randn(3, 4, 3, dtype=torch.float64) * spread).requires_grad_()
    tags, within = torch.randint(3, (3, 4)), torch.rand(3, 4, 3) < 0.7
    within[:, :, 0] = True
    parameters = tuple(crf.parameters())

    def likelihood(emissions: Tensor, *_: Tensor) -> Tensor:
        return crf(emissions, tags, mask)

    def partial(emissions: Tensor, *_: Tensor) -> Tensor:
        return crf.log_partition(emissions, mask, within) - crf.log_partition(emissions, mask)

    assert torch.autograd.gradcheck(likelihood, (emissions, *parameters))
    assert torch.autograd.gradcheck(partial, (emissions, *parameters))


@pytest.mark.parametrize("spread", [0.1, 3.0, 20.0])
def test_both_arithmetics_agree_on_larger_shapes(spread: float) -> None:
    torch.manual_seed(3)
    allowed = torch.rand(12, 12) < 0.7
    allowed[:, 0] = allowed[0] = True
    crf = make_crf(10, spread, allowed)
    lengths = torch.randint(1, 61, (9,)).tolist()
    mask = make_mask(lengths)
    emissions = torch.randn(*mask.shape, 10) * spread
    scores = crf.lattice(emissions, mask).scores
    scaled, log = ScaledLattice(scores), LogLattice(scores)
    assert bool(scaled.is_reliable)
    torch.testing.assert_close(scaled.log_partition, log.log_partition, rtol=1e-12, atol=1e-9)
    weights = torch.randn(9, dtype=torch.float64)
    for one, other in zip(scaled.expected_counts(weights), log.expected_counts(weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    rows = np.arange(9)
    positions = np.array(lengths) // 2
    np.testing.assert_allclose(scaled.log_prefix(rows, positions), log.log_prefix(rows, positions))
    np.testing.assert_allclose(scaled.log_suffix(rows, positions), log.log_suffix(rows, positions))
    sums = scaled.marginals().sum(-1)
    torch.testing.assert_close(sums, mask.double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 400])
@pytest.mark.parametrize("gap", [0.0, 1.0, 30.0, 100.0, 169.0])
def test_a_row_alone_agrees_with_log_space(length: int, gap: float) -> None:
    """Up to the end of the scaled range, for rows with many divisions and with one."""
    torch.manual_seed(9)
    allowed = torch.rand(12, 12) < 0.7
    allowed[:, 0] = allowed[0] = True
    crf = make_crf(10, gap / 8, allowed)
    emissions = torch.rand(1, length, 10) * gap * 0.75 + torch.randn(1, length, 1) * 1e3
    within = torch.rand(1, length, 10) < 0.8
    within[:, :, 0] = True
    for constraint in (None, within):
        scores = crf.scores(emissions, make_mask([length]), constraint)
        row, log = RowLattice(scores), LogLattice(scores)
        assert row.is_reliable
        torch.testing.assert_close(row.log_partition, log.log_partition, rtol=1e-12, atol=1e-9)
        positions = np.arange(length)
        rows = np.zeros_like(positions)
        for one, other in (
            (row.log_prefix(rows, positions), log.log_prefix(rows, positions)),
            (row.log_suffix(rows, positions), log.log_suffix(rows, positions)),
        ):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-9)
        torch.testing.assert_close(row.marginals(), log.marginals(), rtol=1e-9, atol=1e-9)


def test_scores_beyond_the_scaled_range_take_log_space() -> None:
    crf, mask = make_crf(4), make_mask([5, 3])
    torch.manual_seed(4)
    emissions = torch.randn(2, 5, 4)
    assert isinstance(crf.lattice(emissions, mask), ScaledLattice)
    assert isinstance(crf.lattice(emissions * 1e4, mask), LogLattice)
    assert isinstance(crf.lattice(emissions + 1e4, mask), ScaledLattice)
    assert isinstance(crf.lattice(emissions[:1], mask[:1]), RowLattice)
    assert isinstance(crf.lattice(emissions[:1] * 1e4, mask[:1]), LogLattice)


def test_equal_scores_go_to_the_lowest_tag() -> None:
    crf, mask = LinearChainCRF(3), make_mask([3, 1])
    assert crf.decode(torch.zeros(2, 3, 3), mask) == [[0, 0, 0], [0]]
    assert [path for path, _ in crf.n_best(torch.zeros(1, 2, 3), make_mask([2]), 4)[0]] == [
        [0, 0],
        [1, 0],
        [2, 0],
        [0, 1],
    ]


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.integers(0, 10**6))
def test_a_row_alone_has_the_path_that_it_has_in_a_batch(size: int, length: int, levels: int, seed: int) -> None:
    """With few levels of scores most steps have several equal ones."""
    torch.manual_seed(seed)
    crf = make_crf(size)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randint(0, levels, parameter.shape))
    emissions = torch.randint(0, levels, (3, length, size)).float()
    mask = make_mask([length, max(1, length // 2), 1])
    together = crf.decode(emissions, mask)
    assert [crf.decode(emissions[row : row + 1], mask[row : row + 1])[0] for row in range(3)] == together


def test_constraints_at_call_time() -> None:
    torch.manual_seed(5)
    crf, lengths = make_crf(3), [4, 2]
    mask = make_mask(lengths)
    emissions = torch.randn(2, 4, 3)
    within = torch.rand(2, 4, 3) < 0.6
    within[:, :, 1] = True
    within[1, 2:] = False  # on padding: no effect
    rows = [all_paths(crf, emissions[row, :n], within[row]) for row, n in enumerate(lengths)]
    assert crf.decode(emissions, mask, within) == [list(best(paths)) for paths in rows]
    expected = torch.tensor([log_sum_exp(list(paths.values())) for paths in rows])
    torch.testing.assert_close(crf.log_partition(emissions, mask, within), expected)
    marginals = crf.lattice(emissions, mask, within).marginals()
    assert marginals[~within].eq(0).all()
    torch.testing.assert_close(marginals.sum(-1), mask.double())


def test_rows_without_a_path() -> None:
    """-inf and finite gradients where a number is asked for, an error where a path is."""
    crf, mask = make_crf(2), make_mask([2, 2])
    emissions = torch.randn(2, 2, 2, requires_grad=True)
    within = torch.ones(2, 2, 2, dtype=torch.bool)
    within[1, 0] = False
    log_z = crf.log_partition(emissions, mask, within)
    assert log_z[1] == -math.inf
    assert log_z[0].isfinite()
    log_z.sum().backward()
    assert emissions.grad is not None
    assert emissions.grad.isfinite().all()
    assert emissions.grad[1].eq(0).all()
    with pytest.raises(ValueError, match="row 1: found no permitted path"):
        crf.decode(emissions, mask, within)
    segments = Segments(np.array([1]), np.array([0]), np.array([[0]]), np.array([1]))
    with pytest.raises(ValueError, match="without a permitted path"):
        crf.lattice(emissions, mask, within).segment_log_probability(segments)


def test_a_forbidden_gold_path_has_no_likelihood() -> None:
    allowed = torch.ones(4, 4, dtype=torch.bool)
    allowed[0, 1] = False
    crf = make_crf(2, allowed=allowed)
    found = crf(torch.randn(2, 2, 2), torch.tensor([[0, 1], [1, 0]]), make_mask([2, 2]))
    assert found[0] == -math.inf
    assert found[1].isfinite()
    allowed[2] = False  # nothing may start a row
    assert make_crf(2, allowed=allowed)(torch.randn(1, 2, 2), torch.tensor([[1, 0]]), make_mask([2])) == -math.inf


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_emissions_under_autocast(dtype: torch.dtype) -> None:
    """The same likelihood, to float32, as those very emissions in float64; only the gradient is rounded."""
    torch.manual_seed(6)
    crf, mask, tags = make_crf(5), make_mask([12, 7]), torch.randint(5, (2, 12))
    emissions = (torch.randn(2, 12, 5) * 8).to(dtype).requires_grad_()
    exact = emissions.detach().double().requires_grad_()
    expected = crf.double()(exact, tags, mask)
    expected.sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = crf.float()(emissions, tags, mask)
    found.sum().backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-5)
    assert emissions.grad is not None
    assert exact.grad is not None
    assert emissions.grad.dtype == dtype
    torch.testing.assert_close(emissions.grad.double(), exact.grad, rtol=2**-8, atol=1e-7)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in crf.parameters())


def test_padding_has_no_effect() -> None:
    torch.manual_seed(7)
    crf, mask = make_crf(4), make_mask([6, 2])
    emissions, tags = torch.randn(2, 6, 4), torch.randint(4, (2, 6))
    alone = crf(emissions[1:, :2], tags[1:, :2], mask[1:, :2])
    emissions[1, 2:], tags[1, 2:] = math.nan, -100
    emissions.requires_grad_()
    together = crf(emissions, tags, mask)
    torch.testing.assert_close(together[1:], alone)
    together.sum().backward()
    assert emissions.grad is not None
    assert emissions.grad[1, 2:].eq(0).all()
    assert emissions.grad.isfinite().all()


def test_scores_that_are_not_numbers_stay_visible() -> None:
    crf, emissions = make_crf(3), torch.randn(2, 3, 3)
    emissions[0, 1, 1] = math.nan
    found = crf(emissions, torch.zeros(2, 3, dtype=torch.long), make_mask([3, 3]))
    assert found[0].isnan()
    assert found[1].isfinite()
    with pytest.raises(ValueError, match="row 0: found no permitted path of finite score"):
        crf.decode(emissions, make_mask([3, 3]))


def test_state_and_meta_device() -> None:
    allowed = np.random.default_rng(0).random((5, 5)) < 0.5
    crf = LinearChainCRF(3, allowed)
    assert set(crf.state_dict()) == {"transitions", "start", "end", "allowed"}
    with torch.device("meta"):
        shell = LinearChainCRF(3, allowed)
    shell.load_state_dict(crf.state_dict(), assign=True)
    assert torch.equal(shell.allowed, crf.allowed)


def test_the_graph_can_be_used_twice() -> None:
    crf, emissions = make_crf(3), torch.randn(2, 4, 3, requires_grad=True)
    loss = crf(emissions, torch.zeros(2, 4, dtype=torch.long), make_mask([4, 2])).sum()
    loss.backward(retain_graph=True)
    assert emissions.grad is not None
    once = emissions.grad.clone()
    loss.backward()
    torch.testing.assert_close(emissions.grad, once * 2)


GOOD = {
    "emissions": torch.zeros(2, 3, 4),
    "tags": torch.zeros(2, 3, dtype=torch.long),
    "mask": torch.ones(2, 3, dtype=torch.bool),
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"emissions": torch.zeros(2, 3, 5)}, r"emissions: found \(2, 3, 5\); expected \(rows, positions, 4\)"),
        ({"emissions": torch.zeros(2, 3)}, "emissions: found"),
        ({"emissions": torch.zeros(2, 3, 4, dtype=torch.long)}, "expected a floating type"),
        ({"mask": torch.ones(2, 3)}, "mask: found torch.float32"),
        ({"mask": torch.ones(2, 4, dtype=torch.bool), "tags": torch.zeros(2, 4, dtype=torch.long)}, "mask: found"),
        ({"mask": torch.tensor([[True, True, True], [False, False, False]])}, "mask: found row 1 without"),
        ({"mask": torch.tensor([[True, False, True], [True, True, True]])}, "mask: found row 0 without"),
        ({"tags": torch.full((2, 3), -100)}, "tags: found -100 at row 0, position 0; expected 0 to 3"),
        ({"tags": torch.full((2, 3), 4)}, "tags: found 4 at row 0"),
        ({"tags": torch.zeros(2, 3)}, "tags: found torch.float32"),
        ({"tags": torch.zeros(2, 2, dtype=torch.long)}, "tags: found"),
    ],
)
def test_wrong_inputs_are_errors(wrong: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearChainCRF(4)(**(GOOD | wrong))


def test_wrong_settings_are_errors() -> None:
    with pytest.raises(ValueError, match="num_tags: found 0"):
        LinearChainCRF(0)
    with pytest.raises(ValueError, match=r"allowed: found torch.bool \(3, 3\); expected bool \(5, 5\)"):
        LinearChainCRF(3, torch.ones(3, 3, dtype=torch.bool))
    crf = LinearChainCRF(4)
    with pytest.raises(ValueError, match="n: found 0"):
        crf.n_best(GOOD["emissions"], GOOD["mask"], 0)
    with pytest.raises(ValueError, match="allowed_tags: found"):
        crf.decode(GOOD["emissions"], GOOD["mask"], torch.ones(2, 3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("row", "start", "tags", "length"),
    [(2, 0, [0], 1), (-1, 0, [0], 1), (0, 3, [0], 1), (0, -1, [0], 1), (0, 0, [4], 1), (0, 0, [0], 2), (0, 0, [0], 0)],
)
def test_wrong_segments_are_errors(row: int, start: int, tags: list[int], length: int) -> None:
    crf = LinearChainCRF(4)
    segments = Segments(np.array([row]), np.array([start]), np.array([tags]), np.array([length]))
    with pytest.raises(ValueError, match="segment 0: found"):
        crf.segment_log_probability(GOOD["emissions"], GOOD["mask"], segments)
    wrong = segments._replace(before=np.ones((1, 4), dtype=np.bool_))
    with pytest.raises(ValueError, match="before"):
        crf.segment_log_probability(GOOD["emissions"], GOOD["mask"], wrong)


def test_pytorch_crf_gives_the_same() -> None:
    torchcrf = pytest.importorskip("torchcrf")
    torch.manual_seed(8)
    ours, theirs = make_crf(7), torchcrf.CRF(7, batch_first=True)
    with torch.no_grad():
        theirs.transitions.copy_(ours.transitions)
        theirs.start_transitions.copy_(ours.start)
        theirs.end_transitions.copy_(ours.end)
    mask = make_mask([20, 11, 1])
    emissions, tags = torch.randn(3, 20, 7), torch.randint(7, (3, 20))
    torch.testing.assert_close(ours(emissions, tags, mask), theirs(emissions, tags, mask, reduction="none"))
    assert ours.decode(emissions, mask) == theirs.decode(emissions, mask)
