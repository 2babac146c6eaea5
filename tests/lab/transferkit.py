"""What the tests of transfers share: a recipe around a few lines of Lua, and looks at the server's side."""

import hashlib
import random

from labkit.program import Program, environment

RECIPE = """\
local deploy = require "deploy"
local host = deploy.host {{ name = "h1", address = "{address}", user = "root", keys = {{ "{key}" }},
  known_hosts = "{known_hosts}", config = false }}

deploy.command "transfer" {{
  default = true,
  run = function(run)
    run:step("transfer", {{ on = host, run = function(on)
{body}
    end }})
  end,
}}
"""
MIB = 1024 * 1024


def transfer(lab, body, *options):
    folder = lab.scratch()
    (folder / "transfer.lua").write_text(RECIPE.format(address=lab.hosts[0].address, key=lab.keys.client["ed25519"],
                                                       known_hosts=lab.known_hosts, body=body))
    return Program(["transfer.lua", *options], cwd=folder, env=environment({"HOME": lab.folder})).wait()


def good(lab, body):
    result = transfer(lab, body)
    assert result.code == 0, result
    return result


def noise(path, size, seed):
    source, digest = random.Random(seed), hashlib.sha256()
    with path.open("wb") as file:
        for at in range(0, size, 16 * MIB):
            piece = source.randbytes(min(16 * MIB, size - at))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def there(lab, *argv):
    return lab.hosts[0].machine.run(argv).stdout.strip()


def sum_there(lab, path):
    return there(lab, "sha256sum", path).split()[0]


def same_tree(one, other):
    def tree(root):
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*"))
                if path.is_file() and not path.is_symlink()}
    assert tree(one) == tree(other)
