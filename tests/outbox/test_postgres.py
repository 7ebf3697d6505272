"""The outbox in PostgreSQL: what a transaction writes down is heard of if, and only if, it is
committed, and in that order."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from callers import InThread
from services.postgres import PostgresServer, shared_server, until
from velro_cache._engine import InvalidationLog
from velro_cache.exceptions import ConfigError, InvalidKeyError, InvalidTagError
from velro_cache.outbox import (
    arecord_invalidation,
    create_outbox,
    drop_ddl,
    drop_trigger_ddl,
    outbox_ddl,
    record_invalidation,
    trigger_ddl,
)

_numbers = itertools.count(1)


class Database:
    """A database of one's own, with the outbox in it."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.name = f"outbox_{next(_numbers)}"
        self.url = server.create_database(self.name)
        self.psql(outbox_ddl("postgresql"))

    def psql(self, sql: str) -> str:
        return self.server.psql(sql, dbname=self.name)

    def address(self, driver: str) -> str:
        return self.url.replace("postgresql://", f"postgresql+{driver}://", 1)

    def log(self, timeout_seconds: float = 5.0) -> InvalidationLog:
        return InvalidationLog(self.url, "default", timeout_seconds)

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        batch = self.log().poll(after)
        assert [number for number, _ in batch.entries] == list(range(after + 1, batch.last + 1))
        return [json.loads(body) for _, body in batch.entries]


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database(shared_server())
    yield database
    shared_server().psql(f"DROP DATABASE {database.name} WITH (FORCE)")


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    engine = create_engine(database.address("psycopg"))
    yield engine
    engine.dispose()


@pytest.fixture
async def async_engine(database: Database) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database.address("asyncpg"))
    yield engine
    await engine.dispose()


def waits_for_a_lock(database: Database) -> bool:
    ask = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return database.psql(ask).strip() != "0"


