"""The reader of the base survey: what it accepts, and how it refuses everything else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import DatasetError, FileError
from calibration.survey import read_dictionary, read_survey, read_table, write_table

DICTIONARY = """file,column,type,unit,description
t.csv,code,str,-,A code
t.csv,amount,float,USD/year,An amount
t.csv,count,int,persons,A count
t.csv,flag,bool,-,A flag
survey/households.csv,household_id,int,-,Number
survey/households.csv,household_weight,float,households,Weight
survey/persons.csv,person_id,int,-,Number
survey/persons.csv,person_household_id,int,-,Household
survey/persons.csv,person_tax_unit_id,int,-,Tax unit
survey/persons.csv,person_spm_unit_id,int,-,SPM unit
survey/persons.csv,person_family_id,int,-,Family
survey/persons.csv,person_marital_unit_id,int,-,Marital unit
survey/persons.csv,age,float,years,Age
survey/tax_units.csv,tax_unit_id,int,-,Number
survey/spm_units.csv,spm_unit_id,int,-,Number
"""

TABLE = "code,amount,count,flag\n06037,1.5,2,true\n00001,-3e2,0,false\n"

# Household 2 stands before household 1: the reader puts them in order.
SURVEY = {
    "households.csv": "household_id,household_weight\n2,200.5\n1,100\n",
    "persons.csv": (
        "person_id,person_household_id,person_tax_unit_id,person_spm_unit_id,"
        "person_family_id,person_marital_unit_id,age\n"
        "21,2,20,20,20,21,70\n11,1,10,10,10,11,40\n12,1,10,10,10,11,38\n13,1,11,10,12,13,25\n"
    ),
    "tax_units.csv": "tax_unit_id\n10\n11\n20\n",
    "spm_units.csv": "spm_unit_id\n20\n10\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a dictionary, one table of every type, and a survey of four people."""
    (tmp_path / "survey").mkdir()
    (tmp_path / "dictionary.csv").write_text(DICTIONARY)
    (tmp_path / "t.csv").write_text(TABLE)
    for name, text in SURVEY.items():
        (tmp_path / "survey" / name).write_text(text)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that must be in a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# -- what is read --------------------------------------------------------------------------


def test_types(folder):
    """Each column has the type of the dictionary, and codes keep their leading zeros."""
    table = read_table(folder, "t.csv")
    assert list(table) == ["code", "amount", "count", "flag"]
    assert table["code"].tolist() == ["06037", "00001"]
    assert table["amount"].dtype == np.float64
    assert table["amount"].tolist() == [1.5, -300.0]
    assert table["count"].dtype == np.int64
    assert table["flag"].dtype == bool
    assert table["flag"].tolist() == [True, False]


def test_dictionary(folder):
    """The dictionary tells unit and meaning of every column, in the order of the file."""
    columns = read_dictionary(folder)["t.csv"]
    assert [column.name for column in columns] == ["code", "amount", "count", "flag"]
    assert (columns[1].type, columns[1].unit, columns[1].description) == (
        "float",
        "USD/year",
        "An amount",
    )


def test_column_order_is_free(folder):
    """Columns may stand in any order in the file; the table has the dictionary's order."""
    (folder / "t.csv").write_text("flag,count,amount,code\ntrue,2,1.5,06037\n")
    table = read_table(folder, "t.csv")
    assert list(table) == ["code", "amount", "count", "flag"]
    assert table["count"].tolist() == [2]


def test_no_rows(folder):
    """A file with a header alone is a table without rows, with the right types."""
    (folder / "t.csv").write_text("code,amount,count,flag\n")
    table = read_table(folder, "t.csv")
    assert [len(column) for column in table.values()] == [0, 0, 0, 0]
    assert [column.dtype.kind for column in table.values()] == ["U", "f", "i", "b"]


def test_survey(folder):
    """A survey has six tables in order of ids; families and couples come from the persons."""
    survey = read_survey(folder, 2024)
    assert survey.period == 2024
    assert survey["household_id"].tolist() == [1, 2]
    assert survey["household_weight"].tolist() == [100.0, 200.5]
    assert survey["person_id"].tolist() == [11, 12, 13, 21]
    assert survey["age"].tolist() == [40.0, 38.0, 25.0, 70.0]
    assert survey["family_id"].tolist() == [10, 12, 20]
    assert survey["marital_unit_id"].tolist() == [11, 13, 21]
    assert survey["spm_unit_id"].tolist() == [10, 20]
    assert sum(len(table) for table in survey.tables.values()) == 2 + 7 + 4


def test_row_order_is_free(folder):
    """The same rows in another order give the same survey."""
    before = read_survey(folder, 2024)
    for name, text in SURVEY.items():
        header, *rows = text.splitlines()
        (folder / "survey" / name).write_text("\n".join([header, *rows[::-1]]) + "\n")
    after = read_survey(folder, 2024)
    assert before.arrays().keys() == after.arrays().keys()
    for name, array in before.arrays().items():
        np.testing.assert_array_equal(array, after.arrays()[name])


