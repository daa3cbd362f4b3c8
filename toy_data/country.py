"""The land of the toy country: twelve districts, their counties, blocks and areas.

Real: the codes of states, counties, districts and places, the share of each district's
people in each county, and the populations of Alaska and the District of Columbia.
Synthetic: tracts, blocks, the population of the other districts (of the usual size), and
which blocks lie in which place. A state here is the sum of its districts, nothing else.

Sources: county shares, 2020 Census blocks by 119th Congress districts, as tabulated in
PolicyEngine/policyengine-us-data e01a0384, storage/county_cd_distributions.csv, rounded
to three digits and cut to the counties kept here; state populations, U.S. Census Bureau
estimates, ibid., storage/calibration_targets/population_by_state.csv. ZIP codes are real
ones of each county.
"""

from __future__ import annotations

import numpy as np

from calibration.crosswalk import Crosswalk
from calibration.geography import Area
from calibration.rng import uniform

# district: population, and for each county its share of the district's people
DISTRICTS: dict[int, tuple[int, dict[int, float]]] = {
    201: (733_406, {2020: 0.400, 2090: 0.131, 2110: 0.044}),
    612: (757_000, {6001: 1.0}),
    622: (765_000, {6029: 0.641, 6107: 0.243, 6031: 0.116}),
    630: (748_000, {6037: 1.0}),
    634: (739_000, {6037: 1.0}),
    1101: (678_972, {11001: 1.0}),
    3702: (752_000, {37183: 1.0}),
    3704: (761_000, {37063: 0.436, 37183: 0.310, 37135: 0.199}),
    3712: (770_000, {37119: 1.0}),
    4901: (826_000, {49057: 0.321, 49011: 0.286, 49005: 0.163, 49035: 0.110}),
    4903: (811_000, {49049: 0.485, 49035: 0.317}),
    4904: (834_000, {49035: 0.631, 49049: 0.321}),
}

# ZIP codes of a county, block by block in turn. Los Angeles alternates between its two
# rating areas of the health insurance exchange: 900 (area 16) and 911 (area 15).
ZIP_CODES: dict[int, tuple[int, ...]] = {
    2020: (99501,), 2090: (99701,), 2110: (99801,), 6001: (94601,), 6029: (93301,),
    6107: (93274,), 6031: (93230,), 6037: (90012, 91107), 11001: (20001,), 37183: (27601,),
    37063: (27701,), 37135: (27514,), 37119: (28202,), 49057: (84401,), 49011: (84014,),
    49005: (84321,), 49035: (84101,), 49049: (84601,),
}  # fmt: skip

# place: the county whose every second block, from the first on, lies in it
PLACES: dict[int, int] = {203000: 2020, 644000: 6037, 3755000: 37183, 4967000: 49035}

BLOCKS_PER_COUNTY = 4  # of each district; enough that population weighting shows


def crosswalk(seed: int) -> Crosswalk:
    """Lay out the blocks: four in each part of a county that lies in a district."""
    rows = []
    for district, (population, counties) in DISTRICTS.items():
        kept = sum(counties.values())
        for county, share in counties.items():
            block = _blocks(county, district)
            size = 0.25 + uniform(seed, "block size", block)
            people = np.round(population * share / kept * size / size.sum())
            rows += zip(block, people, [district] * len(block), strict=True)
        rows[-1] = (rows[-1][0], rows[-1][1] + population - _people_in(rows, district), district)
    rows.sort()
    block, people, district = (np.array(column) for column in zip(*rows, strict=True))
    county = block // 10**10
    turn = np.array([(county[:i] == c).sum() for i, c in enumerate(county)])
    zip_code = [ZIP_CODES[c][t % len(ZIP_CODES[c])] for c, t in zip(county, turn, strict=True)]
    place_of = {county: place for place, county in PLACES.items()}
    place = [place_of.get(c, 0) * (t % 4 < 2) for c, t in zip(county, turn, strict=True)]
    return Crosswalk(block, people, district, np.array(place), np.array(zip_code))


def _people_in(rows: list[tuple[int, float, int]], district: int) -> float:
    return sum(people for _, people, where in rows if where == district)


def _blocks(county: int, district: int) -> list[int]:
    """List the blocks of a part of a county; the tract tells the district's parts apart."""
    tract = 990_000 + district % 100 * 100
    return [county * 10**10 + tract * 10**4 + 1001 + i for i in range(BLOCKS_PER_COUNTY)]


def areas() -> list[Area]:
    """List the areas that the toy run makes files for."""
    districts = sorted(DISTRICTS)
    states = sorted({district // 100 for district in districts})
    return [
        Area.nation(),
        *(Area.state(code) for code in states),
        *(Area.district(code) for code in districts),
        Area.city("Raleigh-Durham", ["37183", "37063"]),
        Area.place("Salt-Lake-City", "4967000"),
    ]
