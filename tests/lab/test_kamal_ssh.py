"""How a project reaches its servers: private keys that are secrets (ssh.key_data), and nothing but those."""

from kamalkit import Project
from labkit import Lab


def test_keys_that_are_secrets():
    with Lab(hosts=2, engine=False) as lab:
        project = Project(lab)
        keys = f"keys: [{lab.keys.client['ed25519']}]"
        secrets = (project.folder / ".kamal/secrets").read_text()
        say = ["server", "exec", "echo in as $USER"]
        for kind, path in ((kind, lab.keys.client[kind]) for kind in ("ed25519", "ecdsa", "rsa")):
            (project.folder / ".kamal/secrets").write_text(f"{secrets}SSH_KEY=$(cat {path})\n")
            project.configure(keys, f"keys_only: {'true' if kind != 'rsa' else 'false'}, key_data: [SSH_KEY]")
            keys = project.path.read_text().partition("user: root, ")[2].partition(", config: false")[0]
            said = project.good(*say, "-v")
            assert said.out.count("in as root") == 2, said
            key = path.read_text().splitlines()[1]
            assert key not in said.out + said.err, "the key itself is in no log"
        # Several, of which one is known; the key itself instead of a name, as old versions of Kamal had it.
        pem = lab.keys.client["ed25519"].read_text().replace("\n", "\n      ")
        text = project.path.read_text()
        assert keys in text
        before, _, after = text.partition("ssh: {")
        project.path.write_text(before + "ssh:\n  user: root\n  config: false\n  key_data:\n    - |\n      " + pem + "\n"
                                + after.partition("}\n")[2])
        assert project.good(*say).out.count("in as root") == 2
        # A secret that is missing, and one that is no key.
        project.path.write_text(before + "ssh: { user: root, config: false, key_data: [NOWHERE] }\n" + after.partition("}\n")[2])
        bad = project.run(*say)
        assert bad.code in (1, 2) and "NOWHERE" in bad.out + bad.err, bad
        project.path.write_text(before + "ssh: { user: root, config: false, keys_only: true, key_data: [API_TOKEN] }\n"
                                + after.partition("}\n")[2])
        bad = project.run(*say)
        assert bad.code == 4 and "[secret:API_TOKEN]" in bad.out + bad.err and "token $x" not in bad.out + bad.err, bad
