//! What `help()` says about the raw methods, in the form in which CPython takes a signature out
//! of a docstring.

use std::ffi::CStr;

pub(super) const PROBE_DOC: &CStr = c"probe($self, args, kwargs=None)
--

Look a call up.

Returns:
    The cached result, or the object given as ``miss``.";

pub(super) const GET_DOC: &CStr = c"get($self, key, default=None)
--

Look a key up.

Args:
    key: Name of the entry.
    default: What to return in place of a value on a miss.

Returns:
    The value and True, or ``default`` and False. The value is the caller's own: changing it
    changes nothing for anybody else.

Raises:
    TypeError: The key is not a text.
    InvalidKeyError: The key is empty or too long.
    CacheStoppedError: The cache was stopped.

Consistency: never answers with what was invalidated before the call began, nor past its life.";

pub(super) const GET_VALUE_DOC: &CStr = c"get_value($self, key, default=None)
--

Look a key up, without the flag: the cheapest form of a lookup.

Args:
    key: Name of the entry.
    default: What to return on a miss. To tell a miss from a stored None, pass an object of
        your own.

Returns:
    The value, or ``default``.

Raises:
    TypeError: The key is not a text.
    InvalidKeyError: The key is empty or too long.
    CacheStoppedError: The cache was stopped.";

pub(super) const SET_DOC: &CStr =
    c"set($self, key, value, ttl=None, tags=None, priority=1, *, stamp=None, permissive=True)
--

Store a value.

Args:
    key: Name of the entry, 1 to 8192 bytes as UTF-8.
    value: Anything that can be copied; see the page on isolation.
    ttl: Life in seconds, above 0, cut to ``max_ttl_seconds``. None: ``default_ttl_seconds``.
    tags: Texts by which ``invalidate_by_tags`` finds the entry; a list, tuple or set of at
        most 64. None: no tags besides those the key implies.
    priority: Weight on survival when room is needed, 1 (ordinary) to 10.
    stamp: What ``snapshot()`` returned before the value was read. None: now, which is
        right only for a value that no invalidation can be about.
    permissive: Whether the value allows anything. With an invalidation log it is then served
        only while there is news from it; False: also without, for a deny may be stale.

Returns:
    True if stored. False if something it depends on was invalidated since ``stamp``, if
    it is larger, uncompressed, than the cache may hold (nothing is evicted for it, and an
    older value of the key is gone), or if the lock was
    not to be had in ``lock_timeout_seconds``.

Raises:
    InvalidKeyError: The key is empty or too long.
    InvalidTagError: A tag is not a text of 1 to 2048 bytes, or ``tags`` is a bare text.
    SerializationError: The value cannot be copied.
    ValueError: ``ttl`` or ``priority`` is out of range.
    CacheStoppedError: The cache was stopped.

Consistency: a lookup that starts after the return, in any thread, sees the new value.";

pub(super) const GET_USER_PROFILE_DOC: &CStr = c"get_user_profile($self, user_id)
--

Look up a user's profile.

Returns:
    The profile and True, or None and False.";

pub(super) const GET_USER_PERMISSIONS_DOC: &CStr = c"get_user_permissions($self, user_id)
--

Look up a user's permissions.

Returns:
    The permissions and True, or None and False.";

pub(super) const GET_GENERATION_ACCESS_DOC: &CStr =
    c"get_generation_access($self, generation_id, user_id)
--

Look up what a user may do with a generation.

Returns:
    What was stored and True, or None and False.";

pub(super) const GET_PROJECT_ACCESS_DOC: &CStr = c"get_project_access($self, project_id, user_id)
--

Look up what a user may do in a project.

Returns:
    What was stored and True, or None and False.";

pub(super) const GET_TEAM_ROLE_DOC: &CStr = c"get_team_role($self, team_id, user_id)
--

Look up a user's role in a team.

Returns:
    The role and True, or None and False.";

pub(super) const GET_UUID_VALIDATION_DOC: &CStr = c"get_uuid_validation($self, uuid_str, context)
--

Look up the result of validating a UUID, as it was written, in a context.

Returns:
    The result and True, or None and False.";

pub(super) const GET_SESSION_DATA_DOC: &CStr = c"get_session_data($self, user_id)
--

Look up a user's session.

Returns:
    The session and True, or None and False.";

pub(super) const GET_RATE_LIMIT_DOC: &CStr = c"get_rate_limit($self, user_id, window)
--

Look up a user's rate limit state in a window.

Returns:
    The state and True, or None and False.";
