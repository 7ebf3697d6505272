"""What Redis does in one call: the same buckets as in ``src/rate_limit/gcra.rs``, on its own time.

A name is a text of five numbers: when it was written (microseconds), and for the minute and for the
day how many nanoseconds its bucket is from full, and at what interval that was reckoned. All are
whole numbers far below 2**53, so Lua reckons exactly. A key lives until its buckets are full.

For each name come the interval and the length of both buckets (0, 0: not limited), the fewest
tokens that are of use and the most. Of fewer than the most, no more than half of what is there is
given, so that leases shrink as a bucket empties. Below 0, the most are tokens that come back.

Returns 1 if every name has the fewest, else 0, when nothing was taken; then for each name the
tokens, how long to wait for the fewest, and how far its buckets are from full.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from velro_cache._engine import RateLimit

__all__ = ["DIGEST", "SCRIPT", "Found", "Wish", "arguments", "read", "redis_key"]

SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function follow(missing, before, interval, length)
  if interval == 0 then return missing, before end
  if before > 0 and before ~= interval then missing = math.ceil(missing * interval / before) end
  return math.min(missing, length), interval
end

local function left(missing, interval, length)
  if interval == 0 then return math.huge end
  return math.floor((length - missing) / interval)
end

local function lacks(missing, interval, length, tokens)
  if interval == 0 then return 0 end
  return math.max(0, missing + tokens * interval - length)
end

local states, all, reply = {}, true, {1}
for number, key in ipairs(KEYS) do
  local at = (number - 1) * 6
  local minute, minutes, day, days, least, most =
    tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]),
    tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local state = states[key]
  if not state then
    state = {minute = 0, day = 0, minute_by = 0, day_by = 0}
    local raw = redis.call('GET', key)
    if raw and #raw == 40 then
      local told
      told, state.minute, state.minute_by, state.day, state.day_by = struct.unpack('<ddddd', raw)
      local passed = math.max(0, now - told) * 1000
      state.minute = math.max(0, state.minute - passed)
      state.day = math.max(0, state.day - passed)
    end
    states[key] = state
  end
  state.minute, state.minute_by = follow(state.minute, state.minute_by, minute, minutes)
  state.day, state.day_by = follow(state.day, state.day_by, day, days)
  if not state.kept then
    state.kept = {state.minute, state.minute_by, state.day, state.day_by}
  end
  local tokens, wait = most, 0
  if most < 0 then
    state.minute = math.max(0, state.minute + most * minute)
    state.day = math.max(0, state.day + most * day)
  else
    local there = math.min(left(state.minute, minute, minutes), left(state.day, day, days))
    if there < least then
      all, tokens = false, 0
      wait = math.max(
        lacks(state.minute, minute, minutes, least), lacks(state.day, day, days, least))
    else
      if tokens > least then tokens = math.max(least, math.min(most, math.floor(there / 2))) end
      state.minute = state.minute + tokens * minute
      state.day = state.day + tokens * day
    end
  end
  reply[#reply + 1] = tokens
  reply[#reply + 1] = wait
  reply[#reply + 1] = key
  reply[#reply + 1] = 0
end
if not all then reply[1] = 0 end
for key, state in pairs(states) do
  if not all then
    state.minute, state.minute_by, state.day, state.day_by = unpack(state.kept)
  end
  local longest = math.max(state.minute, state.day)
  if longest > 0 then
    local bytes = struct.pack('<ddddd', now, state.minute, state.minute_by, state.day, state.day_by)
    redis.call('SET', key, bytes, 'PX', string.format('%d', math.ceil(longest / 1000000) + 1))
  else
    redis.call('DEL', key)
  end
end
for number, key in ipairs(KEYS) do
  local at = (number - 1) * 4
  reply[at + 4] = states[key].minute
  reply[at + 5] = states[key].day
end
return reply
"""

DIGEST: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""By which Redis knows it."""


class Wish(NamedTuple):
    """What is wanted from one name."""

    key: str
    limit: RateLimit
    least: int
    most: int


class Found(NamedTuple):
    """What came of it."""

    tokens: int
    wait: int
    """Nanoseconds."""
    minute: int
    """Nanoseconds until the bucket of the minute is full."""
    day: int


def redis_key(limiter: str, name: str) -> str:
    """Name a bucket in Redis.

    Args:
        limiter: Of the limiter, of plain characters. In braces, so that all names of a limiter are
            in one slot of a cluster.
        name: Whatever it is: only a digest of 128 bits of it is in the key.
    """
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16)
    return f"velro:rate:{{{limiter}}}:{digest.hexdigest()}"


def arguments(limiter: str, wishes: Sequence[Wish]) -> list[str | int]:
    """What the script is called with: keys, then six numbers for each."""
    keys: list[str | int] = [redis_key(limiter, wish.key) for wish in wishes]
    for wish in wishes:
        keys += [*wish.limit._nanoseconds(), wish.least, wish.most]
    return keys


def read(reply: object, count: int) -> tuple[bool, list[Found]]:
    """Make sense of an answer.

    Raises:
        ValueError: There is no sense in it.
    """
    if not isinstance(reply, list) or len(reply) != 1 + 4 * count:
        raise ValueError("an answer of another form")
    if not all(isinstance(number, int) for number in reply):
        raise ValueError("an answer that is not numbers")
    found = [Found(*reply[at : at + 4]) for at in range(1, len(reply), 4)]
    if any(number < 0 for one in found for number in one[1:]):
        raise ValueError("an answer out of range")
    return reply[0] == 1, found
