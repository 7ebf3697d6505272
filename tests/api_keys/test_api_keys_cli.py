"""``velro-cache keys``, as people run it: as a process."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sql_databases import Place, place

from velro_cache.api_keys import KeyFormat, Peppers
from velro_cache.cli.main import main

__all__ = ["place"]

# What does not depend on the database; each process takes a second.
ON_SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
PEPPER = "0123456789abcdef0123456789abcdef"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bare(place: Place) -> Run:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("VELRO_CACHE_")
    }
    environment |= {"VELRO_CACHE_DATABASE_URL": place.url, "VELRO_CACHE_PEPPER": PEPPER}

    def run(*words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "velro_cache", "keys", *words],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment | variables,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def inside_bare(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """The same within this process, which is faster by a second each time."""

    def run(*words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"VELRO_CACHE_DATABASE_URL": place.url, "VELRO_CACHE_PEPPER": PEPPER}
        with monkeypatch.context() as patch:
            for name, value in (environment | variables).items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            try:
                status: object = main(["keys", *words])
            except SystemExit as left:
                status = left.code
        shown = capsys.readouterr()
        assert isinstance(status, int)
        return subprocess.CompletedProcess(words, status, shown.out, shown.err)

    return run


@pytest.fixture
def inside(inside_bare: Run) -> Run:
    assert inside_bare("migrate").returncode == 0
    return inside_bare


@pytest.fixture
def run(bare: Run) -> Run:
    assert bare("migrate").stdout == "tables: api_keys_0001\n"
    return bare


def made(run: Run, *words: str) -> str:
    done = run("create", "--organization", "acme", "--new-organization", "Acme", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def listed(run: Run) -> dict[str, dict[str, object]]:
    lines = run("list", "--json").stdout.splitlines()
    return {entry["id"]: entry for entry in map(json.loads, lines)}


@ON_SQLITE
@pytest.mark.parametrize("action", ["revoke", "rotate"])
def test_a_key_in_the_place_of_its_id_is_not_repeated(inside: Run, action: str) -> None:
    plain = made(inside)
    done = inside(action, plain)
    assert done.returncode == 2
    assert plain not in done.stdout + done.stderr
    assert "not the id" in done.stderr


def test_from_nothing_to_a_revoked_key(run: Run, place: Place) -> None:
    done = run(
        *("create", "--organization", "acme", "--new-organization", "Acme", "--plan", "pro"),
        *("--scope", "read", "--scope", "write", "--name", "ci", "--expires-in-days", "30"),
    )
    # The key alone on standard output, and nowhere else.
    plain = done.stdout.strip()
    assert done.returncode == 0
    assert done.stdout == plain + "\n"
    assert KeyFormat().matches(plain)
    assert plain not in done.stderr
    assert "once" in done.stderr
    ((key_id, entry),) = listed(run).items()
    assert entry["scopes"] == ["read", "write"]
    assert (entry["state"], entry["plan"], entry["name"]) == ("live", "pro", "ci")
    assert entry["shown"] == plain[:12]

    rotated = run("rotate", key_id, "--overlap", "600")
    new = rotated.stdout.strip()
    assert KeyFormat().matches(new) and new != plain
    assert len(listed(run)) == 2
    again = run("rotate", key_id)
    assert (again.returncode, again.stdout) == (1, "")
    assert "rotated already" in again.stderr

    revoked = run("revoke", key_id, "--json")
    assert json.loads(revoked.stdout)["state"] == "revoked"
    assert "triggers" in revoked.stderr
    assert {entry["state"] for entry in listed(run).values()} == {"live", "revoked"}
    text = run("list").stdout + place.dump()
    for secret in (plain, new):
        assert secret[12:] not in text
        digest = Peppers.one(PEPPER.encode()).digest(secret)[1]
        assert digest.hex() in place.dump().lower()
        assert digest.hex() not in run("list").stdout + run("list", "--json").stdout


@ON_SQLITE
def test_as_json(inside: Run) -> None:
    answer = json.loads(made(inside, "--json", "--environment", "test"))
    assert KeyFormat(environment="test").matches(answer["key"])
    assert answer["organization_id"] == "acme"
    assert answer["expires_at"] is None
    assert "digest" not in answer
    assert json.loads(inside("migrate", "--json").stdout) == {"version": "api_keys_0001"}


@ON_SQLITE
def test_lists_some(inside: Run) -> None:
    made(inside)
    for _ in range(4):
        assert inside("create", "--organization", "acme").returncode == 0
    ids = [line.split()[0] for line in inside("list").stdout.splitlines()]
    assert len(ids) == 5
    first = [line.split()[0] for line in inside("list", "--limit", "2").stdout.splitlines()]
    rest = [line.split()[0] for line in inside("list", "--after", first[-1]).stdout.splitlines()]
    assert first + rest == ids
    assert inside("list", "--organization", "nobody").stdout == ""


def test_triggers_and_the_outbox_tell(run: Run, place: Place) -> None:
    assert run("migrate", "--triggers", "default").returncode == 0
    made(run, "--outbox", "default")
    (key_id,) = listed(run)
    before = len(place.events())
    assert run("revoke", key_id, "--outbox", "default").returncode == 0
    told = place.events()[before:]
    assert told and all(event == [f"api_key:{key_id}"] for event in told)


class TestImport:
    def test_digests_as_csv(self, run: Run, tmp_path: Path) -> None:
        made(run)
        digests = [hashlib.sha256(f"theirs {n}".encode()).hexdigest() for n in range(3)]
        path = tmp_path / "keys.csv"
        path.write_text(
            "digest,organization_id,scopes,expires_at,id\n"
            f"{digests[0]},acme,read write,2090-01-01T00:00:00Z,first\n"
            f'{digests[1]},acme,,,\n"{digests[2]}",acme,read,4000000000,\n'
        )
        done = run("import", str(path))
        assert done.stdout == "imported 3, already there 0\n", done.stderr
        assert "accept_plain_sha256" in done.stderr
        assert listed(run)["first"]["scopes"] == ["read", "write"]
        assert listed(run)["first"]["expires_at"] == 3786912000.0
        done = run("import", str(path), "--json")
        assert json.loads(done.stdout) == {"imported": 0, "already_there": 3}

    @ON_SQLITE
    def test_digests_as_json_lines_again_and_again(self, inside: Run) -> None:
        made(inside)
        lines = [
            json.dumps({"digest": hashlib.sha256(str(n).encode()).hexdigest(), "scopes": ["read"]})
            for n in range(1200)
        ]
        for expected in (
            {"imported": 1200, "already_there": 0},
            {"imported": 0, "already_there": 1200},
        ):
            done = inside("import", "--organization", "acme", "--json", stdin="\n".join(lines))
            assert json.loads(done.stdout) == expected, done.stderr

    def test_keys_themselves_are_digested_at_once(self, run: Run, place: Place) -> None:
        ours = KeyFormat().generate()
        theirs = "their-secret-key-of-long-ago-0001"
        made(run)
        done = run("import", "--plain", "--organization", "acme", stdin=f"{ours}\n\n{theirs}\n")
        assert done.stdout == "imported 2, already there 0\n", done.stderr
        dump = place.dump()
        for plain in (ours, theirs):
            assert plain[12:] not in dump + done.stdout + done.stderr
            assert Peppers.one(PEPPER.encode()).digest(plain)[1].hex() in dump.lower()
        assert {entry["shown"] for entry in listed(run).values()} >= {ours[:12], "thei"}

    @ON_SQLITE
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ('{"digest": "ab", "organization_id": "acme"}', "digest"),
            ('{"organization_id": "acme"}', "digest is missing"),
            ('{"key": "vk_live_secret", "organization_id": "acme"}', "--plain"),
            ("[]", "JSON object"),
            ("vk_live_secret", "JSON object"),
            ('{"digest": "%s", "organization_id": "nobody"}', "no organization"),
            ('{"digest": "%s", "organization_id": "acme", "id": "vk live secret"}', "an id"),
            ('{"digest": "%s", "organization_id": "acme", "scopes": [7]}', "scopes"),
            ('{"digest": "%s", "organization_id": "acme", "expires_at": "soon"}', "no moment"),
            ('{"digest": "%s", "organization_id": "acme", "pepper_id": "other"}', "other"),
        ],
    )
    def test_what_is_wrong_is_said_without_what_it_holds(
        self, inside: Run, line: str, said: str
    ) -> None:
        made(inside)
        good = json.dumps({"digest": "ab" * 32, "organization_id": "acme"})
        done = inside("import", stdin=f"{good}\n{line.replace('%s', 'cd' * 32)}\n")
        assert done.returncode == 1
        assert said in done.stderr
        assert "secret" not in done.stderr and "cdcd" not in done.stderr
        # Nothing of what came with it is there.
        assert len(listed(inside)) == 1

    @ON_SQLITE
    def test_no_keys_from_files(self, inside: Run, tmp_path: Path) -> None:
        done = inside("import", "--plain", "--organization", "acme", str(tmp_path / "keys.txt"))
        assert done.returncode == 2
        assert inside("import", "--plain").returncode == 2
        assert inside("import", str(tmp_path / "nowhere.csv")).returncode == 1


@ON_SQLITE
class TestRefusals:
    def test_of_the_database(self, inside_bare: Run) -> None:
        done = inside_bare("list")
        assert done.returncode == 1
        assert "velro-cache keys migrate" in done.stderr
        unreachable = "postgresql://u:hunter2@127.0.0.1:1/d"
        done = inside_bare("list", VELRO_CACHE_DATABASE_URL=unreachable)
        assert done.returncode == 3
        for url in ("mysql://u:hunter2@h/d", "hunter2", ""):
            done = inside_bare("list", VELRO_CACHE_DATABASE_URL=url)
            assert done.returncode == 1
            assert "hunter2" not in done.stderr
            assert "Traceback" not in done.stderr

    def test_of_the_pepper(self, inside: Run) -> None:
        done = inside("create", "--organization", "acme", VELRO_CACHE_PEPPER="")
        assert done.returncode == 4
        done = inside("create", "--organization", "acme", VELRO_CACHE_PEPPER="hunter2")
        assert done.returncode == 1
        assert "hunter2" not in done.stderr

    def test_of_what_is_not_there(self, inside: Run) -> None:
        for words in (
            ("create", "--organization", "nobody"),
            ("revoke", "nothing"),
            ("rotate", "nothing"),
            ("revoke", ""),
        ):
            done = inside(*words)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith("velro-cache: ")
            assert "Traceback" not in done.stderr

    def test_of_what_is_not_understood(self, inside: Run) -> None:
        for words in (
            (),
            ("create",),
            ("rotate", "k", "--overlap", "-1"),
            ("create", "--organization", "a", "--expires-at", "soon"),
            ("create", "--organization", "a", "--expires-in-days", "nan"),
            ("create", "--organization", "a", "--pepper", "x"),
            ("list", "--limit", "0"),
        ):
            assert inside(*words).returncode == 2
        done = inside(
            "create", "--organization", "acme", "--scope", "a b", "--new-organization", "A"
        )
        assert done.returncode == 1 and "Traceback" not in done.stderr
