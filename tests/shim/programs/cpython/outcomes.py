"""Prints what became of each test in a JUnit report of CPython's own test runner: `id<TAB>outcome`."""

import sys
import xml.etree.ElementTree as tree

seen = {}
for case in tree.parse(sys.argv[1]).iter("testcase"):
    # A test that was not run at all has no "completed"; one that passed has no element inside.
    outcomes = [child.tag for child in case if child.tag in ("skipped", "failure", "error")]
    if not outcomes:
        outcomes = ["ok" if case.get("result", "completed") == "completed" else case.get("result")]
    seen.setdefault(case.get("name"), []).extend(outcomes)
for name, outcomes in sorted(seen.items()):
    print(name, "+".join(sorted(outcomes)), sep="\t")
