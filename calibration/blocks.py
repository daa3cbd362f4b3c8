"""A census block in every district for every record, by population and never the same twice.

    P(b | d, blocks already drawn) = people_b / sum of people in d that are left

All blocks lie on one scale of people, district by district, and a uniform is a point on the
stretch of its district. Whoever draws a block of an earlier round draws again, once, with the
stretches of all earlier blocks closed up: the law of drawing without replacement.

Axes: records h in [0, R), districts d in [0, D), blocks b in [0, B) in the order of the scale.
A draw depends on (seed, household_id, district, round) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.crosswalk import Crosswalk
from calibration.errors import GeographyError
from calibration.rng import uniform

__all__ = ["Blocks"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of a crosswalk, laid out on one scale of people.

    Parameters
    ----------
    district : ndarray of int64, shape (D,)
        District codes, ascending.
    code : ndarray of int64, shape (B,)
        Block codes, district by district.
    people, begin : ndarray of float64, shape (B,)
        Block b owns the stretch [begin[b], begin[b] + people[b]) of the scale.
    first, last : ndarray of int64, shape (D,)
        District d owns the blocks first[d] to last[d].
    """

    district: Ints
    code: Ints
    people: Floats
    begin: Floats
    first: Ints
    last: Ints

    @classmethod
    def of(cls, crosswalk: Crosswalk) -> Blocks:
        """Lay out the blocks of a crosswalk."""
        order = np.argsort(crosswalk.district, kind="stable")
        people = crosswalk.population[order]
        begin = np.concatenate([[0.0], np.cumsum(people)[:-1]])
        district, counts = np.unique(crosswalk.district, return_counts=True)
        end = np.cumsum(counts)
        first = np.concatenate([[0], end[:-1]])
        return cls(district, crosswalk.block[order], people, begin, first, end - 1)

    def draw(self, seed: int, household_id: Ints, earlier: Sequence[Ints] = ()) -> Ints:
        """Draw a block for every record and district.

        Parameters
        ----------
        seed : int
        household_id : ndarray of int64, shape (R,)
        earlier : sequence of ndarray of int64, shape (R, D)
            What this gave in all earlier rounds.

        Returns
        -------
        ndarray of int64, shape (R, D)
            Positions in `code`, none of them one that the record had in an earlier round.

        Raises
        ------
        GeographyError
            If a district has fewer blocks than rounds.
        """
        count = self.last - self.first + 1
        if (count <= len(earlier)).any():
            short = self.district[np.argmin(count)]
            raise GeographyError(
                f"district {short:04d} has {count.min()} blocks, too few for {len(earlier) + 1} "
                "rounds of clones; use fewer clones"
            )
        of_draw = (seed, "block", household_id[:, None], self.district, len(earlier))
        drawn = self._at(uniform(*of_draw, 0), [])
        if earlier:
            again = np.any([drawn == had for had in earlier], axis=0)
            drawn = np.where(again, self._at(uniform(*of_draw, 1), earlier), drawn)
        return drawn

    def _at(self, u: Floats, gone: Sequence[Ints]) -> Ints:
        """Turn uniforms into blocks of each district, those already `gone` left out.

        u and each of `gone` have shape (R, D), as has the result: positions b.
        """
        final = self.begin[self.last] + self.people[self.last]
        left = final - self.begin[self.first] - sum(self.people[b] for b in gone)
        point = self.begin[self.first] + u * left
        jumps = np.sort(np.array(gone, dtype=np.int64).reshape(len(gone), *u.shape), axis=0)
        for b in jumps:  # the stretches that are gone close up, from the left
            point = np.where(point >= self.begin[b], point + self.people[b], point)
        found = np.searchsorted(self.begin, point, side="right") - 1
        # A point next to the end of its district can round past it.
        found = found.clip(self.first, self.last)
        for b in jumps[::-1]:
            found = np.where(found == b, found - 1, found)
        return found
