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


def _returns_a_value(lines, number):
    """Whether the function that begins there returns something itself, not only a function inside it."""
    if lines[number].rstrip().endswith("end"):
        return re.search(r"\breturn\b(?! end\b)\s*\S", lines[number]) is not None
    inner = None
    for line in lines[number + 1:]:
        if line.startswith("end"):
            return False
        indent = len(line) - len(line.lstrip())
        if inner is not None:
            if indent <= inner and re.match(r"\s*(end|\}|until)", line):
                inner = None
            continue
        if re.search(r"\bfunction\b[^\n]*$", line) and not re.search(r"\bend\b[\s)},;]*$", line):
            inner = indent
            continue
        if re.match(r"\s*return\s+\S", line) or re.search(r"\b(then|else|do)\s+return\s+(?!end\b)\S", line):
            return True
    return False


def unannotated_functions():
    """Of what recipes and specs may call: every parameter has its @param, and what returns something its @return.
    Interfaces: as above."""
    found, problems = 0, []
    interface = set()
    for path in sorted((ROOT / "stdlib").rglob("*.lua")):
        interface |= set(re.findall(r"--- @field (\w+) fun", path.read_text()))
    public = [ROOT / "stdlib/deploy.lua", ROOT / "stdlib/test.lua", *(ROOT / "stdlib/native").glob("*.lua"),
              *(ROOT / "stdlib/deploy").glob("*.lua")]
    public.remove(ROOT / "stdlib/deploy/rehearsal.lua")  # answers the calls of deploy/plan.lua, which documents them
    for path in sorted(public):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            match = FUNCTION.match(line)
            if not match or not lines[number - 1].startswith("---"):
                continue
            found += 1
            first = number
            while lines[first - 1].startswith("---"):
                first -= 1
            comment = "\n".join(lines[first:number])
            where = f"{path.relative_to(ROOT)}:{number + 1}: {match[2]}"
            documented = re.findall(r"^--- @param ([\w.]+)", comment, re.M)
            declared = re.findall(r"[\w.]+", line[match.end():line.index(")", match.end())])
            if match[2] in interface and not documented:
                continue
            problems += [f"{where}: parameter {name} has no @param" for name in declared if name not in documented]
            problems += [f"{where}: @param {name} is no parameter" for name in documented if name not in declared]
            if _returns_a_value(lines, number) and "--- @return" not in comment:
                problems.append(f"{where}: has no @return")
    assert found > 100, "the pattern finds no functions any more"
    return problems


def main():
    checks = {"errors": undocumented_errors, "functions": lambda: undocumented_functions() + unannotated_functions()}
    problems = checks[sys.argv[1]]()
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