class TestRecording:
    def test_says_what_a_cache_would_be_told(self, database: Database, engine: Engine) -> None:
        user = UUID("12345678-1234-5678-1234-567812345678")
        with engine.begin() as connection:
            assert record_invalidation(connection, user_id=user, generation_id=7) == 1
            assert record_invalidation(connection, tags=("a:ü", "b'\"\\"), keys=["k"]) == 2
            assert record_invalidation(connection, patterns={"auth:team:*"}) == 3
            assert record_invalidation(connection, user_id="1", all=True) == 4
        assert database.events() == [
            {"v": 1, "tags": [f"user:{user}", "generation:7"]},
            {"v": 1, "tags": ["a:ü", "b'\"\\"], "keys": ["k"]},
            {"v": 1, "patterns": ["auth:team:*"]},
            {"v": 1, "all": True},
        ]

    def test_of_what_was_rolled_back_nothing_is_heard(
        self, database: Database, engine: Engine
    ) -> None:
        with engine.connect() as connection:
            assert record_invalidation(connection, user_id=1) == 1
            connection.rollback()
        assert database.events() == []
        with engine.begin() as connection:
            # And it leaves no gap.
            assert record_invalidation(connection, user_id=2) == 1
        assert database.events() == [{"v": 1, "tags": ["user:2"]}]

    def test_of_what_is_not_committed_nothing_is_heard_yet(
        self, database: Database, engine: Engine
    ) -> None:
        with engine.begin() as connection:
            record_invalidation(connection, user_id=1)
            assert database.events() == []
        assert len(database.events()) == 1

    def test_a_savepoint_that_was_rolled_back_leaves_no_gap(
        self, database: Database, engine: Engine
    ) -> None:
        with engine.begin() as connection:
            with connection.begin_nested() as savepoint:
                assert record_invalidation(connection, user_id=1) == 1
                savepoint.rollback()
            assert record_invalidation(connection, user_id=2) == 1
        assert database.events() == [{"v": 1, "tags": ["user:2"]}]

    @pytest.mark.parametrize("make", [Session, sessionmaker, scoped_session])
    def test_takes_sessions(
        self, database: Database, engine: Engine, make: Callable[..., Any]
    ) -> None:
        session = {
            Session: lambda: Session(engine),
            sessionmaker: lambda: sessionmaker(engine)(),
            scoped_session: lambda: scoped_session(sessionmaker(engine)),
        }[make]()
        with session.begin():
            session.execute(text("CREATE TABLE permission (user_id int)"))
            assert record_invalidation(session, user_id=1) == 1
        session.close()
        assert len(database.events()) == 1

    @pytest.mark.parametrize("of_session", [True, False])
    async def test_takes_asynchronous_ones(
        self, database: Database, async_engine: AsyncEngine, of_session: bool
    ) -> None:
        if of_session:
            async with AsyncSession(async_engine) as session, session.begin():
                await session.execute(text("CREATE TABLE permission (user_id int)"))
                assert await arecord_invalidation(session, user_id=1) == 1
                assert await arecord_invalidation(session, tags=["ü"]) == 2
        else:
            async with async_engine.begin() as connection:
                assert await arecord_invalidation(connection, user_id=1) == 1
                assert await arecord_invalidation(connection, tags=["ü"]) == 2
            async with async_engine.connect() as connection:
                assert await arecord_invalidation(connection, user_id=1) == 3
        assert database.events() == [{"v": 1, "tags": ["user:1"]}, {"v": 1, "tags": ["ü"]}]

    async def test_an_asynchronous_connection_works_with_psycopg_as_well(
        self, database: Database
    ) -> None:
        engine = create_async_engine(database.address("psycopg"))
        async with engine.begin() as connection:
            assert await arecord_invalidation(connection, user_id=1) == 1
        await engine.dispose()
        assert database.events() == [{"v": 1, "tags": ["user:1"]}]

    async def test_says_which_of_the_two_functions_to_use(
        self, engine: Engine, async_engine: AsyncEngine
    ) -> None:
        with engine.connect() as connection, pytest.raises(ConfigError, match="record_inv"):
            await arecord_invalidation(connection, user_id=1)  # type: ignore[arg-type]
        async with async_engine.connect() as connection:
            with pytest.raises(ConfigError, match="arecord_invalidation"):
                record_invalidation(connection, user_id=1)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="int"):
            record_invalidation(7, user_id=1)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({}, InvalidTagError),
            ({"tags": "user:1"}, InvalidTagError),
            ({"tags": [""]}, InvalidTagError),
            ({"tags": ["x" * 2049]}, InvalidTagError),
            ({"keys": "key"}, InvalidTagError),
            ({"keys": [""]}, InvalidKeyError),
            ({"patterns": [""]}, InvalidKeyError),
            ({"user_id": ""}, InvalidKeyError),
            ({"user_id": True}, TypeError),
            ({"tags": [1]}, InvalidTagError),
            ({"all": True, "name": "a b"}, ConfigError),
        ],
    )
    def test_refuses_what_names_nothing(
        self, database: Database, engine: Engine, wrong: dict[str, Any], error: type[Exception]
    ) -> None:
        with engine.begin() as connection, pytest.raises(error):
            record_invalidation(connection, **wrong)
        assert database.events() == []

    def test_too_many_names_mean_everything(self, database: Database, engine: Engine) -> None:
        with engine.begin() as connection:
            record_invalidation(connection, tags=[f"user:{number}" for number in range(30_000)])
            record_invalidation(connection, tags=["lone \ud800"])
            record_invalidation(connection, tags=[f"user:{number}" for number in range(1000)])
        everything = {"v": 1, "all": True}
        events = database.events()
        assert events[:2] == [everything, everything]
        assert len(events[2]["tags"]) == 1000

    def test_missing_tables_are_explained(self, database: Database, engine: Engine) -> None:
        database.psql(drop_ddl("postgresql"))
        with (
            engine.begin() as connection,
            pytest.raises(ConfigError, match="velro-cache outbox ddl"),
        ):
            record_invalidation(connection, user_id=1)
        with engine.begin() as connection:
            create_outbox(connection)
            create_outbox(connection)
            assert record_invalidation(connection, user_id=1) == 1
            connection.rollback()
        with engine.begin() as connection, pytest.raises(ConfigError):
            record_invalidation(connection, user_id=1)

    def test_the_tables_may_have_a_schema_of_their_own(
        self, database: Database, engine: Engine
    ) -> None:
        database.psql(drop_ddl("postgresql"))
        schema = 'odd "schema'
        database.psql('CREATE SCHEMA "odd ""schema"')
        with engine.begin() as connection:
            create_outbox(connection, schema=schema)
            connection.exec_driver_sql('SET LOCAL search_path = "odd ""schema"')
            assert record_invalidation(connection, user_id=1) == 1
        options = "?options=-csearch_path%3D%22odd%5C%20%22%22schema%22"
        log = InvalidationLog(database.url + options, "default")
        assert log.poll().last == 1
        database.psql(drop_ddl("postgresql", schema=schema))

    def test_wakes_whoever_waits_when_it_is_committed(
        self, database: Database, engine: Engine
    ) -> None:
        log = database.log()
        log.wait(0, 0)
        waiting = InThread(lambda: log.wait(0, 30))
        with engine.begin() as connection:
            record_invalidation(connection, user_id=1)
            assert waiting.is_running
        waiting.outcome()
        assert log.poll().last == 1

    def test_an_entry_nobody_was_told_of_is_read_all_the_same(self, database: Database) -> None:
        log = database.log()
        log.wait(0, 0)
        database.psql(
            "UPDATE velro_counter SET seq = seq + 1; INSERT INTO velro_invalidations"
            " VALUES ('default', 1, '{}')"
        )
        log.wait(0, 0.05)
        assert log.poll().last == 1


