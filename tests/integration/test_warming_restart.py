"""Real processes, one after the other: what the first found hot, the second loads."""

from __future__ import annotations

import textwrap
from pathlib import Path

from processes import run

PROGRAM = textwrap.dedent("""
    from velro_cache.warming import HotKeyJournal

    class Inner:
        asked = 0
        async def validate_generation_media_access(self, *args, **kwargs):
            raise NotImplementedError
        async def validate_direct_ownership(self, generation_id, user_id):
            Inner.asked += 1
            return AuthorizationResult(True)
        async def validate_team_access(self, team_id, user_id, required_role=TeamRole.VIEWER):
            Inner.asked += 1
            return AuthorizationResult(True, role=TeamRole.ADMIN)
        validate_project_access = validate_team_access

    def cache_of(path):
        cache = OptimizedCacheManager()
        service = HighPerformanceAuthorizationService(Inner(), cache)
        service.keep_warm()
        cache.warmers.use_journal(HotKeyJournal(path), write_every_seconds=0.01)
        cache.warmers.keep_hot(every_seconds=0.01)
        return cache, service
""")


def test_the_journal_of_a_killed_process_warms_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "hot.json"
    first = run(
        PROGRAM
        + textwrap.dedent(f"""
            async def main():
                cache, service = cache_of({str(path)!r})
                await cache.start()
                for number in range(50):
                    await service.validate_direct_ownership(f"g{{number}}", "ada")
                while True:
                    await asyncio.sleep(0.01)
                    content = HotKeyJournal({str(path)!r}).read()
                    if len(content) == 50:
                        # In the middle of whatever it does.
                        os.kill(os.getpid(), signal.SIGKILL)

            asyncio.run(main())
        """)
    )
    assert first.returncode == -9, first.stderr
    second = run(
        PROGRAM
        + textwrap.dedent(f"""
            async def main():
                cache, service = cache_of({str(path)!r})
                await cache.start()
                assert cache.warmers.is_ready
                loaded = Inner.asked
                for number in range(50):
                    await service.validate_direct_ownership(f"g{{number}}", "ada")
                metrics = service.get_performance_metrics()["operations"]["direct_ownership"]
                print(loaded, metrics["cache_hits"])
                await cache.stop()

            asyncio.run(main())
        """)
    )
    assert second.stdout == "50 50\n", second.stderr
    assert second.stderr == ""


def test_a_fork_does_not_stop_the_warming_of_its_parent(tmp_path: Path) -> None:
    done = run(
        PROGRAM
        + textwrap.dedent(f"""
            async def main():
                cache, service = cache_of({str(tmp_path / "hot.json")!r})
                await cache.start()
                await service.validate_direct_ownership("g", "ada")
                print(in_child(lambda: (len(cache), cache.warmers.is_ready)))
                before = Inner.asked
                cache.warmers.hot_keys.note("team_access", "t", "ada", "viewer")
                while Inner.asked == before:
                    await asyncio.sleep(0.01)
                await cache.stop()

            with warnings.catch_warnings():
                # Newer interpreters warn of forks in processes with threads.
                warnings.simplefilter("ignore", DeprecationWarning)
                asyncio.run(main())
        """)
    )
    assert done.stdout == "(1, True)\n", done.stderr