TEXTS = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=5)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(
    st.tuples(TEXTS, FLOATS, st.integers(-(10**18) + 1, 10**18 - 1), st.booleans()), max_size=6
)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_round_trip(tmp_path_factory, rows):
    """What is written comes back bit for bit, whatever the numbers and texts."""
    folder = tmp_path_factory.mktemp("round")
    (folder / "dictionary.csv").write_text(DICTIONARY)
    code, amount, count, flag = zip(*rows, strict=True) if rows else ((), (), (), ())
    table = {
        "code": np.array(code, dtype=np.str_),
        "amount": np.array(amount, dtype=np.float64) + 0.0,  # -0 + 0 is 0
        "count": np.array(count, dtype=np.int64),
        "flag": np.array(flag, dtype=bool),
    }
    write_table(folder, "t.csv", table)
    back = read_table(folder, "t.csv")
    for name, column in table.items():
        assert back[name].tolist() == column.tolist()
        assert back[name].dtype.kind == column.dtype.kind


# -- what is refused -----------------------------------------------------------------------


def refused(folder: Path, error: type[Exception], *words: str, survey: bool = False) -> None:
    """Require that reading fails with this error, in one line that has all the words."""
    with pytest.raises(error) as caught:
        read_survey(folder, 2024) if survey else read_table(folder, "t.csv")
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("column", "line", "old", "new"),
    [
        ("amount", 2, "1.5", "1,5"),
        ("amount", 2, "1.5", "1.5x"),
        ("amount", 2, "1.5", " 1.5"),
        ("amount", 2, "1.5", "1_5"),
        ("amount", 2, "1.5", "nan"),
        ("amount", 2, "1.5", "NaN"),
        ("amount", 2, "1.5", "inf"),
        ("amount", 2, "1.5", "1e999"),
        ("amount", 2, "1.5", ""),
        ("amount", 3, "-3e2", "--3"),
        ("count", 3, ",0,", ",0.0,"),
        ("count", 3, ",0,", ",1e3,"),
        ("count", 3, ",0,", ",9999999999999999999,"),
        ("count", 3, ",0,", ",٣,"),
        ("flag", 3, "false", "False"),
        ("flag", 2, "true", "1"),
        ("code", 2, "06037", ""),
        ("code", 2, "06037", "0\x006"),
    ],
)
def test_cell_of_another_type(folder, column, line, old, new):
    """A cell that is not of its type is named by file, line, column and value."""
    quoted = f'"{new}"' if "," in new and "," not in old else new
    edit(folder / "t.csv", old, quoted)
    value = new.strip(",") if "," in old else new
    said = repr(value) if value else "is empty"
    refused(folder, DatasetError, "t.csv", f"line {line}:", column, said)


def test_missing_column(folder):
    """A column that the dictionary has and the file lacks is named."""
    edit(folder / "t.csv", "amount", "amounts")
    refused(folder, DatasetError, "t.csv", "unknown column 'amounts'", "did you mean 'amount'")
    (folder / "t.csv").write_text("code,count,flag\n06037,2,true\n")
    refused(folder, DatasetError, "t.csv", "no column 'amount'")


def test_repeated_column(folder):
    """A column that stands twice is named."""
    (folder / "t.csv").write_text("code,amount,amount,count,flag\n06037,1,2,2,true\n")
    refused(folder, DatasetError, "t.csv", "'amount' 2 times")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TABLE[:-8], ("line 3 has 3 cells, the header has 4", "whole")),
        (TABLE[:-3], ("line 3 does not end", "cut short")),
        (TABLE[:-1], ("line 3 does not end", "cut short")),
        ("code,amount,count,flag\n06037,1,2,true,\n", ("line 2 has 5 cells",)),
        ("code,amount,count,flag\n\n06037,1,2,true\n", ("line 2 has 0 cells",)),
        ('code,amount,count,flag\n"06037,1,2,true\n', ("line 2", "whole")),
        ('code,amount,count,flag\n"06037"x,1,2,true\n', ("line 2", "whole")),
        ("code,amo", ("line 1 does not end",)),
        ("", ("t.csv is empty",)),
        ("\n\n", ("t.csv is empty",)),
    ],
)
def test_file_cut_short(folder, text, words):
    """A row or a file that is cut short, or empty, is refused with its line."""
    (folder / "t.csv").write_text(text)
    refused(folder, FileError, "t.csv", *words)


def test_wrong_encoding(folder):
    """A file that is not UTF-8 is refused with the line and the byte."""
    (folder / "t.csv").write_bytes(TABLE.replace("00001", "Málaga").encode("latin-1"))
    refused(folder, FileError, "t.csv", "line 3", "0xe1", "UTF-8")


