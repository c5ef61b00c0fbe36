"""Learning-rate schedules."""

import numpy as np
import pytest

from mnistc.schedules import Constant, Cosine, Custom, OneCycle, Step, as_schedule


def rates(schedule, epochs=10, per_epoch=20, base=0.5):
    return schedule.rates(base, 0, epochs * per_epoch, epochs * per_epoch, per_epoch)


@pytest.mark.parametrize(
    "schedule",
    [Constant(), Step(2), Cosine(), Cosine(0.1, 0.01), OneCycle(), Custom(lambda s, n: s / n)],
)
def test_grouping_changes_nothing(schedule):
    whole = rates(schedule)
    assert whole.dtype == np.float32
    parts = [schedule.rates(0.5, start, 20, 200, 20) for start in range(0, 200, 20)]
    assert np.allclose(np.concatenate(parts), whole, rtol=1e-6)
    assert (whole >= 0).all()
    assert whole.max() <= 0.5
    assert schedule.config()["name"]


def test_shapes():
    assert (rates(Constant()) == 0.5).all()
    steps = rates(Step(2, 0.1))
    assert steps[[0, 39, 40, 80]] == pytest.approx([0.5, 0.5, 0.05, 0.005])
    cosine = rates(Cosine())
    assert cosine[0] == 0.5
    assert cosine[100] == pytest.approx(0.25)
    assert cosine[-1] < 1e-4
    assert (np.diff(cosine) <= 0).all()
    warm = rates(Cosine(warmup=0.1, final=0.02))
    assert warm[0] == pytest.approx(0.5 / 20)
    assert warm.argmax() in (19, 20)
    assert warm[-1] == pytest.approx(0.01, rel=0.05)
    cycle = rates(OneCycle(peak=0.25, start=0.1, final=0.001))
    assert cycle[0] == pytest.approx(0.05)
    assert cycle.argmax() in (49, 50)
    assert cycle[-1] == pytest.approx(0.0005)


def test_a_single_step():
    for schedule in (Constant(), Step(), Cosine(0.5), OneCycle()):
        assert np.isfinite(schedule.rates(0.1, 0, 1, 1, 1)).all()


def test_names_and_functions():
    assert as_schedule(None) == Constant()
    assert as_schedule("one_cycle") == OneCycle()
    assert as_schedule(Cosine(0.2)) == Cosine(0.2)
    assert isinstance(as_schedule(lambda step, total: 1.0), Custom)


def test_refused():
    for make in (
        lambda: Step(0),
        lambda: Step(factor=2.0),
        lambda: Cosine(warmup=1.0),
        lambda: Cosine(final=-1),
        lambda: OneCycle(peak=0.0),
    ):
        with pytest.raises(ValueError):
            make()
    with pytest.raises(ValueError, match="finite"):
        Custom(lambda step, total: float("nan")).rates(0.1, 0, 3, 3, 3)
