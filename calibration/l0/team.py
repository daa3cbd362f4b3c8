"""The processes of one fit: what they tell each other, and how they fail together.

    gather(a)   the arrays of all, one after the other        any(f)   whether one says yes

Every process calls `fit_l0` with equal arguments, works on blocks of its own
(`calibration.l0.shared`) and gets the whole result. Before each exchange all give notice of what
they are about to exchange, and whether they still can. So an error in one of them ends all:
it is told in place of the next exchange, and the others raise it too instead of waiting. The
same notice finds processes that do different things, as when one observer asks for what
the others do not. Of a process that is killed, torch tells the others, as the connection breaks.

Differs from a reduction by torch.distributed: that adds in an order of its own, so sums
would depend on the number of processes. Here arrays are handed round, and added by whoever
needs them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from types import TracebackType
from typing import Any, Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from calibration.errors import FitError

__all__ = ["ALONE", "Team"]

_TEXT = 400  # bytes of an error that the others are told


class Team:
    """The processes of `torch.distributed`, or this one alone, for the time of a `with`.

    Parameters
    ----------
    distributed : bool
        Whether there are others.

    Raises
    ------
    FitError
        If torch.distributed has not been started.
    """

    def __init__(self, *, distributed: bool = False) -> None:
        self.rank, self.size = 0, 1
        self._group: Any = None
        self._told = False  # whether the others know that this one fails
        if not distributed:
            return
        import torch.distributed as dist

        if not (dist.is_available() and dist.is_initialized()):
            raise FitError(
                "distributed=True, but torch.distributed has not been started; call "
                'torch.distributed.init_process_group("gloo") first, or leave it out'
            )
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    @property
    def neighbours(self) -> int:
        """Number of processes of the team on this machine, itself included."""
        return min(self.size, int(os.environ.get("LOCAL_WORLD_SIZE", self.size)))

    def gather(self, own: NDArray[Any], what: str) -> NDArray[Any]:
        """Put the arrays of all processes one after the other.

        Parameters
        ----------
        own : (n,) array
            n may differ between processes, the type may not.
        what : str
            Name of the exchange; equal in all processes.

        Returns
        -------
        (sum of n,) array
        """
        if self.size == 1:
            return own
        raw = np.ascontiguousarray(own).view(np.uint8)
        sizes = self._notice(what, raw.size)
        padded = np.zeros(max(sizes), np.uint8)
        padded[: raw.size] = raw
        rows = self._exchange(padded)
        every = np.concatenate([row[:n] for row, n in zip(rows, sizes, strict=True)])
        return every.view(own.dtype)

    def any(self, flag: bool, what: str = "whether to stop") -> bool:  # noqa: FBT001  # its subject
        """Ask whether at least one process says yes.

        Parameters
        ----------
        flag : bool
        what : str

        Returns
        -------
        bool
        """
        return bool(flag) if self.size == 1 else any(self._notice(what, int(flag)))

    def require_equal(self, given: Mapping[str, str]) -> None:
        """Check that all processes were given the same.

        Parameters
        ----------
        given : mapping of str to str
            What this process was given, by name.

        Raises
        ------
        FitError
            Naming what differs, and where.
        """
        own = [int.from_bytes(sha256(text.encode()).digest()[:7]) for text in given.values()]
        every = self.gather(np.array(own), "arguments").reshape(self.size, -1)
        for name, column in zip(given, every.T, strict=True):
            if (column != column[0]).any():
                raise FitError(
                    f"process {int(np.argmax(column != column[0]))} of {self.size} has another "
                    f"{name} than process 0; every process must call fit_l0 with equal arguments"
                )

    def __enter__(self) -> Self:
        if self.size > 1:
            import torch.distributed as dist

            self._group = dist.new_group(backend="gloo")  # ours, whatever the others use
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._group is None:
            return
        import torch.distributed as dist

        try:
            if error is None:
                self._notice("the end")
            elif not self._told:
                with suppress(FitError):  # if the others are gone
                    self._notice("an error", error=f"{type(error).__name__}: {error}")
        finally:
            dist.destroy_process_group(self._group)
            self._group = None

    def _notice(self, what: str, number: int = 0, error: str | None = None) -> list[int]:
        """Tell the others what comes next, or an error; give the numbers of all."""
        own = np.array([crc32(what.encode()), number, error is not None])
        names, numbers, failed = self._exchange(own).T
        if failed.any():
            text = np.array([(error or "").encode()[:_TEXT]], f"S{_TEXT}").view(np.uint8)
            texts = self._exchange(text)
            self._told = True
            if error is None:
                first = int(np.argmax(failed))
                said = texts[first].tobytes().rstrip(b"\0").decode(errors="replace")
                raise FitError(f"process {first} of {self.size} stopped with {said}")
        elif (names != names[0]).any():
            self._told = True
            other = int(np.argmax(names != names[self.rank]))
            raise FitError(
                f"process {self.rank} of {self.size} is at {what!r}, process {other} is not; "
                "all must do the same: call fit_l0 with equal arguments, and ask an EpochStep "
                "for its weights or its checkpoint in every process or in none"
            )
        return numbers.tolist()

    def _exchange(self, own: NDArray[Any]) -> NDArray[Any]:
        """Give the arrays (n,) of all processes, (size, n); n and type are equal in all."""
        import torch
        import torch.distributed as dist

        self._told = True  # if this does not come to its end
        every = np.empty((self.size, own.size), own.dtype)
        parts = list(torch.from_numpy(every))
        try:
            dist.all_gather(parts, torch.from_numpy(own), group=self._group)
        except RuntimeError as error:
            raise FitError(
                f"process {self.rank} of {self.size} lost the others ({str(error)[:200]}); see "
                "what they say, and go on from the last checkpoint"
            ) from error
        self._told = False
        return every


ALONE = Team()
"""This process without others."""
