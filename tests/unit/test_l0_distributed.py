"""A fit that processes share out: equal bits for any number of them, and nobody left waiting."""

from dataclasses import replace

import joined
import numpy as np
import pytest

from calibration import rng
from calibration.errors import FitError
from calibration.l0 import fit_l0
from calibration.l0.options import L0Options
from calibration.l0.run import Status
from calibration.l0.state import Checkpoint

BITS = ("weights", "open_probability", "log_weights", "refit_losses", "estimates", "lost_rows")


def same_bits(one, two):
    """Require equal results, down to the last bit of every array."""
    assert (one.status, one.message) == (two.status, two.message)
    for name in BITS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for name, values in one.history.items():
        np.testing.assert_array_equal(values, two.history[name])


def changed(dtype="float64", *, compiled=True, **more):
    """Give the changes that make a fit of a type and its loops."""
    return {"options": replace(joined.SETTLED, dtype=dtype), "compiled": compiled} | more


def alone(changes, **more):
    """Fit in this process."""
    return fit_l0(**joined.given(**changes), **more)


TABLE = rng.uniform(1, "gate", np.arange(1, 31)[:, None], np.arange(1200))
SHORT = L0Options(epochs=30, refit=False)
FEW = replace(joined.SETTLED, penalty=0.02, epochs=120, refit_epochs=5)
FIRST = replace(joined.SETTLED, epochs=60)  # as `joined.errors` has them
BY_TWO = [
    changed(),
    changed("float32"),
    changed(compiled=False),
    {"noise": TABLE, "options": SHORT},
    {"noise": TABLE, "options": SHORT, "compiled": False},
]
BY_FOUR = [
    {"options": FEW, "block": np.zeros(1200, int)},
    {"options": FEW, "block": np.arange(1200) * 64 // 1200},
    {"options": FEW, "block": np.arange(1200) % 64, "compiled": False},
    {"options": replace(FEW, penalty=1e6)},
]


@pytest.fixture(scope="module")
def compiled():
    """Compile the loops once, here, and not in each process."""
    for dtype in ("float64", "float32"):
        alone({"options": replace(SHORT, dtype=dtype, refit=True, refit_epochs=1)})


@pytest.fixture(scope="module")
def by_two(compiled):  # noqa: ARG001  # only that it has run
    """Give the fits of two processes."""
    return joined.together(2, joined.fits, BY_TWO)


@pytest.fixture(scope="module")
def by_four(compiled, tmp_path_factory):  # noqa: ARG001  # only that it has run
    """Give the fits of four processes, of which the last was paused, and its checkpoint."""
    path = tmp_path_factory.mktemp("four") / "fit.npz"
    last = changed("float32") | {"observe": joined.stop, "checkpoint": path}
    return joined.together(4, joined.fits, [*BY_FOUR, last]), path


@pytest.mark.parametrize("job", range(3), ids=["float64", "float32", "plain"])
def test_processes_change_no_bit(by_two, job):
    """200 epochs by two processes are those of one, with many gates closed and a refit."""
    whole = alone(BY_TWO[job])
    assert 0 < whole.retained < 0.9 * whole.weights.size
    assert whole.refit_losses.size > 1
    for fits in by_two:
        same_bits(whole, fits[job])


@pytest.mark.parametrize("job", [3, 4], ids=["compiled", "plain"])
def test_noise_from_outside_is_shared_out(by_two, job):
    """A table of uniforms belongs to the columns of X, whoever holds them."""
    for fits in by_two:
        same_bits(alone(BY_TWO[job]), fits[job])


def test_one_process_goes_on_where_four_stopped(by_four):
    """The checkpoint of four processes, stopped by one of them at epoch 100, is whole."""
    found, path = by_four
    for fits in found:
        assert fits[-1].status is Status.PAUSED
        assert fits[-1].epochs == 100
    same_bits(alone(changed("float32")), alone(changed("float32"), resume=path))


@pytest.mark.parametrize("job", range(4), ids=["one block", "few", "few, plain", "none"])
def test_processes_without_columns_or_survivors_take_part(by_four, job):
    """Columns of one block alone, survivors of a few, none at all: as in one process."""
    whole = alone(BY_FOUR[job])
    assert (whole.status is Status.EMPTY) == (job == 3)
    assert job > 0 or whole.retained > 0
    assert job != 1 or len(np.unique(whole.support * 4 // 1200)) < 4
    for fits in by_four[0]:
        same_bits(whole, fits[job])


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_a_checkpoint_goes_on_in_any_number_of_processes(tmp_path):
    """Stopped by 1, 2 or 4 processes, in the gates or in the refit, resumed by 1, 2 or 4."""
    kinds = [changed(d, compiled=c) for d in ("float64", "float32") for c in (True, False)]
    wholes = [alone(kind) for kind in kinds]
    made = {}
    for place, kind in enumerate(kinds):
        for phase, epoch in (("gates", 100), ("refit", 50)):
            path = made[1, phase, place] = tmp_path / f"1-{phase}-{place}.npz"
            alone(kind, observe=lambda s: (s.phase, s.epoch) == (phase, epoch), checkpoint=path)  # noqa: B023
    for size in (2, 4):
        paths = [tmp_path / f"{size}-{place}.npz" for place in range(len(kinds))]
        made |= {(size, "gates", place): path for place, path in enumerate(paths)}
        stop = [
            k | {"observe": joined.stop, "checkpoint": p} for k, p in zip(kinds, paths, strict=True)
        ]
        joined.together(size, joined.fits, stop)
    for size in (2, 4):
        others = [(place, path) for (made_by, _, place), path in made.items() if made_by != size]
        jobs = [kinds[place] | {"resume": path} for place, path in others]
        for fits in joined.together(size, joined.fits, jobs):
            for (place, _), fit in zip(others, fits, strict=True):
                same_bits(wholes[place], fit)
    for (made_by, _, place), path in made.items():
        if made_by > 1:
            same_bits(wholes[place], alone(kinds[place], resume=path))


def test_an_error_in_one_process_ends_all():
    """The others stop with its message, whenever it comes, and can fit again."""
    broken = joined.given()["t"].copy()
    broken[3] = np.nan
    capped, other = replace(joined.SETTLED, cap=10.0), replace(joined.SETTLED, seed=1)
    changes = [{"t": broken}, {"observe": joined.fall}, {"options": other}]
    changes += [{"t": joined.given()["t"] * 2}, {"observe": joined.ask}, {"options": capped}, {}]
    first, second = joined.together(2, joined.errors, changes)
    told = "process 1 of 2 stopped with "
    assert str(first[0]) == f"{told}FitError: {second[0]}"
    assert "t[3] is nan" in str(second[0])
    assert isinstance(second[1], ZeroDivisionError)
    assert str(first[1]) == f"{told}ZeroDivisionError: in epoch 0"
    for place, name in ((2, "options"), (3, "problem")):
        assert f"process 1 of 2 has another {name} than process 0" in str(first[place])
        assert str(first[place]) == str(second[place])
    assert "in every process or in none" in str(first[4])
    assert "in every process or in none" in str(second[4])
    assert "controls of weights run in one process" in str(first[5])
    assert first[6] is second[6] is None


def test_a_process_that_dies_leaves_nobody_waiting():
    """Torch tells the others that the connection is gone."""
    first, second = joined.together(2, joined.errors, [{"observe": joined.die}])
    assert second == "is gone"
    assert isinstance(first[0], FitError)
    assert str(first[0]).startswith("process 0 of 2 lost the others (")
    assert "go on from the last checkpoint" in str(first[0])


def test_processes_that_resume_different_fits_are_refused(tmp_path):
    """Of the same problem, options and epoch, but not with the same parameters."""
    fit = alone({"options": FIRST, "compiled": False}, observe=lambda step: step.epoch == 25)
    moved = replace(fit.checkpoint.gates, parameters=fit.checkpoint.gates.parameters + 1e-9)
    paths = tmp_path / "one.npz", tmp_path / "other.npz"
    fit.checkpoint.save(paths[0])
    replace(fit.checkpoint, gates=moved).save(paths[1])
    change = {"both": {"resume": paths[0]}, "resume": paths[1]}
    for (answer,) in joined.together(2, joined.errors, [change]):
        assert "process 1 of 2 has another checkpoint to resume than process 0" in str(answer)


def test_ctrl_c_in_one_process_stops_all_and_loses_nothing(tmp_path):
    """All end the epoch; the first writes the checkpoint, which one process can go on from."""
    path = tmp_path / "fit.npz"
    change = {"observe": joined.interrupt, "both": {"checkpoint": path}}
    for (answer,) in joined.together(2, joined.errors, [change]):
        assert isinstance(answer, KeyboardInterrupt)
        assert f"resume={str(path)!r}" in str(answer)
    assert Checkpoint.load(path).gates.epoch == 50
    changes = {"options": FIRST, "compiled": False}
    same_bits(alone(changes), alone(changes, resume=path))


def test_what_processes_cannot_share_is_refused():
    """Without torch.distributed, or on a device: the message says what to do."""
    with pytest.raises(FitError, match=r"torch.distributed has not been started; call "):
        alone({}, distributed=True)
    with pytest.raises(FitError, match="device is 'cpu'; leave out one"):
        alone({}, device="cpu", distributed=True)
