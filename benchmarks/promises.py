"""`make promises`: runs every test that docs/promises.md names and prints its table with the results."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

PAGE = Path(__file__).parents[1] / "docs/promises.md"
_ROW = re.compile(r"^\| (?P<what>[^|]+) \| (?P<test>tests/[^ |]+|none) \|$")


def rows(page: Path = PAGE) -> list[tuple[str, str]]:
    """(promise or fault, node id of its test or "none") in the order of the page."""
    found = (_ROW.match(line) for line in page.read_text(encoding="utf-8").split("\n"))
    return [(match["what"], match["test"]) for match in found if match]


def results(tests: list[str]) -> Mapping[str, str]:
    """passed, failed or skipped for each node id; several cases of one test count as their worst."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "", f"--junit-xml={report}", *tests]
        subprocess.run(command, check=False, cwd=PAGE.parents[1], stdout=subprocess.DEVNULL)
        cases = ET.parse(report).getroot().iter("testcase")
        worst: dict[str, str] = {}
        for case in cases:
            kinds = {child.tag for child in case}
            result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            path = str(case.get("classname")).replace(".", "/")
            name = f"{path}.py::{str(case.get('name')).partition('[')[0]}"
            worst[name] = min(worst.get(name, result), result)  # failed < passed < skipped, as it happens
    return worst


def main() -> int:
    table = rows()
    found = results(sorted({test for _, test in table if test != "none"}))
    told = [(what, test, "no test" if test == "none" else found.get(test, "not found")) for what, test in table]
    for what, test, result in told:
        print(f"{result:<9}  {what:<45}  {test}")
    return int(any(result in ("failed", "not found") for _, _, result in told))


if __name__ == "__main__":
    sys.exit(main())
