"""Names and bodies of the outbox, without a database."""

from __future__ import annotations

import json
import sqlite3
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_cache._engine import event_body
from velro_cache.cli.main import main
from velro_cache.exceptions import ConfigError, InvalidKeyError, InvalidTagError
from velro_cache.outbox import drop_trigger_ddl, outbox_ddl, trigger_ddl
from velro_cache.outbox.names import channel_of, check_cache_name, literal, qualified, quoted
from velro_cache.outbox.tables import statements


class TestNames:
    @given(st.text(min_size=1, max_size=15))
    def test_texts_and_names_are_what_was_written(self, text: str) -> None:
        try:
            name, value = quoted(text), literal(text)
        except ConfigError:
            assert "\0" in text or "$velro" in text
            return
        except UnicodeEncodeError:
            pytest.fail("a lone surrogate is no reason to fail")
        if any("\ud800" <= character <= "\udfff" for character in text) or "\\" in text:
            # SQLite has no such texts; a backslash is written as PostgreSQL wants it.
            return
        with sqlite3.connect(":memory:") as database:
            cursor = database.execute(f"SELECT {value} AS {name}")
            assert cursor.fetchone() == (text,)
            assert cursor.description[0][0] == text
        database.close()

    @pytest.mark.parametrize("wrong", ["", "x" * 64, "ä" * 32, "a\0b", "a$velro_sql$"])
    def test_what_cannot_be_a_name_is_refused(self, wrong: str) -> None:
        with pytest.raises(ConfigError):
            quoted(wrong)
        with pytest.raises(ConfigError):
            qualified("table", wrong)

    @pytest.mark.parametrize("wrong", ["", "a b", "a'b", "ä", "x" * 65, None, 7])
    def test_what_cannot_be_a_cache_is_refused(self, wrong: Any) -> None:
        with pytest.raises(ConfigError):
            check_cache_name(wrong)
        for ddl in (outbox_ddl("sqlite"), outbox_ddl("postgresql")):
            assert "velro_counter" in ddl
        with pytest.raises(ConfigError):
            outbox_ddl("sqlite", name=wrong)
        with pytest.raises(ConfigError):
            trigger_ddl("postgresql", "t", ["a:{b}"], name=wrong)

    def test_a_channel_is_short_whatever_the_name(self) -> None:
        assert len(channel_of("x" * 64)) == len(channel_of("a")) < 63
        assert channel_of("a") != channel_of("b")


class TestBodies:
    def test_ids_are_tags_in_their_one_spelling(self) -> None:
        user = UUID("12345678-1234-5678-1234-567812345678")
        body = event_body(["t"], ["k"], ["p*"], user, 7)
        tags = ["t", f"user:{user}", "generation:7"]
        assert json.loads(body) == {"v": 1, "tags": tags, "keys": ["k"], "patterns": ["p*"]}

    def test_iterables_of_all_kinds(self) -> None:
        assert json.loads(event_body(tag for tag in ("a", "b")))["tags"] == ["a", "b"]
        assert json.loads(event_body(keys=frozenset(["a"])))["keys"] == ["a"]

    def test_too_much_and_unreadable_names_are_everything(self) -> None:
        everything = {"v": 1, "all": True}
        assert json.loads(event_body(["x" * 2000] * 200)) == everything
        assert json.loads(event_body(["\ud800"])) == everything
        assert json.loads(event_body(["a"], all=True)) == everything

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({}, InvalidTagError),
            ({"tags": []}, InvalidTagError),
            ({"tags": "bare"}, InvalidTagError),
            ({"tags": b"bare"}, InvalidTagError),
            ({"tags": 7}, InvalidTagError),
            ({"tags": [7]}, InvalidTagError),
            ({"keys": [7]}, TypeError),
            ({"keys": ["x" * 8193]}, InvalidKeyError),
            ({"user_id": 1.5}, TypeError),
            ({"generation_id": ""}, InvalidKeyError),
        ],
    )
    def test_what_names_nothing_is_refused(
        self, arguments: dict[str, Any], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            event_body(**arguments)


class TestTriggers:
    @pytest.mark.parametrize("wrong", ["", "a:{", "a:}", "a:{}", "{{a}", "{a{b}}", "{a\0}"])
    @pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
    def test_tags_that_mean_nothing_are_refused(self, dialect: str, wrong: str) -> None:
        with pytest.raises(ConfigError):
            trigger_ddl(dialect, "t", [wrong])

    def test_names_are_short_and_each_its_own(self) -> None:
        found = [
            drop_trigger_ddl("postgresql", table, name=name, schema=schema)
            for table in ("t", "T", "x" * 60 + "a", "x" * 60 + "b")
            for name in ("one", "two")
            for schema in (None, "s")
        ]
        assert len(set(found)) == len(found)
        assert all(len(part) <= 63 for ddl in found for part in ddl.split('"'))

    @pytest.mark.parametrize(
        ("dialect", "options"),
        [("mysql", {}), ("sqlite", {"schema": "s"}), ("sqlite", {"outbox_schema": "s"})],
    )
    def test_what_cannot_be_is_refused(self, dialect: str, options: dict[str, str]) -> None:
        with pytest.raises(ConfigError):
            trigger_ddl(dialect, "t", ["a"], **options)
        with pytest.raises(ConfigError):
            trigger_ddl("postgresql", "t", [])


def test_the_tables_are_split_into_statements() -> None:
    found = statements(outbox_ddl("postgresql", schema="s"))
    assert len(found) == 5
    assert all('"s".velro_' in statement for statement in found)
    assert [statement.split()[0] for statement in found] == ["CREATE"] * 4 + ["INSERT"]


@pytest.mark.parametrize(
    "words",
    [["--tag", "a"], ["--schema", "s"], ["--table", "t"], ["--name", "a b"], ["--table", ""]],
)
def test_the_command_line_says_what_is_missing(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["outbox", "ddl", *words])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("velro-cache: ")