class TestOrder:
    def test_is_that_of_commits_whatever_began_first(
        self, database: Database, engine: Engine
    ) -> None:
        with engine.connect() as early, engine.connect() as late:
            early.begin()
            early.execute(text("SELECT txid_current()"))
            assert record_invalidation(late, user_id="late") == 1
            waiting = InThread(lambda: record_invalidation(early, user_id="early"))
            until(lambda: waits_for_a_lock(database), "the other one waits")
            # Whoever has no number yet waits for the one who has; nobody reads over a gap.
            assert database.events() == []
            late.commit()
            assert waiting.outcome() == 2
            assert database.events() == [{"v": 1, "tags": ["user:late"]}]
            early.commit()
        assert database.events(1) == [{"v": 1, "tags": ["user:early"]}]

    def test_has_no_gap_where_the_first_one_gives_up(
        self, database: Database, engine: Engine
    ) -> None:
        with engine.connect() as first, engine.connect() as second:
            assert record_invalidation(first, user_id="first") == 1
            waiting = InThread(lambda: record_invalidation(second, user_id="second"))
            until(lambda: waits_for_a_lock(database), "the other one waits")
            first.rollback()
            assert waiting.outcome() == 1
            second.commit()
        assert database.events() == [{"v": 1, "tags": ["user:second"]}]

    def test_caches_of_other_names_do_not_wait(self, database: Database, engine: Engine) -> None:
        with engine.connect() as one, engine.begin() as other:
            assert record_invalidation(one, name="one", user_id=1) == 1
            assert record_invalidation(other, name="other", user_id=1) == 1

    @pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_an_older_snapshot_conflicts_and_is_repeated(
        self, database: Database, engine: Engine, isolation: str
    ) -> None:
        engine = engine.execution_options(isolation_level=isolation)
        with engine.connect() as old, engine.connect() as new:
            old.execute(text("SELECT 1 FROM velro_counter"))
            assert record_invalidation(new, user_id="new") == 1
            new.commit()
            with pytest.raises(DBAPIError, match="could not serialize"):
                record_invalidation(old, user_id="old")
            old.rollback()
            assert record_invalidation(old, user_id="old") == 2
            old.commit()
        assert [event["tags"] for event in database.events()] == [["user:new"], ["user:old"]]

    def test_many_writers_of_all_kinds(self, database: Database, engine: Engine) -> None:
        """Threads with transactions, some rolled back, the log's own appends, and a reader."""
        database.psql(
            "CREATE TABLE permission (user_id text); "
            + trigger_ddl("postgresql", "permission", ["user:{user_id}"])
        )
        stop, each = threading.Event(), 40

        def transactions(writer: int) -> set[str]:
            done = set()
            for number in range(each):
                user = f"t{writer}-{number}"
                with engine.connect() as connection:
                    record_invalidation(connection, user_id=user)
                    if number % 3 == 0:
                        connection.rollback()
                    else:
                        connection.commit()
                        done.add(user)
            return done

        def triggers(writer: int) -> set[str]:
            for number in range(each):
                with engine.begin() as connection:
                    values = {"user": f"r{writer}-{number}"}
                    connection.execute(text("INSERT INTO permission VALUES (:user)"), values)
            return {f"r{writer}-{number}" for number in range(each)}

        def appends(writer: int) -> set[str]:
            log = database.log(30)
            for number in range(each):
                log.append(json.dumps({"v": 1, "tags": [f"user:a{writer}-{number}"]}).encode())
            return {f"a{writer}-{number}" for number in range(each)}

        def read() -> list[str]:
            log, found = database.log(30), list[str]()
            while True:
                ending = stop.is_set()
                batch = log.poll(len(found))
                expected = range(len(found) + 1, batch.last + 1)
                assert [number for number, _ in batch.entries] == list(expected)
                for _, body in batch.entries:
                    found += json.loads(body)["tags"]
                if ending:
                    return found
                log.wait(len(found), 0.05)

        reader = InThread(read)
        kinds = (transactions, triggers, appends)
        workers = [InThread(lambda k=kind, n=n: k(n)) for kind in kinds for n in range(2)]
        expected = set[str]().union(*(worker.outcome() for worker in workers))
        stop.set()
        found = reader.outcome()
        assert len(found) == len(expected)
        assert set(found) == {f"user:{user}" for user in expected}


