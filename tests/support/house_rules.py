#!/usr/bin/env python3
"""The house checks itself: every error kind stands in docs/errors.md, every public Lua function has its documentation.

    tests/support/house_rules.py errors|functions
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KIND = re.compile(r'(?:kind = |raise\(|make\(|wrap\()"([a-z_]+\.[a-z_]+)"')
FUNCTION = re.compile(r"^function ([A-Z]\w*)[.:]([a-z]\w*)\(")


def undocumented_errors():
    listed = (ROOT / "docs/errors.md").read_text()
    kinds = set()
    for folder, ending in (("runtime", "*.[ch]pp"), ("stdlib", "*.lua")):
        for path in (ROOT / folder).rglob(ending):
            kinds |= set(KIND.findall(path.read_text()))
    assert len(kinds) > 50, "the pattern finds no kinds any more"
    return [f"{kind} is not in docs/errors.md" for kind in sorted(kinds) if f"`{kind}`" not in listed]


def undocumented_functions():
    """A method of an interface is documented where the interface is: as a field of its class, or at a sibling."""
    found, missing, documented = 0, [], set()
    for path in sorted((ROOT / "stdlib").rglob("*.lua")):
        lines = path.read_text().splitlines()
        documented |= set(re.findall(r"--- @field (\w+) fun", "\n".join(lines)))
        for number, line in enumerate(lines):
            if match := FUNCTION.match(line):
                found += 1
                if lines[number - 1].startswith("---"):
                    documented.add(match[2])
                else:
                    missing.append((match[2], f"{path.relative_to(ROOT)}:{number + 1}: {match[2]} has no documentation"))
    assert found > 100, "the pattern finds no functions any more"
    return [problem for name, problem in missing if name not in documented]


def main():
    checks = {"errors": undocumented_errors, "functions": undocumented_functions}
    problems = checks[sys.argv[1]]()
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
