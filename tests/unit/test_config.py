"""Settings: ranges, presets, environment."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from velro_cache.config import EvictionPolicy, OptimizedCacheConfig
from velro_cache.exceptions import ConfigError
from velro_cache.manager import OptimizedCacheManager

YEAR = 31_536_000
RANGES: dict[str, tuple[float, float]] = {
    "max_size_mb": (1, 1 << 20),
    "max_entries": (1, 100_000_000),
    "target_access_time_ms": (0.000001, 60_000),
    "target_hit_rate_percent": (0, 100),
    "default_ttl_seconds": (0.01, YEAR),
    "max_ttl_seconds": (0.01, YEAR),
    "auth_ttl_seconds": (0.01, YEAR),
    "uuid_validation_ttl_seconds": (0.01, YEAR),
    "cleanup_interval_seconds": (0.01, 86_400),
    "eviction_batch_size": (1, 100_000),
    "compression_threshold_bytes": (64, 1 << 30),
    "warming_batch_size": (1, 100_000),
    "lock_timeout_seconds": (0.0001, 3600),
    "load_timeout_seconds": (0.001, 86_400),
    "max_staleness_seconds": (0.1, 3600),
    "log_timeout_seconds": (0.05, 60),
    "refill_limit": (1, 100_000),
    "reload_concurrency": (1, 100_000),
    "adaptive_ttl_min_seconds": (0.01, 31_536_000),
    "l2_timeout_seconds": (0.001, 60),
}
INTEGERS = {
    "max_size_mb",
    "max_entries",
    "eviction_batch_size",
    "compression_threshold_bytes",
    "warming_batch_size",
    "refill_limit",
    "reload_concurrency",
}


def config_with(name: str, value: Any) -> OptimizedCacheConfig:
    return OptimizedCacheConfig(**{name: value})


def test_defaults_are_those_of_the_documentation() -> None:
    assert dataclasses.asdict(OptimizedCacheConfig()) == {
        "max_size_mb": 128,
        "max_entries": 10_000,
        "target_access_time_ms": 5.0,
        "target_hit_rate_percent": 95.0,
        "default_ttl_seconds": 300,
        "max_ttl_seconds": 3600,
        "auth_ttl_seconds": 600,
        "uuid_validation_ttl_seconds": 1800,
        "eviction_policy": EvictionPolicy.ADAPTIVE,
        "cleanup_interval_seconds": 60,
        "eviction_batch_size": 100,
        "compression_enabled": True,
        "compression_threshold_bytes": 1024,
        "warming_enabled": True,
        "warming_batch_size": 50,
        "preload_auth_data": True,
        "lock_timeout_seconds": 0.1,
        "name": "default",
        "isolation": "copy",
        "load_timeout_seconds": 30.0,
        "share_invalidations": True,
        "shared_memory_directory": None,
        "invalidation_log": None,
        "invalidation_wait": "host",
        "log_timeout_seconds": 5.0,
        "max_staleness_seconds": 1.0,
        "on_silence": "reload",
        "refill_limit": 32,
        "reload_concurrency": 16,
        "adaptive_ttl": False,
        "adaptive_ttl_min_seconds": 5.0,
        "adaptive_ttl_max_seconds": None,
        "redis_url": None,
        "l2_timeout_seconds": 0.1,
        "l2_single_flight": False,
        "l2_signing_key": None,
        "l2_encryption_key": None,
    }


def test_development_preset_has_exactly_the_documented_figures() -> None:
    assert OptimizedCacheConfig.development() == OptimizedCacheConfig(
        max_size_mb=64,
        max_entries=10_000,
        target_access_time_ms=5.0,
        target_hit_rate_percent=95.0,
        default_ttl_seconds=180,
        max_ttl_seconds=900,
        auth_ttl_seconds=300,
        uuid_validation_ttl_seconds=1800,
        cleanup_interval_seconds=60,
        eviction_batch_size=50,
        compression_enabled=False,
        warming_enabled=False,
    )


def test_production_preset_has_exactly_the_documented_figures() -> None:
    assert OptimizedCacheConfig.production() == OptimizedCacheConfig(
        max_size_mb=256,
        max_entries=50_000,
        target_access_time_ms=3.0,
        target_hit_rate_percent=97.0,
        default_ttl_seconds=300,
        max_ttl_seconds=1800,
        auth_ttl_seconds=600,
        uuid_validation_ttl_seconds=3600,
        cleanup_interval_seconds=30,
        eviction_batch_size=200,
        compression_enabled=True,
        compression_threshold_bytes=512,
        warming_enabled=True,
        warming_batch_size=100,
    )


@pytest.mark.parametrize("preset", ["development", "production"])
def test_a_manager_can_be_made_from_each_preset(preset: str) -> None:
    cache = OptimizedCacheManager(getattr(OptimizedCacheConfig, preset)())
    assert cache.set("k", 1)
    assert cache.get("k") == (1, True)


@pytest.mark.parametrize(("name", "bounds"), RANGES.items())
def test_both_ends_of_a_range_are_allowed(name: str, bounds: tuple[float, float]) -> None:
    # A default life above the longest is refused, so these two move together.
    together = {"default_ttl_seconds", "max_ttl_seconds"}
    for bound in bounds:
        fields = dict.fromkeys(together if name in together else {name}, bound)
        assert getattr(OptimizedCacheConfig(**fields), name) == bound  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "bounds"), RANGES.items())
def test_a_number_outside_its_range_is_refused_by_name(
    name: str, bounds: tuple[float, float]
) -> None:
    below = bounds[0] - 1 if name in INTEGERS else bounds[0] - 1e-9
    above = bounds[1] + 1 if name in INTEGERS else math.nextafter(bounds[1], math.inf)
    for wrong in (below, above, -1, -(10**30), 10**30):
        with pytest.raises(ConfigError, match=rf"\b{name}\b") as caught:
            config_with(name, wrong)
        assert f"{bounds[1]:,.10g}" in str(caught.value)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_name(name: str, wrong: float) -> None:
    with pytest.raises(ConfigError, match=rf"\b{name}\b"):
        config_with(name, wrong)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("wrong", [10**400, -(10**400), 10**5000], ids=["huge", "-huge", "huger"])
def test_an_integer_beyond_any_float_is_refused_by_name(name: str, wrong: int) -> None:
    with pytest.raises(ConfigError, match=rf"\b{name}\b"):
        config_with(name, wrong)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("wrong", ["1", True, [], b"1", 1j])
def test_something_that_is_no_number_is_refused_by_name(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=rf"\b{name}\b"):
        config_with(name, wrong)


@pytest.mark.parametrize("name", sorted(set(RANGES) - {"load_timeout_seconds"}))
def test_none_is_no_number(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"\b{name}\b"):
        config_with(name, None)


def test_no_load_timeout_is_allowed() -> None:
    assert OptimizedCacheConfig(load_timeout_seconds=None).load_timeout_seconds is None


@pytest.mark.parametrize("name", sorted(INTEGERS))
def test_a_count_must_be_an_integer(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be an integer"):
        config_with(name, 100.0)


@pytest.mark.parametrize("name", ["compression_enabled", "warming_enabled", "preload_auth_data"])
@pytest.mark.parametrize("wrong", [0, 1, "true", None])
def test_a_flag_is_true_or_false_and_nothing_like_it(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        OptimizedCacheConfig(**{name: wrong})


@pytest.mark.parametrize("policy", ["lru", "lfu", "ttl", "adaptive"])
def test_a_policy_can_be_given_by_name(policy: str) -> None:
    config = OptimizedCacheConfig(eviction_policy=policy)  # type: ignore[arg-type]
    assert config.eviction_policy is EvictionPolicy(policy)
    assert config == OptimizedCacheConfig(eviction_policy=EvictionPolicy(policy))


@pytest.mark.parametrize("wrong", ["LRU", "fifo", "", None, 1, [], b"lru"])
def test_an_unknown_policy_is_refused_and_the_known_ones_are_listed(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="eviction_policy must be one of lru, lfu, ttl, adaptive"):
        OptimizedCacheConfig(eviction_policy=wrong)


@pytest.mark.parametrize("wrong", ["Copy", "deep", "", None, True, ["copy"]])
def test_an_unknown_isolation_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="isolation"):
        OptimizedCacheConfig(isolation=wrong)


@pytest.mark.parametrize("name", ["a", "Velro-1.main_x", "x" * 64])
def test_a_name_of_harmless_characters_is_allowed(name: str) -> None:
    assert OptimizedCacheConfig(name=name).name == name


@pytest.mark.parametrize(
    "wrong", ["", "x" * 65, "a b", "a/b", "../x", ".", "..", "ä", "a\n", "a\0", None, 3]
)
def test_a_name_that_could_confuse_a_log_or_a_path_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="name"):
        OptimizedCacheConfig(name=wrong)


def test_a_default_life_above_the_longest_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"default_ttl_seconds .* max_ttl_seconds"):
        OptimizedCacheConfig(default_ttl_seconds=301, max_ttl_seconds=300)
    assert OptimizedCacheConfig(default_ttl_seconds=300, max_ttl_seconds=300)


def test_a_wait_for_the_fleet_that_a_host_that_hangs_always_ends_is_refused() -> None:
    settings: dict[str, Any] = {"invalidation_wait": "fleet", "max_staleness_seconds": 5.0}
    OptimizedCacheConfig(**settings)  # no log, nobody to wait for
    settings["redis_url"] = "redis://localhost"
    with pytest.raises(ConfigError, match=r"log_timeout_seconds \(5.0\) must exceed"):
        OptimizedCacheConfig(**settings)
    OptimizedCacheConfig(**settings, log_timeout_seconds=5.5)


def test_settings_cannot_be_changed_afterwards() -> None:
    config = OptimizedCacheConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.max_entries = 5  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        config.max_entry = 5  # type: ignore[attr-defined]


def test_settings_are_given_by_name_only() -> None:
    with pytest.raises(TypeError):
        OptimizedCacheConfig(64)  # type: ignore[call-arg]


def test_a_misspelt_setting_is_an_error() -> None:
    with pytest.raises(TypeError, match="max_entrys"):
        OptimizedCacheConfig(max_entrys=5)  # type: ignore[call-arg]


def test_a_long_wrong_value_is_not_repeated_in_full() -> None:
    with pytest.raises(ConfigError) as caught:
        OptimizedCacheConfig(max_entries="9" * 1_000_000)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300


class TestReplace:
    def test_changes_the_named_fields_and_no_others(self) -> None:
        config = OptimizedCacheConfig.production()
        changed = config.replace(max_entries=7, eviction_policy="lru")
        assert (changed.max_entries, changed.eviction_policy) == (7, EvictionPolicy.LRU)
        back = changed.replace(max_entries=50_000, eviction_policy=EvictionPolicy.ADAPTIVE)
        assert back == config == OptimizedCacheConfig.production()

    def test_checks_the_result(self) -> None:
        with pytest.raises(ConfigError, match="max_entries"):
            OptimizedCacheConfig().replace(max_entries=0)
        with pytest.raises(ConfigError, match="default_ttl_seconds"):
            OptimizedCacheConfig().replace(max_ttl_seconds=10)

    def test_names_unknown_settings(self) -> None:
        with pytest.raises(ConfigError, match="max_entrys, ttl"):
            OptimizedCacheConfig().replace(ttl=5, max_entrys=1, max_entries=2)


class TestFromEnvironment:
    def test_an_empty_environment_means_the_defaults(self) -> None:
        assert OptimizedCacheConfig.from_env(environ={}) == OptimizedCacheConfig()

    def test_every_field_can_be_set(self) -> None:
        environ = {
            "VELRO_CACHE_MAX_SIZE_MB": "256",
            "VELRO_CACHE_MAX_ENTRIES": " 5000 ",
            "VELRO_CACHE_TARGET_ACCESS_TIME_MS": "2.5",
            "VELRO_CACHE_TARGET_HIT_RATE_PERCENT": "90",
            "VELRO_CACHE_DEFAULT_TTL_SECONDS": "0.5",
            "VELRO_CACHE_MAX_TTL_SECONDS": "120",
            "VELRO_CACHE_AUTH_TTL_SECONDS": "60",
            "VELRO_CACHE_UUID_VALIDATION_TTL_SECONDS": "61",
            "VELRO_CACHE_EVICTION_POLICY": "LRU",
            "VELRO_CACHE_CLEANUP_INTERVAL_SECONDS": "1",
            "VELRO_CACHE_EVICTION_BATCH_SIZE": "10",
            "VELRO_CACHE_COMPRESSION_ENABLED": "no",
            "VELRO_CACHE_COMPRESSION_THRESHOLD_BYTES": "4096",
            "VELRO_CACHE_WARMING_ENABLED": "FALSE",
            "VELRO_CACHE_WARMING_BATCH_SIZE": "9",
            "VELRO_CACHE_PRELOAD_AUTH_DATA": "0",
            "VELRO_CACHE_LOCK_TIMEOUT_SECONDS": "0.2",
            "VELRO_CACHE_NAME": "Api-1",
            "VELRO_CACHE_ISOLATION": "shared",
            "VELRO_CACHE_LOAD_TIMEOUT_SECONDS": "none",
            "VELRO_CACHE_SHARE_INVALIDATIONS": "If_Possible",
            "VELRO_CACHE_SHARED_MEMORY_DIRECTORY": "/run/shm",
            "VELRO_CACHE_INVALIDATION_LOG": "postgresql://db/app",
            "VELRO_CACHE_INVALIDATION_WAIT": "bus",
            "VELRO_CACHE_LOG_TIMEOUT_SECONDS": "2",
            "VELRO_CACHE_MAX_STALENESS_SECONDS": "0.5",
            "VELRO_CACHE_ON_SILENCE": "SERVE_STALE",
            "VELRO_CACHE_REFILL_LIMIT": "8",
            "VELRO_CACHE_RELOAD_CONCURRENCY": "4",
            "VELRO_CACHE_ADAPTIVE_TTL": "yes",
            "VELRO_CACHE_ADAPTIVE_TTL_MIN_SECONDS": "2",
            "VELRO_CACHE_ADAPTIVE_TTL_MAX_SECONDS": "110",
            "VELRO_CACHE_REDIS_URL": "redis://cache",
            "VELRO_CACHE_L2_TIMEOUT_SECONDS": "0.2",
            "VELRO_CACHE_L2_SINGLE_FLIGHT": "yes",
            "VELRO_CACHE_L2_SIGNING_KEY": "S" * 32,
            "VELRO_CACHE_L2_ENCRYPTION_KEY": "E" * 32,
        }
        names = {variable.removeprefix("VELRO_CACHE_").lower() for variable in environ}
        assert names == {field.name for field in dataclasses.fields(OptimizedCacheConfig)}
        assert OptimizedCacheConfig.from_env(environ=environ) == OptimizedCacheConfig(
            max_size_mb=256,
            max_entries=5000,
            target_access_time_ms=2.5,
            target_hit_rate_percent=90,
            default_ttl_seconds=0.5,
            max_ttl_seconds=120,
            auth_ttl_seconds=60,
            uuid_validation_ttl_seconds=61,
            eviction_policy=EvictionPolicy.LRU,
            cleanup_interval_seconds=1,
            eviction_batch_size=10,
            compression_enabled=False,
            compression_threshold_bytes=4096,
            warming_enabled=False,
            warming_batch_size=9,
            preload_auth_data=False,
            lock_timeout_seconds=0.2,
            name="Api-1",
            isolation="shared",
            load_timeout_seconds=None,
            share_invalidations="if_possible",
            shared_memory_directory="/run/shm",
            invalidation_log="postgresql://db/app",
            invalidation_wait="bus",
            log_timeout_seconds=2,
            max_staleness_seconds=0.5,
            on_silence="serve_stale",
            refill_limit=8,
            reload_concurrency=4,
            adaptive_ttl=True,
            adaptive_ttl_min_seconds=2,
            adaptive_ttl_max_seconds=110,
            redis_url="redis://cache",
            l2_timeout_seconds=0.2,
            l2_single_flight=True,
            l2_signing_key="S" * 32,
            l2_encryption_key="E" * 32,
        )

    def test_the_environment_of_the_process_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VELRO_CACHE_MAX_ENTRIES", "77")
        assert OptimizedCacheConfig.from_env().max_entries == 77

    def test_another_prefix_is_read_and_the_usual_one_then_is_not(self) -> None:
        environ = {"MY_MAX_ENTRIES": "3", "VELRO_CACHE_MAX_ENTRIES": "4", "VELRO_CACHE_X": ""}
        assert OptimizedCacheConfig.from_env("MY_", environ).max_entries == 3

    def test_variables_lie_over_the_preset(self) -> None:
        environ = {"VELRO_CACHE_PRESET": " Production ", "VELRO_CACHE_MAX_ENTRIES": "3"}
        expected = OptimizedCacheConfig.production().replace(max_entries=3)
        assert OptimizedCacheConfig.from_env(environ=environ) == expected

    def test_an_unknown_preset_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="VELRO_CACHE_PRESET"):
            OptimizedCacheConfig.from_env(environ={"VELRO_CACHE_PRESET": "prod"})

    def test_a_misspelt_variable_is_an_error_that_names_it(self) -> None:
        with pytest.raises(ConfigError, match=r"VELRO_CACHE_MAX_ENTRYS .*max_entries"):
            OptimizedCacheConfig.from_env(environ={"VELRO_CACHE_MAX_ENTRYS": "3"})

    @pytest.mark.parametrize(
        ("variable", "text"),
        [
            ("MAX_ENTRIES", "many"),
            ("MAX_ENTRIES", "1.5"),
            ("MAX_ENTRIES", ""),
            ("MAX_ENTRIES", "0"),
            ("MAX_ENTRIES", "9" * 400),
            ("MAX_ENTRIES", "9" * 5000),
            ("DEFAULT_TTL_SECONDS", "nan"),
            ("DEFAULT_TTL_SECONDS", "inf"),
            ("DEFAULT_TTL_SECONDS", "none"),
            ("DEFAULT_TTL_SECONDS", "-5"),
            ("LOAD_TIMEOUT_SECONDS", "never"),
            ("COMPRESSION_ENABLED", "maybe"),
            ("COMPRESSION_ENABLED", ""),
            ("EVICTION_POLICY", "fifo"),
            ("ISOLATION", "deep"),
            ("NAME", ""),
        ],
    )
    def test_a_wrong_value_is_a_config_error_that_names_the_setting(
        self, variable: str, text: str
    ) -> None:
        with pytest.raises(ConfigError, match=f"(?i){variable}"):
            OptimizedCacheConfig.from_env(environ={f"VELRO_CACHE_{variable}": text})


class TestManagerTakesSettings:
    def test_a_manager_keeps_the_settings_it_was_made_with(self) -> None:
        config = OptimizedCacheConfig(max_entries=5)
        assert OptimizedCacheManager(config).config is config

    def test_no_settings_means_the_defaults(self) -> None:
        assert OptimizedCacheManager().config == OptimizedCacheConfig()

    @pytest.mark.parametrize("wrong", [{"max_entries": 5}, "production", 5, OptimizedCacheConfig])
    def test_something_that_is_no_configuration_is_refused(self, wrong: Any) -> None:
        with pytest.raises((TypeError, ConfigError)):
            OptimizedCacheManager(wrong)

    def test_something_that_is_no_clock_is_refused(self) -> None:
        with pytest.raises(TypeError):
            OptimizedCacheManager(clock=lambda: 5.0)  # type: ignore[arg-type]
