"""Decisions: what they allow, when they end, and that nobody can change them."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_cache.authorization.models import (
    AccessType,
    AuthorizationMethod,
    FrozenDict,
    GenerationPermissions,
    SecurityLevel,
    TeamRole,
)

FLAGS = ("can_view", "can_edit", "can_delete", "can_download", "can_share", "can_create_child")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def permissions(granted: bool = True, **fields: Any) -> GenerationPermissions:
    return GenerationPermissions("g", "u", granted, **fields)


@pytest.mark.parametrize(
    ("access", "flag"),
    [
        (AccessType.READ, "can_view"),
        (AccessType.WRITE, "can_edit"),
        (AccessType.DELETE, "can_delete"),
        (AccessType.SHARE, "can_share"),
    ],
)
def test_each_access_hangs_on_its_own_flag_alone(access: AccessType, flag: str) -> None:
    assert permissions(**{flag: True}).allows(access)
    others = dict.fromkeys(FLAGS, True) | {flag: False}
    assert not permissions(**others).allows(access)


@given(st.dictionaries(st.sampled_from(FLAGS), st.booleans()), st.sampled_from(AccessType))
def test_a_deny_allows_nothing_whatever_its_flags_say(
    flags: dict[str, bool], access: AccessType
) -> None:
    assert not permissions(granted=False, **flags).allows(access)


@given(st.fixed_dictionaries(dict.fromkeys(FLAGS, st.booleans())))
def test_admin_means_every_flag_and_so_every_other_access(flags: dict[str, bool]) -> None:
    decision = permissions(**flags)
    assert decision.allows(AccessType.ADMIN) is all(flags.values())
    if decision.allows(AccessType.ADMIN):
        assert all(decision.allows(access) for access in AccessType)


def test_an_access_may_be_named_and_an_unknown_one_is_refused() -> None:
    assert permissions(can_view=True).allows("read")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="look"):
        permissions(can_view=True).allows("look")  # type: ignore[arg-type]


def test_a_grant_ends_at_its_very_instant_and_not_before() -> None:
    decision = permissions(expires_at=NOON)
    assert not decision.is_expired(NOON - timedelta(microseconds=1))
    assert decision.is_expired(NOON)
    assert decision.seconds_left(NOON - timedelta(seconds=90)) == 90
    assert not permissions().is_expired(NOON)
    assert permissions().seconds_left(NOON) is None


def test_the_end_is_the_same_instant_in_every_time_zone() -> None:
    decision = permissions(expires_at=NOON.astimezone(timezone(timedelta(hours=9))))
    assert decision.is_expired(NOON)
    assert not decision.is_expired(NOON - timedelta(seconds=1))


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        permissions(expires_at=datetime(2030, 1, 1))
    with pytest.raises(TypeError, match="datetime"):
        permissions(expires_at="2030-01-01T00:00:00Z")


@pytest.mark.parametrize("not_a_bool", ["false", 1, None])
@pytest.mark.parametrize("name", ["granted", *FLAGS])
def test_only_true_and_false_may_say_what_is_allowed(name: str, not_a_bool: object) -> None:
    with pytest.raises(TypeError, match=name):
        GenerationPermissions(
            generation_id="g",
            user_id="u",
            **({"granted": True} | {name: not_a_bool}),  # type: ignore[arg-type]
        )


def test_names_become_members_and_unknown_ones_are_refused() -> None:
    decision = permissions(access_method="team_membership", security_level="owner")
    assert decision.access_method is AuthorizationMethod.TEAM_MEMBERSHIP
    assert decision.security_level is SecurityLevel.OWNER
    with pytest.raises(ValueError, match="friendship"):
        permissions(access_method="friendship")


def test_nobody_can_change_a_decision_nor_what_it_was_made_from() -> None:
    urls, step = ["https://a"], {"method": "sql", "tables": ["teams"]}
    decision = permissions(media_urls=urls, audit_trail=[step])
    urls.append("https://evil")
    step["method"] = "forged"
    step["tables"].append("forged")  # type: ignore[attr-defined]
    assert decision.media_urls == ("https://a",)
    assert decision.audit_trail == ({"method": "sql", "tables": ("teams",)},)
    kept: Any = decision.audit_trail[0]
    for change in (
        lambda: setattr(decision, "granted", False),
        lambda: kept.__setitem__("method", "forged"),
        lambda: kept.__delitem__("method"),
        lambda: kept.update(method="forged"),
        lambda: kept.setdefault("more", 1),
        lambda: kept.pop("method"),
        lambda: kept.popitem(),
        lambda: kept.clear(),
        lambda: kept.__ior__({"method": "forged"}),
    ):
        with pytest.raises((TypeError, dataclasses.FrozenInstanceError)):
            change()
    assert decision.audit_trail == ({"method": "sql", "tables": ("teams",)},)


def test_a_decision_holds_nothing_that_somebody_could_change() -> None:
    class Note:
        text = "as it was"

    with pytest.raises(TypeError, match="Note"):
        permissions(audit_trail=[{"note": Note()}])
    changeable = bytearray(b"as it was")
    decision = permissions(audit_trail=[{"raw": changeable, "ids": {1, 2}, "at": NOON}])
    changeable[:] = b"forged"
    assert decision.audit_trail == ({"raw": b"as it was", "ids": frozenset({1, 2}), "at": NOON},)


@pytest.mark.parametrize("kind", [GenerationPermissions, FrozenDict])
def test_no_class_can_add_something_changeable_to_a_decision(kind: type) -> None:
    with pytest.raises(TypeError, match=r"subclass"):
        type("Own", (kind,), {})


def test_a_bare_text_is_not_a_list_of_urls() -> None:
    with pytest.raises(TypeError, match="media_urls"):
        permissions(media_urls="https://a")
    with pytest.raises(TypeError, match="media_urls"):
        permissions(media_urls=[b"https://a"])


def test_copies_pickles_and_json_carry_everything() -> None:
    decision = permissions(
        can_view=True, expires_at=NOON, media_urls=("https://a",), audit_trail=({"a": {"b": 1}},)
    )
    assert copy.copy(decision) is decision
    assert copy.deepcopy(decision) is decision
    assert copy.deepcopy(decision.audit_trail[0]) is decision.audit_trail[0]
    assert copy.copy(decision.audit_trail[0]) is decision.audit_trail[0]
    again = pickle.loads(pickle.dumps(decision))  # noqa: S301 (its own dump)
    assert again == decision
    assert hash(again) == hash(decision)
    as_dict = dataclasses.asdict(decision) | {"expires_at": None}
    assert json.loads(json.dumps(as_dict))["audit_trail"] == [{"a": {"b": 1}}]
    assert again.seconds_left(NOON - timedelta(seconds=1)) == 1
    # What is only there for speed is not shown.
    assert not [name for name in as_dict if name.startswith("_")]


def test_the_answer_to_a_covered_question_is_the_decision_itself() -> None:
    decision = permissions(can_view=True, media_urls=["https://a"])
    assert decision.answering(AccessType.READ) is decision
    deny = permissions(granted=False)
    assert deny.answering(AccessType.READ) is deny


def test_the_answer_to_a_question_not_covered_is_a_refusal_without_urls() -> None:
    decision = permissions(can_view=True, media_urls=["https://a"])
    answer = decision.answering(AccessType.DELETE)
    assert not answer.granted
    assert answer.media_urls == ()
    assert answer.can_view
    assert decision.granted
    assert decision.media_urls == ("https://a",)


def test_a_revoked_copy_has_nothing_left() -> None:
    decision = permissions(
        access_method="direct_ownership", media_urls=["https://a"], **dict.fromkeys(FLAGS, True)
    )
    gone = decision.revoked()
    assert not gone.granted
    assert not any(getattr(gone, flag) for flag in FLAGS)
    assert gone.media_urls == ()
    assert gone.access_method is AuthorizationMethod.NONE
    assert decision.granted


def test_denied_makes_a_deny() -> None:
    deny = GenerationPermissions.denied("g", "u", audit_trail=[{"step": 1}])
    assert (deny.generation_id, deny.user_id, deny.granted) == ("g", "u", False)
    assert not any(getattr(deny, flag) for flag in FLAGS)


def test_roles_compare_by_the_ladder_not_by_the_alphabet() -> None:
    ladder = [
        TeamRole.VIEWER,
        TeamRole.CONTRIBUTOR,
        TeamRole.EDITOR,
        TeamRole.ADMIN,
        TeamRole.OWNER,
    ]
    for low, lower in enumerate(ladder):
        for high, higher in enumerate(ladder):
            assert (lower < higher) is (low < high)
            assert (lower <= higher) is (low <= high)
            assert (lower > higher) is (low > high)
            assert (lower >= higher) is (low >= high)
            assert lower.includes(higher) is (low >= high)
    assert sorted(TeamRole.__members__.values()) == ladder
    assert max(ladder) is TeamRole.OWNER


def test_each_role_may_do_all_that_the_one_below_may() -> None:
    counts = []
    for lower, higher in zip(list(TeamRole), list(TeamRole)[1:], strict=False):
        lower_flags, higher_flags = dict(lower.flags), dict(higher.flags)
        assert all(higher_flags[flag] for flag, allowed in lower_flags.items() if allowed)
        counts.append(sum(map(bool, lower_flags.values())))
    assert counts == [1, 3, 4, 6]
    assert permissions(**TeamRole.OWNER.flags).allows(AccessType.ADMIN)
    assert not permissions(**TeamRole.EDITOR.flags).allows(AccessType.DELETE)
    assert set(TeamRole.VIEWER.flags) == set(FLAGS)