PERMISSION = "CREATE TABLE permission (id int PRIMARY KEY, user_id text, gen uuid); "
TAGS = ["user:{user_id}", "generation:{gen}"]
GEN = "12345678-1234-5678-1234-567812345678"


class TestTriggers:
    @pytest.fixture
    def table(self, database: Database) -> Database:
        database.psql(PERMISSION + trigger_ddl("postgresql", "permission", TAGS))
        return database

    def test_one_statement_is_one_entry(self, table: Database) -> None:
        table.psql(
            f"INSERT INTO permission SELECT i, 'u' || i % 3, '{GEN}' FROM generate_series(1, 999) i"
        )
        (event,) = table.events()
        assert event == {"v": 1, "tags": [f"generation:{GEN}", "user:u0", "user:u1", "user:u2"]}

    def test_an_update_names_the_old_and_the_new(self, table: Database) -> None:
        table.psql("INSERT INTO permission VALUES (1, 'old', NULL)")
        table.psql("UPDATE permission SET user_id = 'new'")
        table.psql("DELETE FROM permission")
        tags = [event["tags"] for event in table.events()]
        assert tags == [["user:old"], ["user:new", "user:old"], ["user:new"]]

    def test_truncate_is_everything(self, table: Database) -> None:
        table.psql("TRUNCATE permission")
        assert table.events() == [{"v": 1, "all": True}]

    def test_a_statement_without_rows_says_nothing(self, table: Database) -> None:
        table.psql("UPDATE permission SET user_id = 'x'; DELETE FROM permission")
        assert table.events() == []

    def test_a_row_without_any_tag_is_everything(self, table: Database) -> None:
        table.psql("INSERT INTO permission VALUES (1, NULL, NULL), (2, 'a', NULL)")
        assert table.events() == [{"v": 1, "all": True}]

    def test_too_many_tags_are_everything(self, table: Database) -> None:
        table.psql("INSERT INTO permission SELECT i, 'u' || i FROM generate_series(1, 30000) i")
        table.psql("DELETE FROM permission WHERE id <= 1000")
        everything, some = table.events()
        assert everything == {"v": 1, "all": True}
        assert len(some["tags"]) == 1000

    def test_values_are_never_code(self, table: Database) -> None:
        hostile = ["'); DROP TABLE permission; --", '"}', "\\", "%s%1$I", "ü\n\t\x01", "$velro$"]
        engine = create_engine(table.address("psycopg"))
        with engine.begin() as connection:
            for number, value in enumerate(hostile):
                row = {"id": number, "user": value}
                connection.execute(text("INSERT INTO permission VALUES (:id, :user)"), row)
        engine.dispose()
        assert [event["tags"] for event in table.events()] == [[f"user:{v}"] for v in hostile]

    def test_names_are_never_code(self, database: Database) -> None:
        odd = "a\"b'c %1$I; --\nä"
        quoted = odd.replace('"', '""')
        database.psql(
            f'CREATE SCHEMA "{quoted}"; CREATE TABLE "{quoted}"."{quoted}" ("{quoted}" int)'
        )
        tag = f"it's %s {{{{x}}}}\\:{{{odd}}}"
        sql = trigger_ddl("postgresql", odd, [tag], schema=odd)
        database.psql(sql)
        database.psql(sql)
        database.psql(f'INSERT INTO "{quoted}"."{quoted}" VALUES (7)')
        assert database.events() == [{"v": 1, "tags": ["it's %s {x}\\:7"]}]
        database.psql(drop_trigger_ddl("postgresql", odd, schema=odd))
        database.psql(drop_trigger_ddl("postgresql", odd, schema=odd))
        database.psql(f'INSERT INTO "{quoted}"."{quoted}" VALUES (8)')
        assert len(database.events()) == 1

    def test_other_tags_take_the_place_of_the_old_ones(self, table: Database) -> None:
        table.psql(trigger_ddl("postgresql", "permission", ["u:{user_id}"]))
        table.psql("INSERT INTO permission VALUES (1, 'a', NULL)")
        assert table.events() == [{"v": 1, "tags": ["u:a"]}]

    def test_of_two_caches_both_are_told(self, table: Database) -> None:
        table.psql(trigger_ddl("postgresql", "permission", ["u:{user_id}"], name="other"))
        table.psql("INSERT INTO permission VALUES (1, 'a', NULL)")
        assert len(table.events()) == 1
        assert InvalidationLog(table.url, "other").poll().last == 1

    def test_what_is_rolled_back_is_not_heard_of(self, table: Database) -> None:
        table.psql("BEGIN; INSERT INTO permission VALUES (1, 'a', NULL); ROLLBACK")
        assert table.events() == []

    def test_upsert_cascade_and_replication_role(self, table: Database) -> None:
        table.psql(
            "CREATE TABLE person (id text PRIMARY KEY); INSERT INTO person VALUES ('p');"
            "ALTER TABLE permission ADD FOREIGN KEY (user_id) REFERENCES person"
            " ON DELETE CASCADE ON UPDATE CASCADE"
        )
        table.psql("INSERT INTO permission VALUES (1, 'p', NULL)")
        table.psql("UPDATE person SET id = 'q'")
        table.psql("DELETE FROM person")
        tags = [event["tags"] for event in table.events()]
        assert tags == [["user:p"], ["user:p", "user:q"], ["user:q"]]
        table.psql("INSERT INTO person VALUES ('r')")
        table.psql("INSERT INTO permission VALUES (1, 'r', NULL)")
        table.psql(
            f"INSERT INTO permission VALUES (1, 'r', '{GEN}')"
            " ON CONFLICT (id) DO UPDATE SET gen = excluded.gen"
        )
        assert any(f"generation:{GEN}" in event["tags"] for event in table.events(4))
        # Bulk loads that switch triggers off by the way.
        last = len(table.events())
        table.psql("SET session_replication_role = replica; DELETE FROM permission")
        assert table.events(last) == [{"v": 1, "tags": [f"generation:{GEN}", "user:r"]}]

    def test_others_need_no_rights_on_the_outbox_and_cannot_divert_it(
        self, table: Database
    ) -> None:
        role = f"clerk_{table.name}"
        table.psql(f"CREATE ROLE {role}; GRANT ALL ON permission TO {role}")
        table.psql(
            f"SET ROLE {role}; CREATE TEMP TABLE velro_counter (name text PRIMARY KEY, seq bigint);"
            "CREATE TEMP TABLE velro_invalidations (name text, seq bigint, body bytea);"
            "INSERT INTO permission VALUES (1, 'a', NULL)"
        )
        assert table.events() == [{"v": 1, "tags": ["user:a"]}]
        table.psql(f"DROP OWNED BY {role}; DROP ROLE {role}")

    def test_cannot_be_made_without_the_outbox(self, database: Database) -> None:
        database.psql(drop_ddl("postgresql") + PERMISSION)
        with pytest.raises(RuntimeError, match="velro_counter"):
            database.psql(trigger_ddl("postgresql", "permission", TAGS))

    def test_the_command_line_prints_them(self, database: Database) -> None:
        def printed(*words: str) -> str:
            command = [sys.executable, "-m", "velro_cache", "outbox", "ddl", *words]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return done.stdout

        assert printed() == outbox_ddl("postgresql")
        assert printed("--drop") == drop_ddl("postgresql")
        words = ["--table", "permission", "--tag", TAGS[0], "--tag", TAGS[1]]
        assert printed(*words) == trigger_ddl("postgresql", "permission", TAGS)
        database.psql(PERMISSION + printed(*words))
        database.psql("INSERT INTO permission VALUES (1, 'a', NULL)")
        database.psql(printed("--table", "permission", "--drop"))
        database.psql("INSERT INTO permission VALUES (2, 'b', NULL)")
        assert database.events() == [{"v": 1, "tags": ["user:a"]}]


async def test_many_asynchronous_transactions_at_once(
    database: Database, async_engine: AsyncEngine
) -> None:
    async def one(number: int) -> int:
        async with async_engine.begin() as connection:
            return await arecord_invalidation(connection, user_id=number)

    numbers = await asyncio.gather(*(one(number) for number in range(40)))
    assert sorted(numbers) == list(range(1, 41))
    assert len(database.events()) == 40
