"""A person who waits for a fit: Ctrl-C leaves a checkpoint, a terminal shows progress."""

import io
import json
import signal

import numpy as np
import pytest

from calibration import toy
from calibration.l0 import attended, fit_l0
from calibration.l0.options import L0Options
from calibration.l0.run import Status

OPTIONS = L0Options(penalty=1e-4, epochs=60, refit_epochs=50)


def given(**changes):
    """Give all arguments of a fit of the toy matrix."""
    m = toy.after("matrix").matrix
    names = {"X": m.X, "t": m.values, "w0": m.w0, "group": m.groups, "options": OPTIONS}
    return names | changes


def ctrl_c(phase, epoch, times=1):
    """Press Ctrl-C while an epoch is logged."""

    def observe(step):
        if (step.phase, step.epoch) == (phase, epoch):
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return observe


@pytest.fixture(autouse=True)
def foreground():
    """Let Ctrl-C interrupt, as in a shell's foreground: in its background it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("where", [("gates", 20), ("refit", 30)])
@pytest.mark.parametrize("how", [{}, {"compiled": True}, {"device": "cpu"}])
def test_ctrl_c_leaves_a_checkpoint_and_says_where(where, how, tmp_path):
    """The fit that goes on from it ends with the bits of one that nobody interrupted."""
    path = tmp_path / "fit.npz"
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=rf"epoch \d+ of its {where[0]}; ") as stop:
        fit_l0(**given(**how), observe=ctrl_c(*where), checkpoint=path)
    assert f"resume={str(path)!r}" in str(stop.value)
    assert signal.getsignal(signal.SIGINT) is before
    with np.load(path) as arrays:  # an npz, its facts as JSON
        assert json.loads(str(arrays["facts"]))["options"]["penalty"] == 1e-4
    again, whole = fit_l0(**given(**how), resume=path), fit_l0(**given(**how))
    for name in ("weights", "log_weights", "refit_losses"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    for name, values in whole.history.items():
        np.testing.assert_array_equal(again.history[name], values)


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    """It ends the fit at once, without a checkpoint; so does the first if no path was given."""
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        fit_l0(**given(), observe=ctrl_c("gates", 20, times=2), checkpoint=tmp_path / "fit.npz")
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        fit_l0(**given(), observe=ctrl_c("gates", 20))


def test_where_ctrl_c_is_ignored_it_stays_so(tmp_path):
    """A fit in a shell's background is not for the keyboard to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        fit_l0(**given(), observe=ctrl_c("gates", 20), checkpoint=tmp_path / "fit.npz")
    except KeyboardInterrupt:  # would end the whole session of tests
        pytest.fail("the fit was interrupted")
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_fit_that_an_observer_pauses_leaves_its_checkpoint(tmp_path):
    """It is the one that the result carries."""
    path = tmp_path / "fit.npz"
    part = fit_l0(**given(), observe=lambda step: step.epoch == 20, checkpoint=path)
    assert part.status is Status.PAUSED
    again = [fit_l0(**given(), resume=resume).weights for resume in (path, part.checkpoint)]
    np.testing.assert_array_equal(*again)


class Screen(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, *, is_terminal):
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self):
        """Say so."""
        return self._is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_shows_progress_after_a_while(is_terminal, monkeypatch):
    """Both phases are counted on standard error; no bit of the fit is another."""
    plain = fit_l0(**given())
    screen = Screen(is_terminal=is_terminal)
    monkeypatch.setattr("sys.stderr", screen)
    fit_l0(**given())
    assert screen.getvalue() == ""  # too short to be worth a bar
    monkeypatch.setattr(attended, "_PATIENCE", 0.0)
    monkeypatch.setattr(attended, "_OFTEN", 0.0)
    shown = fit_l0(**given())
    np.testing.assert_array_equal(shown.weights, plain.weights)
    for text in ("gates", "60 of 60 epochs", "refit"):
        assert (text in screen.getvalue()) is is_terminal
