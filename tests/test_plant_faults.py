"""The planted faults fit the sources: `make test-the-tests` takes long, and texts change."""

import ast

import pytest
from plant_faults import FAULTS, FOLDERS, ROOT


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_planted(fault):
    text = (ROOT / fault.file).read_text()
    assert fault.file.split("/")[0] in FOLDERS
    assert text.count(fault.old) == 1, f"{fault.file} has changed"
    planted = text.replace(fault.old, fault.new)
    # Tests must turn red because of what the code does, not because there is none.
    assert ast.dump(ast.parse(planted)) != ast.dump(ast.parse(text))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_has_tests_that_exist(fault):
    assert fault.tests and fault.meaning
    assert [name for name in fault.tests if not (ROOT / f"tests/{name}.py").is_file()] == []


def test_names_are_unique():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