def test_missing_file_and_folder(folder):
    """A file, a folder or a dictionary that is not there is named."""
    (folder / "t.csv").unlink()
    refused(folder, FileError, str(folder / "t.csv"), "does not exist")
    (folder / "dictionary.csv").unlink()
    refused(folder, FileError, "dictionary.csv does not exist")
    refused(folder / "nowhere", FileError, f"the folder {folder / 'nowhere'} does not exist")


def test_a_folder_instead_of_a_file(folder):
    """A folder of the file's name is refused, with what the system says."""
    (folder / "t.csv").unlink()
    (folder / "t.csv").mkdir()
    refused(folder, FileError, "cannot read", "t.csv")


def test_file_that_the_dictionary_lacks(folder):
    """A file that the dictionary does not list is refused; the nearest name is given."""
    with pytest.raises(DatasetError, match=r"no file 't\.cs'; did you mean 't\.csv'"):
        read_table(folder, "t.cs")


def test_wrong_dictionary(folder):
    """A dictionary with other columns, an unknown type, or a column twice is refused."""
    edit(folder / "dictionary.csv", "t.csv,amount,float", "t.csv,amount,double")
    refused(folder, DatasetError, "dictionary.csv line 3", "'double'", "float, int, bool, str")
    edit(folder / "dictionary.csv", "amount,double", "amount,float")
    edit(folder / "dictionary.csv", "t.csv,count,int", "t.csv,amount,int")
    refused(folder, DatasetError, "dictionary.csv line 4", "'amount' of t.csv a second time")
    edit(folder / "dictionary.csv", "file,column", "file,name")
    refused(folder, DatasetError, "dictionary.csv", "file, name", "file, column")


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("households.csv", "2,200.5", "1,200.5", "household_id 1 stands 2 times"),
        ("persons.csv", "13,1,11", "12,1,11", "person_id 12 stands 2 times"),
        ("persons.csv", "21,2,20", "21,3,20", "person 21 belongs to household 3"),
        ("persons.csv", "21,2,20", "21,2,21", "person 21 belongs to tax_unit 21"),
        ("households.csv", "1,100", "1,100\n3,10", "household 3 has no members"),
        ("tax_units.csv", "20\n", "20\n30\n", "tax_unit 30 has no members"),
        ("households.csv", "200.5", "-200.5", "-200.5 at household_id 2"),
        ("persons.csv", "13,1,11,10,12", "13,1,11,10,20", "family 20 has members in more than one"),
    ],
)
def test_survey_that_breaks_a_rule(folder, file, old, new, words):
    """Repeated ids, people without a unit, empty units and negative weights are refused."""
    edit(folder / "survey" / file, old, new)
    refused(folder, DatasetError, "survey", words, survey=True)


def test_survey_without_a_table(folder):
    """A survey that lacks a file, or its folder, is refused by name."""
    (folder / "survey" / "spm_units.csv").unlink()
    refused(folder, FileError, "spm_units.csv does not exist", survey=True)
    for name in ("households.csv", "persons.csv", "tax_units.csv"):
        (folder / "survey" / name).unlink()
    (folder / "survey").rmdir()
    refused(folder, FileError, f"the folder {folder / 'survey'} does not exist", survey=True)


def test_survey_whose_persons_lack_a_family(folder):
    """Families cannot be made if the dictionary leaves out the persons' family."""
    edit(folder / "dictionary.csv", "survey/persons.csv,person_family_id,int,-,Family\n", "")
    path = folder / "survey" / "persons.csv"
    path.write_text(
        "person_id,person_household_id,person_tax_unit_id,person_spm_unit_id,"
        "person_marital_unit_id,age\n21,2,20,20,21,70\n11,1,10,10,11,40\n13,1,11,10,13,25\n"
    )
    refused(folder, DatasetError, "persons.csv", "no column 'person_family_id'", survey=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amount": np.array([1.0, np.nan])}, "line 3: amount is 'nan'"),
        ({"code": np.array(["a", "b\nc"])}, "line 3: code is"),
        ({"count": np.array([1.5, 2.0])}, "line 2: count is '1.5'"),
        ({"flag": np.array([1, 0])}, "line 2: flag is '1'"),
        ({"flag": np.array([True])}, "differ in length"),
        ({"other": np.array([1.0, 2.0])}, "unknown column 'other'"),
    ],
)
def test_nothing_unreadable_is_written(folder, change, words):
    """A table that could not be read back is refused, and the file stays as it was."""
    table = read_table(folder, "t.csv") | change
    with pytest.raises(DatasetError, match=words):
        write_table(folder, "t.csv", table)
    assert (folder / "t.csv").read_text() == TABLE
